"""The formats of pictures that are read and written, by the suffixes of their names."""

from __future__ import annotations

import importlib.util

from PIL import features

from camouflage.errors import MissingExtra, PictureError

FORMATS: dict[str, str] = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
"""Suffix to format: what is read (by content, whatever the name says) and what can be written."""
if features.check("avif"):
    FORMATS[".avif"] = "AVIF"
_HEIF_SUFFIXES = (".heic", ".heif", ".hif")
if importlib.util.find_spec("pillow_heif"):  # the extra "heif", which encodes as well
    FORMATS |= dict.fromkeys(_HEIF_SUFFIXES, "HEIF")


def format_of(suffix: str) -> str:
    """The format that a suffix (with the dot) stands for.

    Raises:
        MissingExtra: that of HEIC, and the extra is not installed.
        PictureError: it is none of :data:`FORMATS`.
    """
    suffix = suffix.lower()
    if suffix in _HEIF_SUFFIXES and suffix not in FORMATS:
        raise MissingExtra("pillow-heif", "heif")
    if suffix not in FORMATS:
        raise PictureError(f"{suffix or 'a file without suffix'} is not supported")
    return FORMATS[suffix]


def load_heif() -> None:
    """Let Pillow read and write HEIC. Raises `MissingExtra` if the extra is not installed."""
    try:
        import pillow_heif  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtra("pillow-heif", "heif") from error
    pillow_heif.register_heif_opener()
