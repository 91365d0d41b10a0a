"""A folder that is there whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from camouflage.errors import WeightsError
from camouflage.weights.hub import is_disk_full


@contextmanager
def new_folder(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """An empty folder beside ``target``, which becomes it when the block ends well.

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
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            os.replace(target, old / target.name)
            os.replace(part, target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(part, target)
    except OSError as error:
        reason = "the disk is full" if is_disk_full(error) else f"{error.strerror}"
        raise WeightsError(f"{target.name}: cannot be written ({reason})") from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
