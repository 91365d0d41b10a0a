"""Scenes and people by a model that is told what to draw: nothing unjudged gets out."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
from PIL import Image

from camouflage import Anonymizer, AuditRefused, GivenRegion, Recipe
from camouflage.errors import OutOfMemory, SettingError
from camouflage.pipelines import BasePipeline
from camouflage.redraw_base import BaseRedrawer
from camouflage.subjects.faces import Face

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

    weights_in_use = BasePipeline.weights_in_use

    def annotate(self, pictures, names):
        self.annotated = getattr(self, "annotated", 0) + len(pictures)
        return {name: list(pictures) for name in names}

    def captions(self, pictures):
        return ["a picture"] * len(pictures)

    def __call__(self, image, **settings) -> SimpleNamespace:
        assert settings["prompt"] == ["a picture"] * len(image)
        self.sizes_hw += [picture.shape[:2] for picture in image]
        return SimpleNamespace(images=[Image.fromarray(self.paint(picture)) for picture in image])


def noise(picture: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, picture.shape).astype(np.uint8)


def bound(paint, *, people=(), **changes) -> Anonymizer:
    settings = {"control_weights": {}, "scene_px": 256, "small_face_px": 0, "ladder": [RUNG]}
    recipe = Recipe.load("sd15").changed({**settings, **changes})
    return Anonymizer(recipe, pipeline=ScenePipeline(paint, people))  # type: ignore[arg-type]


def blind_at_first(anonymizer: Anonymizer) -> None:
    """Its detector sees nobody on the original, and everybody on the result."""
    detect = anonymizer.detector.detect
    looks: list[int] = []

    def look(pixels: np.ndarray):
        looks.append(1)
        return () if len(looks) == 1 else detect(pixels)

    anonymizer.detector.detect = look  # type: ignore[method-assign]


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
    assert "still the original" in result.verdict.reasons[0]  # type: ignore[union-attr]
    assert len(anonymizer.pipeline.sizes_hw) == 2, "each attempt draws the scene anew"  # type: ignore[attr-defined]
    assert anonymizer.pipeline.annotated == 1, "what steers a picture is made once"  # type: ignore[attr-defined]


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
    blind_at_first(anonymizer)
    result = anonymizer(astronaut, seed=1)
    assert result.state == "refused"
    assert "was missed and is unchanged" in " ".join(result.verdict.reasons)  # type: ignore[union-attr]


def test_a_face_that_a_scene_keeps_is_drawn_again_as_a_crop(astronaut) -> None:
    face = np.s_[50:200, 150:300]

    def keeps_the_face(picture: np.ndarray) -> np.ndarray:
        drawn = noise(picture)
        if picture.shape[0] == 512:
            drawn[face] = picture[face]
        return drawn

    anonymizer = bound(keeps_the_face, scene_px=512, ladder=[RUNG] * 2)
    result = anonymizer(astronaut, seed=1)
    assert [attempt.passed for attempt in result.faces[0].attempts] == [False, True]
    assert anonymizer.pipeline.sizes_hw == [(512, 512), (128, 128)]  # type: ignore[attr-defined]
    assert result.state == "passed"


def test_a_scene_that_failed_is_drawn_anew_not_only_its_faces(astronaut) -> None:
    drawn: list[int] = []

    def keeps_the_first(picture: np.ndarray) -> np.ndarray:
        drawn.append(1)
        return picture if len(drawn) == 1 else noise(picture)

    anonymizer = bound(keeps_the_first, scene_px=512, ladder=[RUNG] * 2)
    assert anonymizer(astronaut, seed=1).state == "passed"
    assert anonymizer.pipeline.sizes_hw == [(512, 512)] * 2  # type: ignore[attr-defined]


def softened(picture: np.ndarray) -> np.ndarray:
    return picture


def noisy(picture: np.ndarray) -> np.ndarray:
    grain = np.random.default_rng(0).normal(0, 6, picture.shape)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def brighter(picture: np.ndarray) -> np.ndarray:
    return np.clip(picture.astype(int) + 20, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("paint", "scene_px"), [(softened, 256), (noisy, 512), (brighter, 512)])
@pytest.mark.parametrize("missed", [True, False])
def test_a_copy_with_another_surface_is_refused(
    astronaut, paint, scene_px: int, missed: bool
) -> None:
    """Resampled, noisy or brighter, it is the original; also for a detector that was blind."""
    anonymizer = bound(paint, scene_px=scene_px)
    if missed:
        anonymizer.detector.detect = lambda pixels: ()  # type: ignore[method-assign]
    result = anonymizer(astronaut, seed=1)
    assert result.state == "refused"
    assert "the scene is still the original" in " ".join(result.verdict.reasons)  # type: ignore[union-attr]


def test_a_missed_person_is_judged_as_those_that_were_found(astronaut) -> None:
    """All is new but a face that only the audit sees, and that only lost some detail."""
    face = np.s_[60:190, 170:280]

    def keeps_the_face(picture: np.ndarray) -> np.ndarray:
        drawn = noise(picture)
        drawn[face] = noisy(picture)[face]
        return drawn

    anonymizer = bound(keeps_the_face, scene_px=512)
    blind_at_first(anonymizer)
    result = anonymizer(astronaut, seed=1)
    assert result.state == "refused"
    assert "was missed before" in " ".join(result.verdict.reasons)  # type: ignore[union-attr]


def test_small_faces_are_drawn_again(astronaut) -> None:
    for small_px, crops in ((0, 0), (1000, 1)):
        anonymizer = bound(noise, small_face_px=small_px)
        assert anonymizer(astronaut, seed=1).state == "passed"
        assert anonymizer.pipeline.sizes_hw == [(256, 256)] + [(128, 128)] * crops  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("size_hw", "expected_hw"),
    [
        ((300, 400), (192, 320)),
        ((4000, 1000), (512, 128)),
        ((10, 10), (256, 256)),
        ((1, 5000), (128, 512)),
    ],
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


def test_every_body_needs_a_face_of_its_own(astronaut) -> None:
    """A neighbour's face in its box does not make a body one whose face was found."""
    pixels = np.concatenate([astronaut, astronaut], 1)
    anonymizer = bound(noise, scope="people", people=[(0, 0, 600, 512), (150, 0, 1024, 512)])
    mask = np.zeros(pixels.shape[:2], bool)
    mask[:, 100:400] = True
    anonymizer.pipeline.scene_annotators.person_masks = lambda pictures: [mask]
    detect = anonymizer.detector.detect

    def sees_the_left_one(found):
        return tuple(face for face in detect(found) if face.box_xyxy[0] < 512)

    anonymizer.detector.detect = sees_the_left_one  # type: ignore[method-assign]
    result = anonymizer(pixels, seed=1)
    assert result.state == "passed"
    assert result.mask[:, 612:].all(), "the one whose face was missed is redrawn whole"


def test_each_face_counts_for_one_body() -> None:
    from camouflage.subjects.given import GivenFace
    from camouflage.subjects.persons import owners

    def face(box, kind=Face):
        return kind(box_xyxy=box, points_xy=np.arange(10).reshape(5, 2), score=1.0)

    adult, child = (0, 0, 100, 300), (20, 100, 80, 300)
    assert owners([adult, child], [face((30, 110, 50, 140))]) == [1], "the smaller one"
    both = [face((30, 110, 50, 140)), face((40, 20, 60, 40))]
    assert owners([adult, child], both) == [1, 0]
    assert owners([adult], [face((30, 110, 50, 140), GivenFace)]) == [], "a given place is no face"


def test_a_body_with_a_face_that_stays_is_refused(astronaut) -> None:
    """Its face is new, the rest of it is not."""

    def keeps_bodies(picture: np.ndarray) -> np.ndarray:
        keeps_bodies.calls += 1
        return picture if keeps_bodies.calls == 1 else noise(picture)

    keeps_bodies.calls = 0  # type: ignore[attr-defined]
    anonymizer = bound(keeps_bodies, scope="people", people=[(40, 0, 420, 512)], small_face_px=4096)
    result = anonymizer(astronaut, seed=1)
    assert result.state == "refused"
    assert "the body at" in " ".join(result.verdict.reasons)  # type: ignore[union-attr]


def test_a_given_place_on_a_body_is_redrawn_by_itself(astronaut) -> None:
    mask = np.zeros(astronaut.shape[:2], bool)
    mask[300:380, 150:230] = True
    anonymizer = bound(noise, scope="people", people=[(40, 0, 420, 512)])
    result = anonymizer(astronaut, seed=1, regions=[GivenRegion(mask=mask)])
    assert result.state == "passed"
    assert len(anonymizer.pipeline.sizes_hw) == 2  # type: ignore[attr-defined]
    kept = np.abs(result.pixels.astype(int) - astronaut).max(2) <= 8
    assert kept[mask].mean() < 0.02


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
        BaseRedrawer(recipe=recipe, pipeline=ScenePipeline(noise))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"negative_prompt": "blurry"}, "negative_prompt"),
        ({"identity": "learned"}, "no identity ControlNet"),
    ],
)
def test_what_cannot_work_is_refused_before_any_picture(changes, message: str) -> None:
    recipe = Recipe.load("sd15").changed({"control_weights": {}, **changes})
    pipeline = ScenePipeline(noise)
    pipeline.identity_controlnet = None  # type: ignore[attr-defined]
    with pytest.raises(SettingError, match=message):
        BaseRedrawer(recipe=recipe, pipeline=pipeline)  # type: ignore[arg-type]


def test_the_sheet_of_maps_has_a_limit() -> None:
    from camouflage.batch.sheet import maps_pixels

    rows = [[np.zeros((20, 30, 3), np.uint8)] * 6] * 300
    assert max(maps_pixels(rows).shape) < 20000
    sliver = maps_pixels([[np.zeros((4000, 2, 3), np.uint8), np.zeros((2, 4000, 3), np.uint8)]])
    assert sliver.shape == (260, 1025, 3)
    assert maps_pixels([]).size


def test_scenes_start_from_the_original() -> None:
    with pytest.raises(SettingError, match="start_pool: this pipeline draws scenes"):
        bound(noise, start_pool="mini-light")
