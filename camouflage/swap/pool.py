"""A pool of synthetic faces, and the choice of one for a person: near, but not too near."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.landmarks import MIRROR
from camouflage.errors import PictureError, SettingError
from camouflage.picture import Picture
from camouflage.swap.pool_folder import INDEX, PoolRecord, face_path, read_index, read_record
from camouflage.swap.shape import POINTS_SHAPE, checked_points
from camouflage.weights.sums import file_sha256

THRESHOLD = 1.0
"""Angular distance that a fake must exceed, that is a cosine below 0.5: the released default."""

CANDIDATES = 20
"""How many of the nearest are looked at: the released number."""

CACHED_FACES = 64
"""Decoded pictures that a pool keeps: 50 MB at 512 px. Our choice."""

_MIRRORED_FIVE = [1, 0, 2, 4, 3]


@dataclass(frozen=True, kw_only=True, eq=False)
class PoolFace:
    """One face that nobody has: ``pixels`` uint8 (side, side, 3) RGB, read-only.

    ``five_xy`` (5, 2) and ``points_xy`` (P, 2) as in `FaceShape`, in the crop's pixels. Raises
    `SettingError` for other shapes.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    five_xy: NDArray[np.float64] = field(repr=False)
    points_xy: NDArray[np.float64] = field(repr=False)

    def __post_init__(self) -> None:
        pixels = np.array(self.pixels)
        side = pixels.shape[0] if pixels.ndim == 3 else 0
        if pixels.dtype != np.uint8 or side < 1 or pixels.shape != (side, side, 3):
            raise SettingError(f"expected uint8 (side, side, 3), got {pixels.dtype} {pixels.shape}")
        pixels.flags.writeable = False
        object.__setattr__(self, "pixels", pixels)
        object.__setattr__(self, "five_xy", checked_points(self.five_xy, (5, 2)))
        object.__setattr__(self, "points_xy", checked_points(self.points_xy, POINTS_SHAPE))

    @property
    def side(self) -> int:
        """The crop's side in pixels."""
        return self.pixels.shape[0]

    def mirrored(self) -> PoolFace:
        """The same face looking to the other side; right and left parts change their rows."""
        across = np.array([self.side - 1, 0]), np.array([-1, 1])
        return PoolFace(
            pixels=self.pixels[:, ::-1],
            five_xy=across[0] + across[1] * self.five_xy[_MIRRORED_FIVE],
            points_xy=across[0] + across[1] * self.points_xy[MIRROR],
        )


class FacePool:
    """Synthetic faces with an index of their embeddings; made by `FacePool.load`."""

    def __init__(
        self,
        folder: Path,
        record: PoolRecord,
        embeddings: NDArray[np.float32],
        points_xy: NDArray[np.float32],
    ) -> None:
        self._folder = folder
        self._record = record
        self._embeddings = embeddings
        self._points_xy = points_xy
        self._cached = lru_cache(maxsize=CACHED_FACES)(self._read)

    def __getstate__(self) -> dict[str, Any]:
        """Without the pictures that are kept in memory, so that another process can have it."""
        return {name: value for name, value in vars(self).items() if name != "_cached"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._cached = lru_cache(maxsize=CACHED_FACES)(self._read)

    @classmethod
    def load(cls, folder: str | Path) -> FacePool:
        """The pool that `write_pool` wrote; the pictures themselves are read when asked for.

        Raises:
            SettingError: a part is missing or damaged, is a link, has another count, shape or
                norm than the others say, or a file's name leads out of the folder.
        """
        folder = Path(folder)
        record = read_record(folder)
        embeddings, points_xy = read_index(folder / INDEX, count=record.count)
        return cls(folder, record, embeddings, points_xy)

    def __len__(self) -> int:
        return self._record.count

    def __repr__(self) -> str:
        return f"FacePool({len(self)} faces of {self.side} px, embeddings of {self.encoder_name})"

    @property
    def folder(self) -> Path:
        """Where its pictures are."""
        return self._folder

    @property
    def side(self) -> int:
        """Side of the crops in pixels."""
        return self._record.side

    @property
    def encoder_name(self) -> str:
        """The network that made the embeddings."""
        return self._record.encoder_name

    @property
    def encoder_sha256(self) -> str:
        """Of that network's weights: embeddings of another one cannot be compared with these."""
        return self._record.encoder_sha256

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """(N, D) float32, each of length 1."""
        return self._embeddings

    @property
    def points_xy(self) -> NDArray[np.float32]:
        """(N, P, 2) float32, the landmarks of each face in the pixels of its crop."""
        return self._points_xy

    def with_embeddings(
        self, embeddings: NDArray[np.float32], *, encoder_name: str, encoder_sha256: str
    ) -> FacePool:
        """The same faces with the embeddings (N, D), each of length 1, of another encoder.

        Raises `SettingError` if there are not as many as faces.
        """
        if embeddings.ndim != 2 or len(embeddings) != len(self):
            raise SettingError(f"expected ({len(self)}, D) embeddings, got {embeddings.shape}")
        told = {"encoder_name": encoder_name, "encoder_sha256": encoder_sha256}
        record = self._record.model_copy(update=told)
        return FacePool(self._folder, record, embeddings, self._points_xy)

    def face(self, index: int) -> PoolFace:
        """Face number ``index``; the last `CACHED_FACES` are kept in memory.

        Raises:
            SettingError: there is no such number, or the picture is missing, damaged or of another
                side than the pool says.
        """
        if not 0 <= index < len(self):
            raise SettingError(f"expected a face from 0 to {len(self) - 1}, got {index}")
        return self._cached(int(index))

    def nearest(
        self, embedding: NDArray, k: int = CANDIDATES
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The ``k`` nearest faces (fewer if there are fewer) and their distances, nearest first.

        Exact search. The distance is Annoy's angular one, sqrt(2 - 2 cos), from 0 to 2; equal ones
        (to six decimals of the cosine) come in the order of the pool. ``embedding``: (D,), of any
        length but 0. Raises `SettingError` for another shape or values that are not finite.
        """
        if k < 1:
            raise SettingError(f"expected at least one face to look for, got k = {k}")
        order, distances = self._ordered(embedding)
        return order[:k], distances[:k]

    def choose(
        self,
        embedding: NDArray,
        *,
        threshold: float = THRESHOLD,
        candidates: int = CANDIDATES,
        exclude: Collection[int] = (),
    ) -> int:
        """Which face replaces a person with this ``embedding`` (D,).

        Of the ``candidates`` nearest that are not in ``exclude`` (faces that were tried before) the
        nearest whose angular distance is above ``threshold``; if none is, the farthest of them.
        The same arguments always give the same face.

        The rule of CAMOUFLaGE-Light's released inference. Quirk B3: there the threshold is
        ``min(max(indices), 1.0)``, the largest of the faces' numbers instead of their distances, so
        practically always 1.0; here it is what was asked for. Quirk B4: the demo hands the
        threshold of one face on to the next; here nothing is kept between calls.

        Raises:
            SettingError: ``exclude`` leaves no face, ``candidates`` is below 1, or the threshold is
                not in [0, 2].
        """
        if candidates < 1 or not 0 <= threshold <= 2:
            raise SettingError(
                "expected candidates of at least 1 and a threshold from 0 to 2, got "
                f"{candidates} and {threshold}"
            )
        order, distances = self._ordered(embedding)
        left = ~np.isin(order, list(exclude))
        order, distances = order[left][:candidates], distances[left][:candidates]
        if not len(order):
            raise SettingError(f"all {len(self)} faces of the pool are excluded; use a larger pool")
        far = np.flatnonzero(distances > threshold)
        return int(order[far[0] if len(far) else -1])

    def _ordered(self, embedding: NDArray) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        row = np.asarray(embedding, dtype=np.float64)
        expected, length = (self._embeddings.shape[1],), float(np.linalg.norm(row))
        if row.shape != expected or not np.isfinite(length) or length == 0:
            raise SettingError(
                f"expected a finite embedding {expected} that is not all zero, got {row.shape}"
            )
        # Rounded, or sums of two equal rows would differ in their last bit.
        cosines = np.round(self._embeddings @ (row / length).astype(np.float32), 6)
        order = np.argsort(-cosines, kind="stable")
        return order, np.sqrt(np.maximum(2 - 2 * cosines[order].astype(np.float64), 0))

    def _read(self, index: int) -> PoolFace:
        entry = self._record.faces[index]
        path = face_path(self._folder, entry.file)
        if file_sha256(path) != entry.sha256:
            raise SettingError(f"{entry.file}: not the picture that was put into this pool")
        try:
            pixels = Picture.open(path).pixels
        except (PictureError, OSError) as error:
            raise SettingError(f"{entry.file}: the pool's picture cannot be read") from error
        if pixels.shape != (self.side, self.side, 3):
            raise SettingError(
                f"{entry.file}: expected {self.side} x {self.side} px, got {pixels.shape[:2]}"
            )
        five_xy = np.array(entry.five_xy)
        return PoolFace(pixels=pixels, five_xy=five_xy, points_xy=self._points_xy[index])
