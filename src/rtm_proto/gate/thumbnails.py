"""Small pictures of images: what ``surl`` leads to. Pillow decodes and encodes.

    JPEG, PNG, GIF, WebP ─► limits ─► decoded, turned upright, made small ─► JPEG without metadata

An image is somebody else's bytes, so it is judged before it is decoded: its format, its size in
pixels, for JPEG also how often it paints them over (each scan of a progressive one may cost as much
as the first, and takes a few bytes only). A JPEG is decoded at an eighth of its size where that is
enough; of an animation the first picture is taken. What goes wrong makes no thumbnail.
"""

from __future__ import annotations

from io import BytesIO

try:
    from PIL import Image, ImageOps
except ModuleNotFoundError as exc:
    raise ImportError(
        "rtm_proto.gate.thumbnails needs PIL: pip install 'rtm-proto[thumbnails]'",
        name="PIL",
    ) from exc

MAX_PIXELS = {"JPEG": 25_000_000, "PNG": 16_000_000, "GIF": 16_000_000, "WEBP": 10_000_000}
"""Of an image that is read, by its format; a pixel takes up to 6, 8, 9 and 18 bytes (measured)."""
SIDE = 256  # pixels of a thumbnail's longer side
MAX_SIDE = 30_000  # pixels: for no reason a line takes more than some 120 kB
MAX_SCANS = 100  # of a JPEG; a progressive one has some ten
MAX_THUMBNAIL = 65_536  # bytes of what is made

_SCAN = b"\xff\xda"  # begins one; in the data itself a 00 follows each ff
_QUALITIES = (80, 60, 40)
_CLEAR = ("P", "LA")  # how Pillow calls pixels that may be transparent
_PLAIN = ("L", "1", "CMYK")


def make_thumbnail(data: bytes) -> bytes | None:
    """A JPEG of at most 64 KiB and 256 pixels a side, or None where *data* gives none.

    Transparent pixels become white. It takes up to a second, and up to 200 MiB of memory.
    """
    if data.startswith(b"\xff\xd8") and data.count(_SCAN) > MAX_SCANS:
        return None
    try:
        return _encoded(_small(data))
    except Exception:  # Pillow's decoders raise whatever they come across, struct.error too
        return None


def _small(data: bytes) -> Image.Image:
    with Image.open(BytesIO(data), formats=[*MAX_PIXELS]) as image:
        width, height = image.size
        most = MAX_PIXELS[str(image.format)]
        if width * height > most or max(width, height) > MAX_SIDE:
            raise ValueError(f"{width} x {height} pixels are over the limit")
        image.draft("RGB", (SIDE, SIDE))
        small: Image.Image = image
        if image.mode in _CLEAR or "transparency" in image.info:
            small = image.convert("RGBA")
        elif image.mode in _PLAIN:
            small = image.convert("RGB")
        elif image.mode not in ("RGB", "RGBA"):  # more than 8 bits a channel, say
            raise ValueError(f"pixels of mode {image.mode}")
        small.thumbnail((SIDE, SIDE))
        ImageOps.exif_transpose(small, in_place=True)
        # A picture of our own, on white: nothing of what the image said about itself is in it.
        canvas = Image.new("RGB", small.size, "white")
        canvas.paste(small, mask=small if small.mode == "RGBA" else None)
        return canvas


def _encoded(image: Image.Image) -> bytes | None:
    for quality in _QUALITIES:
        out = BytesIO()
        image.save(out, "JPEG", quality=quality)
        if out.tell() <= MAX_THUMBNAIL:
            return out.getvalue()
    return None
