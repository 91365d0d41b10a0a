"""Which files of a folder are pictures that may show people."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import NoReturn

from PIL import Image

from camouflage.errors import SettingError
from camouflage.formats import FORMATS

# fmt: off
NOT_READ = frozenset(
    {
        ".avif", ".gif", ".heic", ".heif", ".jxl", ".jp2", ".j2k", ".jpx", ".psd", ".tga",
        ".ppm", ".pgm", ".pnm", ".ico", ".svg", ".eps", ".pdf", ".dng", ".raw", ".cr2", ".cr3",
        ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw", ".mp4", ".mov", ".m4v", ".avi",
        ".mkv", ".webm", ".mpg", ".mpeg", ".3gp", ".mts", ".hif", ".heics", ".heifs", ".avifs",
        ".apng", ".mpo", ".dib", ".jxr", ".pcx",
    }
) - set(FORMATS)
# fmt: on
"""People may be in these as well, so they are inputs that fail, not files that are passed over."""

MASK_SUFFIX = ".mask.png"
"""What ``--write-masks`` gives the name of a picture in the place of its suffix."""


def is_picture(path: Path) -> bool:
    """By the name: of :data:`FORMATS` or :data:`NOT_READ`."""
    # "._name.jpg" is macOS's companion of a file, not a picture.
    return path.suffix.lower() in NOT_READ | set(FORMATS) and not path.name.startswith("._")


def masks_of(pictures: Iterable[str], files: Mapping[str, Path]) -> set[str]:
    """The names of those ``files`` that ``--write-masks`` wrote for one of ``pictures``.

    Names have forward slashes. A name alone is not enough: a mask is grey, black and white only.
    """
    stems = {str(PurePosixPath(name).with_suffix("")) for name in pictures}
    return {
        name
        for name, path in files.items()
        if name.endswith(MASK_SUFFIX) and name.removesuffix(MASK_SUFFIX) in stems and _is_mask(path)
    }


def cannot_be_listed(error: OSError) -> NoReturn:
    """For `os.walk`, which passes over such folders in silence."""
    raise SettingError(f"a folder cannot be listed: {error.strerror}") from error


def _is_mask(path: Path) -> bool:
    if not path.is_file():  # a named pipe would be waited for
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=["PNG"]) as image:
                levels = image.histogram() if image.mode == "L" else [1] * 256
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  Pillow raises a dozen types: what it cannot read is no mask
        return False
    return not any(levels[1:255])
