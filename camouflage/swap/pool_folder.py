"""What the folder of a pool holds, and reading it with every check.

::

    pool.json            side, count, the encoder, and a file name and five points for each face
    index.safetensors    embeddings (N, D), points_xy (N, P, 2)
    faces/00000.webp     aligned crops; nothing says where they came from
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open

from camouflage.errors import SettingError
from camouflage.swap.shape import POINTS_SHAPE

RECORD, INDEX, FACES = "pool.json", "index.safetensors", "faces"
NORM_TOLERANCE = 1e-3
"""Of an embedding's length from 1: far above float32's rounding, also of half precision."""

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Point = tuple[_Number, _Number]


class FaceRecord(BaseModel):
    """One face: its file in `FACES` with its sha256, and its five points in the crop's pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(pattern=r"^[0-9]{5,9}\.(webp|png)$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    five_xy: tuple[_Point, _Point, _Point, _Point, _Point]


class PoolRecord(BaseModel):
    """``pool.json``: crops of ``side`` px, and the network that made the embeddings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: int = Field(ge=1)
    count: int = Field(ge=1)
    encoder_name: str
    encoder_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    faces: tuple[FaceRecord, ...]


def read_record(folder: Path) -> PoolRecord:
    """The pool's record; each picture it names is there.

    Raises:
        SettingError: it is missing or damaged, a name is there twice or leads elsewhere, the count
            is not that of the faces, or a picture is missing or a link.
    """
    try:
        record = PoolRecord.model_validate_json(plain(folder / RECORD).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingError(f"{RECORD}: {place}: {first['msg']}") from error
    if record.count != len(record.faces):
        raise SettingError(
            f"{RECORD}: expected {record.count} faces as its count says, got {len(record.faces)}"
        )
    if len({face.file for face in record.faces}) != record.count:
        raise SettingError(f"{RECORD}: expected a file for each face, got a name twice")
    for face in record.faces:
        face_path(folder, face.file)
    return record


def read_index(path: Path, *, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Embeddings (N, D) of length 1 and dense landmarks (N, P, 2), N being ``count``.

    Raises:
        SettingError: the file is missing or damaged, or an array is not what is expected.
    """
    try:
        with safe_open(plain(path), framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError) as error:
        raise SettingError(f"{path.name}: damaged, or no safetensors file") from error
    if set(arrays) != {"embeddings", "points_xy"}:
        raise SettingError(f"{path.name}: expected embeddings and points_xy, got {sorted(arrays)}")
    embeddings, points_xy = arrays["embeddings"], arrays["points_xy"]
    _require(embeddings, "embeddings", (count, *embeddings.shape[1:2]), ndim=2)
    _require(points_xy, "points_xy", (count, *POINTS_SHAPE), ndim=3)
    off = np.abs(np.linalg.norm(embeddings, axis=1) - 1)
    if off.max() > NORM_TOLERANCE:
        raise SettingError(
            f"{path.name}: expected embeddings of length 1, number {off.argmax()} is "
            f"{off.max():.3g} off"
        )
    return embeddings, points_xy


def face_path(folder: Path, name: str) -> Path:
    """Where a face's picture is. Raises `SettingError` if it is missing or a link."""
    if (folder / FACES).is_symlink():
        raise SettingError(f"{FACES}: expected a folder, got a link")
    return plain(folder / FACES / name)


def plain(path: Path) -> Path:
    """``path`` itself. Raises `SettingError` if there is no regular file, or only a link to one."""
    if path.is_symlink() or not path.is_file():
        raise SettingError(f"{path.name}: expected a file in the pool's folder, found none")
    return path


def _require(array: NDArray, name: str, shape: tuple[int, ...], *, ndim: int) -> None:
    if array.dtype != np.float32 or array.ndim != ndim or array.shape != shape or 0 in shape:
        raise SettingError(
            f"{name}: expected float32 {shape} for the pool's count, got {array.dtype} "
            f"{array.shape}"
        )
    if not np.isfinite(array).all():
        raise SettingError(f"{name}: expected finite numbers")
