"""A folder that is there whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from camouflage.errors import WeightsError
from camouflage.weights.hub import is_disk_full
from camouflage.weights.sums import check_sums


@contextmanager
def new_folder(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """An empty folder beside ``target``, which becomes it when the block ends well.

    A whole ``target`` that another process made meanwhile is as good, and stays.

    Raises:
        WeightsError: ``target`` is there and ``overwrite`` is not asked for, it cannot be written,
            or the disk is full.
    """
    import tempfile

    if target.exists() and not overwrite:
        raise WeightsError(f"{target.name}: there already; remove it, or ask to overwrite it")
    part: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        yield part
        part.chmod(0o755)
        if overwrite:
            _replace(part, target)
        else:
            _move(part, target)
    except OSError as error:
        reason = "the disk is full" if is_disk_full(error) else f"{error.strerror}"
        raise WeightsError(f"{target.name}: cannot be written ({reason})") from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def _replace(part: Path, target: Path) -> None:
    """What was there is removed last, and may be gone by itself."""
    import tempfile

    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    with suppress(FileNotFoundError):
        os.replace(target, old / target.name)
    _move(part, target)
    shutil.rmtree(old, ignore_errors=True)


def _move(part: Path, target: Path) -> None:
    try:
        os.replace(part, target)
    except OSError:
        if not _is_whole(target):
            raise


def _is_whole(target: Path) -> bool:
    try:
        return check_sums(target)
    except WeightsError:
        return False
