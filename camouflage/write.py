"""Write a file whole or not at all; a picture from its pixels alone, so without metadata.

A result appears under its name only when it is complete: a hidden file in the same folder, readable
by its owner alone, is filled and flushed to the disk, then renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from camouflage.errors import OutputError, SettingError
from camouflage.picture import FORMATS

PARTIAL_PREFIX, PARTIAL_SUFFIX = ".camouflage-", ".partial"


def write_picture(
    pixels: np.ndarray,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    jpeg_quality: int = 95,
) -> str:
    """Write uint8 ``(H, W, 3)`` RGB in the format of the path's suffix; return the file's sha256.

    Raises:
        OutputError: the file exists and ``overwrite`` is False, the suffix is not that of a
            picture, the picture is too large for the format, or the file cannot be written.
    """
    path = Path(path)
    data = encode(pixels, suffix=path.suffix, jpeg_quality=jpeg_quality)
    write_bytes(data, path, overwrite=overwrite)
    return hashlib.sha256(data).hexdigest()


def encode(pixels: np.ndarray, *, suffix: str, jpeg_quality: int = 95) -> bytes:
    """The bytes of a picture file without any metadata.

    JPEG and AVIF have full colour resolution (4:4:4; WebP cannot). PNG, TIFF and BMP are lossless;
    WebP and AVIF use ``jpeg_quality`` (1 to 100) on their own scales.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise SettingError(f"expected pixels uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}")
    format_name = FORMATS.get(suffix.lower())
    if format_name is None:
        raise OutputError(f"expected a suffix of {', '.join(sorted(FORMATS))}, got {suffix!r}")
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": jpeg_quality, "subsampling": "4:4:4"},
        "WEBP": {"quality": jpeg_quality},
        "AVIF": {"quality": jpeg_quality, "subsampling": "4:4:4"},
        "TIFF": {"compression": "tiff_adobe_deflate"},
    }
    buffer = io.BytesIO()
    try:
        Image.fromarray(pixels).save(buffer, format_name, **options.get(format_name, {}))
    except (OSError, ValueError) as error:
        height, width = pixels.shape[:2]
        raise OutputError(f"{width} x {height} px cannot be written as {format_name}") from error
    return buffer.getvalue()


def write_bytes(data: bytes, path: Path, *, overwrite: bool = False, private: bool = False) -> None:
    """Write ``data`` at ``path`` at once; ``private`` keeps the file readable by its owner alone.

    Raises:
        OutputError: the file exists and ``overwrite`` is False, or it cannot be written.
    """
    if not overwrite and os.path.lexists(path):
        raise OutputError(f"{path.name} exists already; ask for overwriting to replace it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _partial(path.parent) as (descriptor, partial):
            with open(descriptor, "wb", closefd=False) as file:
                file.write(data)
            os.fsync(descriptor)
            _put_in_place(partial, path, overwrite=overwrite)
            if not private and hasattr(os, "fchmod"):
                os.fchmod(descriptor, 0o666 & ~_umask())
        _sync_folder(path.parent)
    except FileExistsError as error:
        raise OutputError(f"{path.name} exists already; it was made while this ran") from error
    except OSError as error:
        raise OutputError(f"{path.name} could not be written: {error.strerror}") from error


def remove_partials(folder: Path) -> int:
    """Delete what killed runs left half written in ``folder`` and below; return how many."""
    partials = list(folder.rglob(f"{PARTIAL_PREFIX}*{PARTIAL_SUFFIX}"))
    for partial in partials:
        partial.unlink(missing_ok=True)
    return len(partials)


@contextlib.contextmanager
def _partial(folder: Path) -> Iterator[tuple[int, Path]]:
    """A new hidden file (mode 0600) that is gone afterwards, unless it was renamed."""
    descriptor, name = tempfile.mkstemp(PARTIAL_SUFFIX, PARTIAL_PREFIX, folder)
    try:
        yield descriptor, Path(name)
    finally:
        os.close(descriptor)
        Path(name).unlink(missing_ok=True)


def _put_in_place(partial: Path, path: Path, *, overwrite: bool) -> None:
    if overwrite:
        os.replace(partial, path)
        return
    try:
        os.link(partial, path)  # unlike a rename, it fails if somebody made the file meanwhile
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(path.name) from None
        os.rename(partial, path)


def _umask() -> int:
    """The process's umask; it can only be read by setting it, so it is set to the strictest."""
    current = os.umask(0o077)
    os.umask(current)
    return current


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # a folder cannot be opened there
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
