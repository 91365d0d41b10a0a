"""From pictures of synthetic faces to a pool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.landmarks import LandmarkNet, predict_landmarks
from camouflage.errors import MissingExtra, NonFiniteResult, PictureError, SettingError
from camouflage.picture import Picture
from camouflage.subjects.crops import align
from camouflage.subjects.faces import Face
from camouflage.swap.pool import PoolFace
from camouflage.swap.pool_writer import EmbeddedFace, write_pool

SAME_FACE = 0.98
"""Cosine of two embeddings above which they are one picture, nearly. Our choice."""

LEAST_FACE_PX = 64
"""A smaller face is not taken: the method replaces none that is smaller. Of the released code."""

BATCH = 16
"""Pictures that are embedded together."""

Embed = Callable[[Sequence[NDArray[np.uint8]]], NDArray]
Tell = Callable[[str, str], None]


class Detector(Protocol):
    """What finds faces: `camouflage.subjects.faces.FaceDetector`, or a test's stand-in."""

    def detect(self, pixels: np.ndarray) -> tuple[Face, ...]: ...


@dataclass(frozen=True, kw_only=True)
class Built:
    """How many faces a pool has, how many were left out as doubles, and what gave no face.

    ``skipped``: name of the file and reason.
    """

    count: int
    doubles: int
    skipped: tuple[tuple[str, str], ...] = field(repr=False)


def build_pool(
    pictures: Iterable[Path],
    *,
    output: str | Path,
    side: int,
    landmarker: LandmarkNet,
    embed: Embed,
    detector: Detector,
    encoder_name: str,
    encoder_sha256: str,
    same_face: float = SAME_FACE,
    least_face_px: int = LEAST_FACE_PX,
    suffix: Literal[".webp", ".png"] = ".webp",
    overwrite: bool = False,
    tell: Tell = lambda name, reason: None,
) -> Built:
    """Write the largest face of each picture as a pool (see `write_pool`), in their order.

    ``embed`` takes crops uint8 (h, w, 3) to rows (N, D); it gets the face's box cut from the
    picture, as the method embeds people too. A face with a cosine above ``same_face`` to one that
    was taken before is left out. ``tell`` gets each file's name when it is done, with the reason
    why it was left out, empty if it was not.

    Raises:
        SettingError: no picture has a face that can be used, a value is out of its range, or
            ``embed`` does not give a row for each crop.
        NonFiniteResult: a network returned values that are not finite.
        OutputError: as `write_pool`.
    """
    if side < 1 or not -1 <= same_face <= 1:
        raise SettingError(
            f"expected a side of at least 1 px and same_face from -1 to 1, got {side}, {same_face}"
        )
    collecting = _Collecting(
        side=side,
        landmarker=landmarker,
        embed=embed,
        detector=detector,
        same_face=same_face,
        least_face_px=least_face_px,
        tell=tell,
    )
    count = write_pool(
        output,
        collecting.faces(pictures),
        side=side,
        encoder_name=encoder_name,
        encoder_sha256=encoder_sha256,
        suffix=suffix,
        overwrite=overwrite,
    )
    return Built(count=count, doubles=collecting.doubles, skipped=tuple(collecting.skipped))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Found:
    """A picture's largest face: its five points, and its box cut from the picture."""

    name: str
    aligned: NDArray[np.uint8]
    five_xy: NDArray[np.float64]
    boxed: NDArray[np.uint8]


@dataclass(kw_only=True, eq=False)
class _Collecting:
    """What is needed to make faces of pictures, and what became of them so far."""

    side: int
    landmarker: LandmarkNet
    embed: Embed
    detector: Detector
    same_face: float
    least_face_px: int
    tell: Tell
    doubles: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def faces(self, pictures: Iterable[Path]) -> Iterator[EmbeddedFace]:
        found = (one for path in pictures if (one := self._largest(path)) is not None)
        taken = _Rows()
        while batch := list(islice(found, BATCH)):
            for one, face in zip(batch, self._embedded(batch), strict=True):
                if taken.most_like(face.embedding) > self.same_face:
                    self.doubles += 1
                    self.tell(one.name, "nearly the same face as one before")
                    continue
                taken.add(face.embedding)
                self.tell(one.name, "")
                yield face

    def _largest(self, path: Path) -> _Found | None:
        try:
            pixels = Picture.open(path).pixels
        except (PictureError, MissingExtra) as error:
            return self._skip(path, str(error).removeprefix(f"{path.name}: "))
        except OSError as error:
            return self._skip(path, error.strerror or type(error).__name__)
        found = self.detector.detect(pixels)
        if not found:
            return self._skip(path, "no face was found")
        face = max(found, key=lambda one: (_area(one), one.score))
        if face.size_px < self.least_face_px:
            return self._skip(path, f"the face is smaller than {self.least_face_px} px")
        try:
            crop = align(face.points_xy, side=self.side)
        except SettingError as error:
            return self._skip(path, str(error))
        x0, y0, x1, y1 = face.box_xyxy
        return _Found(
            name=path.name,
            aligned=crop.cut(pixels),
            five_xy=crop.to_crop(face.points_xy),
            boxed=pixels[y0:y1, x0:x1].copy(),  # else the whole picture stays in memory
        )

    def _skip(self, path: Path, reason: str) -> None:
        self.skipped.append((path.name, reason))
        self.tell(path.name, reason)

    def _embedded(self, batch: Sequence[_Found]) -> Iterator[EmbeddedFace]:
        points_xy = predict_landmarks(self.landmarker, [one.aligned for one in batch])
        rows = np.asarray(self.embed([one.boxed for one in batch]))
        if rows.ndim != 2 or len(rows) != len(batch):
            raise SettingError(f"expected {len(batch)} rows of the encoder, got {rows.shape}")
        if not np.isfinite(rows).all():
            raise NonFiniteResult("the encoder returned values that are not finite")
        for one, points, row in zip(batch, points_xy, rows, strict=True):
            face = PoolFace(pixels=one.aligned, five_xy=one.five_xy, points_xy=points)
            yield EmbeddedFace(face=face, embedding=row)


class _Rows:
    """Embeddings in one array that grows by doubling."""

    def __init__(self) -> None:
        self._rows = np.zeros((0, 0), np.float32)
        self._count = 0

    def add(self, row: NDArray[np.float32]) -> None:
        if self._count == len(self._rows):
            grown = np.zeros((max(64, 2 * self._count), len(row)), np.float32)
            if self._count:
                grown[: self._count] = self._rows
            self._rows = grown
        self._rows[self._count] = row
        self._count += 1

    def most_like(self, row: NDArray[np.float32]) -> float:
        """The largest cosine to a row that is in, -1 if none is."""
        if not self._count:
            return -1.0
        return float((self._rows[: self._count] @ row).max())


def _area(face: Face) -> int:
    x0, y0, x1, y1 = face.box_xyxy
    return (x1 - x0) * (y1 - y0)
