"""What kind of file it is, by its first bytes: for files that were sent as mtype 50 (spec 6).

    image/png, image/jpeg, ...   40
    audio/mpeg, audio/ogg, ...   41
    video/mp4, video/webm, ...   42
    anything else                None: it stays 50

The `filetype` package knows the signatures. Of its kinds only those are taken that receivers can
show or play. Some signatures are two letters ("BM"), so what could be text is never recognised:
all these formats have control characters within their first bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

try:
    import filetype  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]
except ModuleNotFoundError as exc:
    raise ImportError(
        "rtm_proto.gate.recognised needs filetype: pip install 'rtm-proto[recognise]'",
        name="filetype",
    ) from exc

from ..received import FileType

_IMAGES = "apng avif bmp gif heic jpeg png tiff webp"
_AUDIO = "aac amr midi mp4 mpeg ogg x-aiff x-flac x-wav"
_VIDEO = "3gpp mp4 mpeg quicktime webm x-flv x-m4v x-matroska x-ms-wmv x-msvideo"
_MTYPES: dict[str | None, FileType] = {
    f"{kind}/{name}": mtype
    for kind, names, mtype in (
        ("image", _IMAGES, FileType.IMAGE),
        ("audio", _AUDIO, FileType.AUDIO),
        ("video", _VIDEO, FileType.VIDEO),
    )
    for name in names.split()
}
_GUESS = cast(Callable[[bytes], str | None], filetype.guess_mime)  # pyright: ignore[reportUnknownMemberType]
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")  # in no text


def recognise(head: bytes) -> FileType | None:
    """The mtype of a file that begins with *head*, of which a few hundred bytes are enough.

    Ogg is taken for sound unless there is a picture in it; WebM, MP4 and the like for video unless
    they say otherwise at once.
    """
    if not _CONTROL.search(head):
        return None
    mime = _GUESS(head)
    if mime == "audio/ogg" and b"theora" in head:
        return FileType.VIDEO
    return _MTYPES.get(mime)
