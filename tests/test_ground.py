"""Scenes and people by a model that is told what to draw: nothing unjudged gets out."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
from PIL import Image

from camouflage import Anonymizer, AuditRefused, GivenRegion, Recipe
from camouflage.errors import OutOfMemory, SettingError
from camouflage.redraw import Redrawer

RUNG = {"anonymization_scale": 0.0, "strength": 0.0}


class ScenePipeline:
    """Draws pictures of any size as ``paint`` says, and remembers their sizes."""

    multiple_px, landmarker = 64, None

    def __init__(self, paint, people=()) -> None:
        self.paint, self.sizes_hw = paint, []
        names = ["depth", "pose"]
        self.config = {
            "annotators": "scene",
            "size_px": 128,
            "controls": names,
            "default_weights": dict.fromkeys(names, 1.0),
            "random_weights": False,
        }
        self.scene_annotators = SimpleNamespace(
            people=lambda pictures: [[SimpleNamespace(box_xyxy=box) for box in people]],
            person_masks=lambda pictures: [np.zeros(p.shape[:2], bool) for p in pictures],
        )

    def __call__(self, image, **settings) -> SimpleNamespace:
        assert settings["control_images"] is None, "it annotates by itself"
        self.sizes_hw += [picture.shape[:2] for picture in image]
        return SimpleNamespace(images=[Image.fromarray(self.paint(picture)) for picture in image])


def noise(picture: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, picture.shape).astype(np.uint8)


def bound(paint, *, people=(), **changes) -> Anonymizer:
    settings = {"control_weights": {}, "scene_px": 256, "small_face_px": 0, "ladder": [RUNG]}
    recipe = Recipe.load("sd15").changed({**settings, **changes})
    return Anonymizer(recipe, pipeline=ScenePipeline(paint, people))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return skimage.data.astronaut()


@pytest.mark.parametrize("rungs", [1, 3])
def test_a_scene_that_stays_is_refused(astronaut, rungs: int) -> None:
    result = bound(lambda picture: picture, ladder=[RUNG] * rungs)(astronaut, seed=1)
    assert result.state == "refused"
    assert result._pixels is None
    with pytest.raises(AuditRefused):
        result.image  # noqa: B018


def test_a_scene_without_faces_that_stays_is_refused() -> None:
    pixels = skimage.data.coffee()[:128, :192]
    anonymizer = bound(lambda picture: picture, scene_px=157, ladder=[RUNG] * 2)
    result = anonymizer(pixels, seed=1)
    assert result.state == "refused"
    assert "of the picture changed" in result.verdict.reasons[0]  # type: ignore[union-attr]
    assert len(anonymizer.pipeline.sizes_hw) == 2, "each attempt draws the scene anew"  # type: ignore[attr-defined]


def test_a_person_whom_the_detector_missed_is_gone_from_a_scene(astronaut, monkeypatch) -> None:
    anonymizer = bound(noise)
    monkeypatch.setattr(anonymizer.detector, "detect", lambda pixels: ())
    result = anonymizer(astronaut, seed=1)
    assert result.state == "passed"
    assert (result.pixels != astronaut).any(2).mean() > 0.95


def test_a_person_who_was_missed_and_stays_is_refused(astronaut) -> None:
    """The detector sees nobody on the original but somebody on the result, who is unchanged."""
    middle = np.s_[0:300, 100:400]

    def spares_the_middle(picture: np.ndarray) -> np.ndarray:
        drawn = noise(picture)
        drawn[middle] = picture[middle]
        return drawn

    anonymizer = bound(spares_the_middle, scene_px=512)
    detect, seen = anonymizer.detector.detect, []

    def blind_at_first(pixels):
        seen.append(1)
        return () if len(seen) == 1 else detect(pixels)

    anonymizer.detector.detect = blind_at_first  # type: ignore[method-assign]
    result = anonymizer(astronaut, seed=1)
    assert result.state == "refused"
    assert "was missed and is unchanged" in " ".join(result.verdict.reasons)  # type: ignore[union-attr]


def test_a_face_that_a_scene_keeps_is_drawn_again_as_a_crop(astronaut) -> None:
    def keeps_scenes(picture: np.ndarray) -> np.ndarray:
        return noise(picture) if picture.shape[0] == 128 else picture

    anonymizer = bound(keeps_scenes, scene_px=512, ladder=[RUNG] * 2)
    result = anonymizer(astronaut, seed=1)
    assert [attempt.passed for attempt in result.faces[0].attempts] == [False, True]
    assert anonymizer.pipeline.sizes_hw == [(512, 512), (128, 128)]  # type: ignore[attr-defined]
    assert result.state == "refused", "the rest of the scene is still the original"


def test_small_faces_are_drawn_again(astronaut) -> None:
    for small_px, crops in ((0, 0), (1000, 1)):
        anonymizer = bound(noise, small_face_px=small_px)
        assert anonymizer(astronaut, seed=1).state == "passed"
        assert anonymizer.pipeline.sizes_hw == [(256, 256)] + [(128, 128)] * crops  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("size_hw", "expected_hw"),
    [((300, 400), (192, 320)), ((4000, 1000), (512, 128)), ((10, 10), (256, 256))],
)
def test_a_scene_keeps_its_aspect(size_hw, expected_hw) -> None:
    redrawer = bound(noise).redrawer
    assert redrawer.frame_size_hw(size_hw) == expected_hw
    pixels = np.zeros((*size_hw, 3), np.uint8)
    assert redrawer.frame(pixels, "name", "key").shape == pixels.shape


def test_people_are_redrawn_and_the_rest_stays(astronaut) -> None:
    anonymizer = bound(noise, scope="people", people=[(120, 40, 340, 500)], small_face_px=0)
    result = anonymizer(astronaut, seed=1)
    assert result.state == "passed"
    assert len(result.faces) == 1, "a body with a face is judged by its face"
    assert np.array_equal(result.pixels[~result.mask], astronaut[~result.mask])
    assert not result.mask[:, 450:].any()
    x0, y0, x1, y1 = result.faces[0].box_xyxy
    assert result.mask[y0:y1, x0:x1].mean() > 0.98


def test_a_face_outside_every_body_is_redrawn_as_a_crop(astronaut) -> None:
    anonymizer = bound(noise, scope="people", people=[(0, 300, 100, 500)])
    result = anonymizer(astronaut, seed=1)
    assert result.state == "passed"
    assert len(result.faces) == 2, "a face, and a body without one"
    x0, y0, x1, y1 = result.faces[0].box_xyxy
    assert result.mask[y0 + 9 : y1 - 9, x0 + 9 : x1 - 9].all()


def test_a_body_that_stays_is_refused() -> None:
    pixels = skimage.data.coffee()
    anonymizer = bound(lambda p: p, scope="people", people=[(100, 50, 220, 350)])
    assert anonymizer(pixels, seed=1).state == "refused"


def test_given_regions_are_redrawn_in_a_scene_too(astronaut) -> None:
    region = GivenRegion(box_xyxy=(300, 300, 380, 400))
    result = bound(noise)(astronaut, seed=1, regions=[region])
    assert result.state == "passed"
    assert (300, 300, 380, 400) in [face.box_xyxy for face in result.faces]


def test_no_memory_for_a_scene(astronaut) -> None:
    def full(picture):
        raise MemoryError

    with pytest.raises(OutOfMemory, match="scene_px"):
        bound(full)(astronaut, seed=1)


def test_unknown_controls_are_refused() -> None:
    recipe = Recipe.load("sd15").changed({"control_weights": {"landmarks": 1.0}})
    with pytest.raises(SettingError, match="landmarks"):
        Redrawer(recipe=recipe, pipeline=ScenePipeline(noise))  # type: ignore[arg-type]
