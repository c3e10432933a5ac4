"""The gate's store on a disk: what is kept in a folder, and survives a crash and a power cut."""

from .store import DiskStore

__all__ = ["DiskStore"]
