"""How a stored file is described to a browser, so that no file can act in the gate's name.

Only types that cannot carry a script are ever told; what is shown in place, and not saved, is a
picture. SVG is none of these: it may have scripts. Sources: RFC 6266, RFC 8187.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from ..attrs import extension, safe_name
from ..received import FileType

UNKNOWN_TYPE = "application/octet-stream"

_TYPES: Mapping[str, str] = {
    "aac": "audio/aac",
    "amr": "audio/amr",
    "avi": "video/x-msvideo",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "flac": "audio/flac",
    "gif": "image/gif",
    "heic": "image/heic",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "m4a": "audio/mp4",
    "m4v": "video/mp4",
    "mkv": "video/x-matroska",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "pdf": "application/pdf",
    "png": "image/png",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webp": "image/webp",
    "3gp": "video/3gpp",
}
"""The only types ever told."""

_EITHER: Mapping[str, str] = {"mp4": "mp4", "ogg": "ogg", "webm": "webm", "3gp": "3gpp"}
"""Extensions that name sound as well as pictures with sound: the mtype decides."""

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9 !#$&'()+,;=@^_`{}~.-]")  # not as it is in filename="..."


def content_type(name: str, mtype: int) -> str:
    """The type to tell for a file of this name and mtype; never one that a browser would run."""
    ext = extension(name).lower()
    if ext in _EITHER and mtype in (FileType.AUDIO, FileType.VIDEO):
        return f"{'audio' if mtype == FileType.AUDIO else 'video'}/{_EITHER[ext]}"
    return _TYPES.get(ext, UNKNOWN_TYPE)


def content_disposition(name: str) -> str:
    """``attachment``, ``inline`` for a picture, and the file's name: in ASCII and, where that loses
    something, in UTF-8."""
    name = safe_name(name)
    plain = _NOT_PLAIN.sub("_", name)
    picture = _TYPES.get(extension(name).lower(), "").startswith("image/")
    value = f'{"inline" if picture else "attachment"}; filename="{plain}"'
    if plain != name:
        value += f"; filename*=UTF-8''{quote(name, safe='!#$&+^`|')}"
    return value
