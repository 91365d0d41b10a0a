"""What a picture file carries beside the picture that is shown, where an original may hide."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

MAX_INSIDE = 32  # pictures inside one file; more are not looked for
MAX_INSIDE_MEGAPIXELS = 50.0
_STARTS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG"}
_GPS_TAG = 0x8825


@dataclass(frozen=True, kw_only=True, eq=False)
class Carried:
    """``metadata``: kinds that are present. ``inside``: decoded pictures within the file (previews,
    thumbnails, second frames), uint8 ``(h, w, 3)``, as they are stored.

    ``damaged``: pictures within it that do not decode. ``trailing``: bytes behind the picture's
    end. ``uncovered``: the pixels without transparency, upright uint8 ``(H, W, 3)``, None for a
    picture without any.
    """

    metadata: tuple[str, ...]
    inside: tuple[np.ndarray, ...]
    damaged: int
    trailing: int
    uncovered: np.ndarray | None


def carried(data: bytes) -> Carried:
    """Look through the bytes of a file that `Picture.open` could read."""
    found = [_decoded(data[start:], kind) for start, kind in _starts(data)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as image:
            metadata, uncovered = _metadata(image), _uncovered(image)
    return Carried(
        metadata=metadata,
        inside=tuple(one for one in found if isinstance(one, np.ndarray)),
        damaged=sum(one == "damaged" for one in found if isinstance(one, str)),
        trailing=len(data[_end(data) :].strip(b"\0\r\n ")),
        uncovered=uncovered,
    )


def _starts(data: bytes) -> Iterator[tuple[int, str]]:
    """Where pictures within the file seem to begin; chance makes some of them."""
    for start, kind in _STARTS.items():
        at = data.find(start, 1)
        for _ in range(MAX_INSIDE):
            if at < 0:
                break
            yield at, kind
            at = data.find(start, at + 1)


def _decoded(data: bytes, kind: str) -> np.ndarray | str:
    """The picture, "damaged" if only its header can be read, "" if it is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data), formats=[kind])
        except Exception:  # noqa: BLE001  Pillow raises a dozen types: chance bytes are no picture
            return ""
        if image.width * image.height > MAX_INSIDE_MEGAPIXELS * 1e6:
            return "damaged"
        try:
            return np.asarray(image.convert("RGB"))
        except Exception:  # noqa: BLE001  the same
            return "damaged"


def _metadata(image: Image.Image) -> tuple[str, ...]:
    exif = image.getexif()
    kinds = {
        "EXIF": bool(exif),
        "a GPS position": bool(exif.get_ifd(_GPS_TAG)),
        "XMP": bool({"xmp", "XML:com.adobe.xmp"} & set(image.info)),
        "IPTC": "photoshop" in image.info,
        "a comment": "comment" in image.info,
        "PNG text": bool(getattr(image, "text", None)),
    }
    return tuple(name for name, present in kinds.items() if present)


def _uncovered(image: Image.Image) -> np.ndarray | None:
    if not image.has_transparency_data:
        return None
    upright = ImageOps.exif_transpose(image).convert("RGBA")
    opaque = upright.getchannel("A").getextrema() == (255, 255)
    return None if opaque else np.asarray(upright)[..., :3].copy()


def _end(data: bytes) -> int:
    """The index behind the picture's last byte; the file's end for formats not known here."""
    if data.startswith(b"\xff\xd8"):
        return _jpeg_end(data)
    if data.startswith(b"\x89PNG"):
        at = 8
        while at + 8 <= len(data):
            kind, at = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
            if kind == b"IEND":
                return min(at, len(data))
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return min(8 + int.from_bytes(data[4:8], "little"), len(data))
    return len(data)


def _jpeg_end(data: bytes) -> int:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:  # in the scans behind it, FF D9 is nothing but the end
            found = data.find(b"\xff\xd9", at)
            return len(data) if found < 0 else found + 2
        at += 1 if marker == 0xFF else 2 + length
    return len(data)
