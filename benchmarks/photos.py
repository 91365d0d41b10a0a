"""Folders of photographs by person, and the one face in each that bears the folder's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from camouflage.audit import Recogniser
from camouflage.errors import SettingError
from camouflage.picture import FORMATS, Picture
from camouflage.subjects.faces import Face, FaceDetector

GALLERY_CACHE = "gallery.npz"


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A file and the name of the person it shows."""

    person: str
    path: Path


def by_person(folder: Path, *, limit: int | None = None) -> dict[str, list[Photo]]:
    """Name to photographs, both sorted; a sub-folder is a person. ``limit``: of people.

    Raises `SettingError` if there are not two people.
    """
    people = {
        sub.name: [
            Photo(person=sub.name, path=path)
            for path in sorted(sub.iterdir())
            if path.suffix.lower() in FORMATS
        ]
        for sub in sorted(folder.iterdir())
        if sub.is_dir()
    }
    people = {name: photos for name, photos in people.items() if photos}
    if len(people) < 2 or (limit is not None and limit < 2):
        raise SettingError(f"{folder.name}: expected folders of photographs of two people or more")
    return dict(list(people.items())[:limit])


def split(
    people: dict[str, list[Photo]], *, photos_per_person: int
) -> tuple[list[Photo], list[Photo]]:
    """Probes, the first ``photos_per_person`` of each person, and the gallery, all others.

    Raises `SettingError` for a person who would have no photograph in the gallery.
    """
    short = [name for name, photos in people.items() if len(photos) <= photos_per_person]
    if short or photos_per_person < 1:
        raise SettingError(
            f"expected more than {photos_per_person} photographs of each person, at least one to "
            f"attack: {len(short)} have no more, for example {short[:3]}"
        )
    probes = [p for photos in people.values() for p in photos[:photos_per_person]]
    return probes, [p for photos in people.values() for p in photos[photos_per_person:]]


def main_face(faces: Sequence[Face], size_hw: tuple[int, int]) -> Face | None:
    """The face that the photograph is of: large and near its middle; None if there is none.

    The size less the distance of its middle from the picture's; our choice.
    """
    middle = np.array(size_hw[::-1]) / 2

    def weight(face: Face) -> float:
        x0, y0, x1, y1 = face.box_xyxy
        return face.size_px - float(np.hypot(*(np.array([x0 + x1, y0 + y1]) / 2 - middle)))

    return max(faces, key=weight, default=None)


def gallery_rows(
    photos: Sequence[Photo],
    *,
    cache: Path,
    detector: FaceDetector,
    recogniser: Recogniser,
    leave_out: frozenset[str],
) -> tuple[NDArray[np.float64], list[str]]:
    """Embeddings (N, 128) of the named faces of ``photos``, and their names.

    By the hash of a file they are kept in ``cache``, NaN where no face was found; such rows are
    left out, and files whose hash is in ``leave_out`` (copies of a probe).
    """
    known = _read_cache(cache)
    rows, names = [], []
    for photo in photos:
        picture = Picture.open(photo.path)
        if picture.sha256 in leave_out:
            continue
        if picture.sha256 not in known:
            face = main_face(detector.detect(picture.pixels), picture.size_hw)
            faces = [] if face is None else [face]
            found = recogniser.embed(picture.pixels, faces).rows
            known[picture.sha256] = found[0] if len(found) else np.full(128, np.nan)
        row = known[picture.sha256]
        if np.isfinite(row).all():
            rows.append(row)
            names.append(photo.person)
    np.savez_compressed(cache, **known)  # type: ignore[arg-type]
    return np.array(rows).reshape(-1, 128), names


def _read_cache(cache: Path) -> dict[str, NDArray[np.float64]]:
    if not cache.exists():
        return {}
    with np.load(cache, allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}
