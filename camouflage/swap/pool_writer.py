"""Write a pool whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from camouflage.errors import OutputError, SettingError
from camouflage.swap.pool import FacePool, PoolFace
from camouflage.swap.pool_folder import FACES, INDEX, RECORD, FaceRecord, PoolRecord
from camouflage.weights.sums import file_sha256
from camouflage.write import output_error, sync_folder, write_bytes, write_picture


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddedFace:
    """A face and its ``embedding`` (D,), which is scaled to length 1.

    Raises `SettingError` for one that is not finite, is all zero or not one row.
    """

    face: PoolFace
    embedding: NDArray[np.float32] = field(repr=False)

    def __post_init__(self) -> None:
        row = np.array(self.embedding, dtype=np.float64)
        length = float(np.linalg.norm(row))
        if row.ndim != 1 or not np.isfinite(length) or length == 0:
            raise SettingError(
                f"expected a finite embedding (D,) that is not all zero, got {row.shape}"
            )
        object.__setattr__(self, "embedding", (row / length).astype(np.float32))


def write_pool(
    folder: str | Path,
    faces: Iterable[EmbeddedFace],
    *,
    side: int,
    encoder_name: str,
    encoder_sha256: str,
    suffix: Literal[".webp", ".png"] = ".webp",
    overwrite: bool = False,
) -> int:
    """Write ``faces`` (crops of ``side`` px) as a pool and return their count.

    They are written one by one into a hidden folder beside ``folder``, which takes the name only
    when it is complete. PNG keeps the pixels exactly, WebP nearly, at a fifth of the size.

    Raises:
        OutputError: there is something under the name and ``overwrite`` is False, it is a link or
            something else than a pool, or the pool cannot be written.
        SettingError: there are no faces, or one has another side or length of embedding.
    """
    folder = Path(folder)
    require_free(folder, overwrite=overwrite)
    with _new_folder(folder, overwrite=overwrite) as part:
        records, embeddings, points_xy = [], [], []
        for number, one in enumerate(faces):
            if one.face.side != side:
                raise SettingError(f"expected faces of {side} px, got one of {one.face.side}")
            name = f"{number:05}{suffix}"
            write_picture(one.face.pixels, part / FACES / name)
            digest = file_sha256(part / FACES / name)
            five = one.face.five_xy.tolist()
            records.append(FaceRecord(file=name, sha256=digest, five_xy=five))
            embeddings.append(one.embedding)
            points_xy.append(one.face.points_xy.astype(np.float32))
        if not records:
            raise SettingError("expected at least one face for a pool, got none")
        if len({len(row) for row in embeddings}) > 1:
            raise SettingError("expected embeddings of one length")
        record = PoolRecord(
            side=side,
            count=len(records),
            encoder_name=encoder_name,
            encoder_sha256=encoder_sha256,
            faces=tuple(records),
        )
        index = {"embeddings": np.stack(embeddings), "points_xy": np.stack(points_xy)}
        write_bytes(save(index), part / INDEX)
        write_bytes(record.model_dump_json(indent=1).encode(), part / RECORD)
    return len(records)


def save_pool(pool: FacePool, folder: str | Path) -> None:
    """Write a pool as it is, its pictures without loss, in the place of one that is there.

    Raises `OutputError` as `write_pool` does.
    """
    faces = zip(range(len(pool)), pool.embeddings, strict=True)
    write_pool(
        folder,
        (EmbeddedFace(face=pool.face(i), embedding=embedding) for i, embedding in faces),
        side=pool.side,
        encoder_name=pool.encoder_name,
        encoder_sha256=pool.encoder_sha256,
        suffix=".png",
        overwrite=True,
    )


def require_free(folder: Path, *, overwrite: bool) -> None:
    """Raise `OutputError` if a pool may not be written there, as `write_pool` says."""
    if not os.path.lexists(folder):
        return
    if not overwrite:
        raise OutputError(f"{folder.name} exists already; ask for overwriting to replace it")
    if folder.is_symlink() or not (folder / RECORD).is_file():
        raise OutputError(f"{folder.name} is no pool, so it is not replaced; give another folder")


@contextmanager
def _new_folder(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """An empty folder beside ``folder``, which becomes it when the block ends well."""
    part: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        yield part
        part.chmod(0o755)
        require_free(folder, overwrite=overwrite)
        _put_in_place(part, folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise output_error(error, f"{folder.name} could not be written") from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def _put_in_place(part: Path, folder: Path) -> None:
    """What was there is moved away first and removed last."""
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    try:
        with suppress(FileNotFoundError):
            os.rename(folder, old / folder.name)
        try:
            os.rename(part, folder)
        except OSError:
            with suppress(FileNotFoundError):
                os.rename(old / folder.name, folder)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
