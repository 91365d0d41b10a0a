"""What the growth of the cost is measured on, and that every figure is there."""

import pytest
from PIL import Image

from benchmarks.growth import (
    Growth,
    batch_seconds,
    crowd,
    draw,
    markdown,
    memory_along,
    photograph,
    stages_of,
)
from camouflage.anonymizer import Anonymizer
from camouflage.recipe import Recipe
from camouflage.subjects.faces import FaceDetector

QUICK = Recipe.load("mini").changed({"steps": 2, "strength": 1.0})


@pytest.mark.parametrize("faces", [1, 5, 12])
def test_a_crowd_has_as_many_faces(faces):
    assert len(FaceDetector().detect(crowd(faces))) == faces


@pytest.mark.parametrize("megapixels", [1, 3])
def test_a_photograph_has_as_many_megapixels_and_one_face(megapixels):
    pixels = photograph(megapixels)
    assert pixels.shape[0] * pixels.shape[1] / 1e6 == pytest.approx(megapixels, rel=0.01)
    assert len(FaceDetector().detect(pixels)) == 1


@pytest.fixture(scope="module", name="anonymizer")
def _anonymizer():
    return Anonymizer.from_recipe(QUICK)


def test_another_number_of_faces_is_said(anonymizer):
    with pytest.raises(RuntimeError, match="1 faces were found, 2 are there"):
        stages_of(anonymizer, crowd(1), runs=1, faces=2)


def test_every_figure_is_measured_written_and_drawn(anonymizer, tmp_path):
    growth = Growth(
        faces={n: stages_of(anonymizer, crowd(n), runs=1, faces=n) for n in (1, 2)},
        megapixels={1: stages_of(anonymizer, photograph(1), runs=1)},
        batch=batch_seconds(QUICK, (1, 3), runs=1),
        memory=memory_along(anonymizer, 4, every=2),
    )
    assert list(growth.faces[1]) == [
        "read", "detect", "annotate", "redraw", "compose", "audit", "write",
    ]  # fmt: skip
    assert min(growth.batch.values()) > 0
    assert list(growth.memory) == [1, 2, 4]
    assert min(growth.memory.values()) > 100
    lines = markdown(growth, "about", "command").splitlines()
    assert sum(line.startswith("| 2 |") for line in lines) == 2
    draw(growth, tmp_path / "growth.png")
    assert min(Image.open(tmp_path / "growth.png").size) > 300
