"""Write a file whole or not at all; a picture from its pixels alone, so without metadata.

A result appears under its name only when it is complete. Until then it is readable by its owner
alone: on Linux as a file without a name (O_TMPFILE), which is gone if the process is killed;
elsewhere as a hidden file in the same folder, which the next run removes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from camouflage.errors import OutputError, OutputLost, SettingError
from camouflage.formats import FORMATS, load_heif

PARTIAL_PREFIX, PARTIAL_SUFFIX = ".camouflage-", ".partial"

# The disk is read-only, failing, unplugged, or on a server that is away.
_LOST = {
    errno.EROFS, errno.EIO, errno.ENODEV, errno.ENXIO,
    getattr(errno, "ESTALE", errno.EIO), getattr(errno, "ENOTCONN", errno.EIO),
}  # fmt: skip
_NO_HARD_LINKS = {
    errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP,
    errno.EINVAL,
}  # fmt: skip


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

    JPEG, AVIF and HEIC have full colour resolution (4:4:4; WebP cannot). PNG, TIFF and BMP are
    lossless; WebP, AVIF and HEIC use ``jpeg_quality`` (1 to 100) on their own scales. HEIC stays
    HEIC: the extra ``heif`` that reads it writes it too.
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
        "HEIF": {"quality": jpeg_quality, "chroma": 444},
        "TIFF": {"compression": "tiff_adobe_deflate"},
    }
    if format_name == "HEIF":
        load_heif()
    buffer = io.BytesIO()
    try:
        Image.fromarray(pixels).save(buffer, format_name, **options.get(format_name, {}))
    except (OSError, ValueError, RuntimeError, KeyError) as error:  # the last two: HEIC
        height, width = pixels.shape[:2]
        raise OutputError(f"{width} x {height} px cannot be written as {format_name}") from error
    return buffer.getvalue()


def write_bytes(data: bytes, path: Path, *, overwrite: bool = False, private: bool = False) -> None:
    """Write ``data`` at ``path`` at once; ``private`` keeps the file readable by its owner alone.

    Raises:
        OutputError: the file exists and ``overwrite`` is False, or it cannot be written.
        OutputLost: nothing can be written there any more, for example because the disk is full.
    """
    if not overwrite and os.path.lexists(path):
        raise OutputError(f"{path.name} exists already; ask for overwriting to replace it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(data, path, named=False, overwrite=overwrite, private=private)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            _write(data, path, named=True, overwrite=overwrite, private=private)
        sync_folder(path.parent)
    except FileExistsError as error:
        raise OutputError(f"{path.name} exists already; it was made while this ran") from error
    except OSError as error:
        raise output_error(error, f"{path.name} could not be written") from error


def _write(data: bytes, path: Path, *, named: bool, overwrite: bool, private: bool) -> None:
    with _partial(path.parent, named=named) as (descriptor, partial):
        write_all(descriptor, data)
        os.fsync(descriptor)
        _put_in_place(partial, descriptor, path, overwrite=overwrite)
        if not private and hasattr(os, "fchmod"):
            with contextlib.suppress(OSError):  # USB sticks have no modes
                os.fchmod(descriptor, 0o666 & ~_umask())


def output_error(error: OSError, what: str) -> OutputError:
    """What to raise for a system error on the output: `OutputLost` where every write will fail."""
    reason = error.strerror or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputLost(
            f"{what}: {reason}; free some space and run the same command again, "
            "what is finished is kept"
        )
    if error.errno in _LOST:
        return OutputLost(
            f"{what}: {reason}; mend the output's disk and run the same command again, "
            "what is finished is kept"
        )
    return OutputError(f"{what}: {reason}")


def write_all(descriptor: int, data: bytes) -> None:
    """All of ``data``: a single write may take a part of it, as on a disk that is filling up."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    if os.name != "posix":
        return  # a folder cannot be opened there
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks cannot
            raise
    finally:
        os.close(descriptor)


def remove_partials(folder: Path) -> int:
    """Delete what killed runs left half written in ``folder`` and below; return how many.

    Raises:
        OutputError: one cannot be deleted.
    """
    found = [p for p in folder.rglob(f"{PARTIAL_PREFIX}*{PARTIAL_SUFFIX}") if not p.is_dir()]
    try:
        for partial in found:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise output_error(error, "a file that a killed run left could not be removed") from error
    return len(found)


@contextlib.contextmanager
def _partial(folder: Path, *, named: bool) -> Iterator[tuple[int, Path | None]]:
    """A new file (mode 0600) and its name, None if it has none; gone afterwards unless renamed."""
    descriptor, partial = None if named else _nameless(folder), None
    if descriptor is None:
        descriptor, name = tempfile.mkstemp(PARTIAL_SUFFIX, PARTIAL_PREFIX, folder)
        partial = Path(name)
    try:
        yield descriptor, partial
    finally:
        os.close(descriptor)
        if partial is not None:
            partial.unlink(missing_ok=True)


def _nameless(folder: Path) -> int | None:
    """A file without a name (mode 0600), or None where there is no such thing."""
    if not hasattr(os, "O_TMPFILE"):
        return None
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError:
        return None  # not on this disk; what is really wrong, a file with a name will meet too
    if not os.path.exists(_by_descriptor(descriptor)):  # a system without /proc
        os.close(descriptor)
        return None
    return descriptor


def _by_descriptor(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def _put_in_place(partial: Path | None, descriptor: int, path: Path, *, overwrite: bool) -> None:
    if partial is None and overwrite:  # only a file with a name can replace another
        hidden = path.parent / f"{PARTIAL_PREFIX}{secrets.token_hex(8)}{PARTIAL_SUFFIX}"
        try:
            _link(None, descriptor, hidden)
            os.replace(hidden, path)
        finally:
            hidden.unlink(missing_ok=True)
    elif partial is not None and overwrite:
        os.replace(partial, path)
    else:
        _link(partial, descriptor, path)


def _link(partial: Path | None, descriptor: int, path: Path) -> None:
    """Give the file its name; unlike a rename, it fails if somebody made the file meanwhile."""
    if partial is None:
        # With src_dir_fd, os.link follows the link that stands for the descriptor.
        os.link(_by_descriptor(descriptor), path, src_dir_fd=descriptor, follow_symlinks=True)
        return
    try:
        os.link(partial, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(path.name) from None
        os.rename(partial, path)
    else:
        partial.unlink()  # before the rights are widened


def _umask() -> int:
    """The process's umask; it can only be read by setting it, so it is set to the strictest."""
    current = os.umask(0o077)
    os.umask(current)
    return current
