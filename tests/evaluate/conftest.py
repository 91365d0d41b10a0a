"""A small world in which people are colours: every outcome is known beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camouflage.annotators.landmarks import LandmarkNet
from camouflage.evaluate.dataset import Dataset
from camouflage.evaluate.originals import Cache, Looker, read_originals
from camouflage.evaluate.protocol import Tools, context
from camouflage.evaluate.rates import Gallery
from camouflage.subjects.faces import Face

PEOPLE = {f"person {i}": 20 * i + 10 for i in range(8)}
SIDE = 64


def face_at(x: float = 32, y: float = 32, size: float = 40, score: float = 0.9) -> Face:
    points = np.array([[-0.2, -0.1], [0.2, -0.1], [0, 0.1], [-0.15, 0.3], [0.15, 0.3]])
    half = size / 2
    x0, y0, x1, y1 = (round(v) for v in (x - half, y - half, x + half, y + half))
    return Face(
        box_xyxy=(max(x0, 0), max(y0, 0), x1, y1), points_xy=points * size + [x, y], score=score
    )


class Eyes:
    """Detector and encoder: a face is there unless the middle is black or blue; its red level is
    the person. Blue faces can be embedded, but not found."""

    name, sha256, note, whole_picture, score = "eyes", "0" * 64, "for tests", False, 0.3

    def __init__(self) -> None:
        self.embedded = 0

    def detect(self, pixels):
        red, _, blue = pixels[32, 32]
        return (face_at(),) if red and not blue else ()

    def embed(self, pixels, faces):
        self.embedded += len(faces)
        return np.tile(pixels[32, 32, :1] / 255.0, (len(faces), 1)).astype(float)


class World:
    def __init__(
        self, folder: Path, *, cache: Path | None = None, photos_per_person: int = 2, attributes=()
    ):
        self.folder, self.eyes = folder, Eyes()
        self.dataset = Dataset.load(folder)
        self.looker = Looker(self.eyes, [self.eyes], Cache(cache))  # type: ignore[arg-type]
        landmarks = LandmarkNet(channels=(8, 8, 8)).eval()
        self.tools = Tools(looker=self.looker, landmarks=landmarks, attributes=attributes)
        originals, rows = read_originals(self.dataset.photos, self.looker)
        self.gallery = Gallery(originals=originals, rows=rows)
        names = {photo.name for photo in self.dataset.probes(photos_per_person)}
        self.probes = [context(o, self.tools) for o in originals if o.photo.name in names]


def save_people(folder: Path, *, photos: int = 4) -> Path:
    for name, level in PEOPLE.items():
        (folder / name).mkdir(parents=True)
        for j in range(photos):
            pixels = np.full((SIDE, SIDE, 3), (level + j, 0, 0), np.uint8)
            pixels[0, 0] = j
            Image.fromarray(pixels).save(folder / name / f"{j}.png")
    return folder


@pytest.fixture(name="world")
def _world(tmp_path):
    return World(save_people(tmp_path / "photos"))
