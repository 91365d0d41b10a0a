"""The originals, read once: whose face is where, and its rows; kept by the hash of the file."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from camouflage.errors import CamouflageError, SettingError
from camouflage.evaluate.dataset import Photo
from camouflage.evaluate.recognisers import FaceEncoder
from camouflage.picture import Picture
from camouflage.subjects.faces import Face, FaceDetector


class Cache:
    """Arrays by key, in one ``.npz`` of mode 0600; None keeps them in memory only.

    Rows of faces are biometric data: keep the file where the photographs may be.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._known: dict[str, NDArray[np.float64]] = {}
        if path is not None and path.exists():
            try:
                with np.load(path, allow_pickle=False) as stored:
                    self._known = {key: stored[key] for key in stored.files}
            except (OSError, ValueError) as error:
                raise SettingError(f"{path.name}: damaged; remove it and start again") from error
        self._saved = len(self._known)

    def get(self, key: str) -> NDArray[np.float64] | None:
        """What was put under ``key``, or None."""
        return self._known.get(key)

    def put(self, key: str, values: NDArray[np.float64]) -> None:
        """Keep ``values`` under ``key``."""
        self._known[key] = values

    def save(self) -> None:
        """Write what is new, all or nothing."""
        if self.path is None or len(self._known) == self._saved:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, suffix=".part")
        with open(descriptor, "wb") as file:
            np.savez_compressed(file, **self._known)  # type: ignore[arg-type]
        os.replace(name, self.path)
        self._saved = len(self._known)


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """A picture as an attacker sees it: all faces, and the one that the photograph is of."""

    faces: tuple[Face, ...]
    main: Face | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Original:
    """An original: ``sha256`` of its file, who is in it and where."""

    photo: Photo
    sha256: str
    size_hw: tuple[int, int]
    seen: Seen


def main_face(faces: Sequence[Face], size_hw: tuple[int, int]) -> Face | None:
    """The face that the photograph is of: large and near its middle; None if there is none.

    The size less the distance of its middle from the picture's; our choice.
    """
    middle = np.array(size_hw[::-1]) / 2

    def weight(face: Face) -> float:
        x0, y0, x1, y1 = face.box_xyxy
        return face.size_px - float(np.hypot(*(np.array([x0 + x1, y0 + y1]) / 2 - middle)))

    return max(faces, key=weight, default=None)


class Looker:
    """Finds faces and embeds them, and remembers both by the hash of the pixels."""

    def __init__(
        self, detector: FaceDetector, encoders: Sequence[FaceEncoder], cache: Cache
    ) -> None:
        self.detector, self.encoders, self.cache = detector, encoders, cache

    def see(self, pixels: NDArray[np.uint8], sha256: str) -> Seen:
        """The faces of a picture."""
        key = f"faces {self.detector.score} {sha256}"
        stored = self.cache.get(key)
        if stored is None:
            faces = self.detector.detect(pixels)
            stored = np.array([_flat(face) for face in faces]).reshape(-1, 15)
            self.cache.put(key, stored)
        faces = tuple(_face(row) for row in stored)
        height, width = pixels.shape[:2]
        return Seen(faces=faces, main=main_face(faces, (height, width)))

    def rows(
        self, pixels: NDArray[np.uint8], sha256: str, face: Face | None
    ) -> dict[str, NDArray[np.float64]]:
        """A row (D,) for each encoder; of a size of 0 where there is no face to embed."""
        found = {}
        for encoder in self.encoders:
            place = "" if encoder.whole_picture else _place(face)
            key = f"row {encoder.sha256} {encoder.name} {sha256} {place}"
            row = self.cache.get(key)
            if row is None:
                if face is None and not encoder.whole_picture:
                    row = np.zeros(0)
                else:
                    whole = Face(
                        box_xyxy=(0, 0, pixels.shape[1], pixels.shape[0]),
                        points_xy=FRONTAL_XY * pixels.shape[1],
                        score=1.0,
                    )
                    row = encoder.embed(pixels, [face or whole])[0]
                self.cache.put(key, row)
            found[encoder.name] = row
        return found

    def black_row(self, encoder: FaceEncoder) -> NDArray[np.float64]:
        """Of a black crop, which CAMOUFLaGE's evaluation takes where no face is found."""
        black = np.zeros((160, 160, 3), np.uint8)
        face = Face(box_xyxy=(0, 0, 160, 160), points_xy=FRONTAL_XY * 160, score=1.0)
        return encoder.embed(black, [face])[0]


FRONTAL_XY = np.array([[0.34, 0.46], [0.66, 0.46], [0.5, 0.64], [0.37, 0.82], [0.63, 0.82]])
"""Five points of a face that fills a picture, as fractions of its side."""


def read_originals(
    photos: Sequence[Photo], looker: Looker
) -> tuple[list[Original], dict[str, NDArray[np.float64]]]:
    """The originals, a copy of another left out, and for each encoder their rows (N, D).

    A row is NaN where there is no face. Raises `SettingError` for an original that cannot be read:
    an evaluation must not quietly be of fewer people.
    """
    originals: list[Original] = []
    rows: dict[str, list[NDArray[np.float64]]] = {e.name: [] for e in looker.encoders}
    hashes: set[str] = set()
    for photo in photos:
        try:
            picture = Picture.open(photo.path)
        except (CamouflageError, OSError) as error:
            raise SettingError(f"an original cannot be read: {error}") from error
        if picture.sha256 in hashes:
            continue
        hashes.add(picture.sha256)
        seen = looker.see(picture.pixels, picture.sha256)
        originals.append(
            Original(photo=photo, sha256=picture.sha256, size_hw=picture.size_hw, seen=seen)
        )
        for name, row in looker.rows(picture.pixels, picture.sha256, seen.main).items():
            rows[name].append(row)
    looker.cache.save()
    return originals, {name: stacked(found) for name, found in rows.items()}


def stacked(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """(N, D) of rows of which those without a face, of size 0, become NaN."""
    width = max((len(row) for row in rows), default=0)
    return np.array([row if len(row) else np.full(width, np.nan) for row in rows]).reshape(
        len(rows), width
    )


def pixels_hash(pixels: NDArray[np.uint8]) -> str:
    """sha256 of a picture's shape and pixels."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def _place(face: Face | None) -> str:
    return "" if face is None else hashlib.sha256(_flat(face).tobytes()).hexdigest()[:16]


def _flat(face: Face) -> NDArray[np.float64]:
    return np.array([*face.box_xyxy, face.score, *face.points_xy.reshape(-1)], dtype=np.float64)


def _face(row: NDArray[np.float64]) -> Face:
    x0, y0, x1, y1 = (int(value) for value in row[:4])
    return Face(box_xyxy=(x0, y0, x1, y1), points_xy=row[5:].reshape(5, 2), score=float(row[4]))
