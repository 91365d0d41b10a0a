"""CAMOUFLaGE-Light behind the audit: which fake, which face, which noise; nothing random passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data

from camouflage import Anonymizer, Recipe, ground
from camouflage.errors import SettingError
from camouflage.picture import Picture
from camouflage.pipelines.light import LightPipeline
from camouflage.pipelines.tiny import tiny_pipeline
from camouflage.redraw_light import LightRedrawer
from camouflage.subjects.faces import Face
from camouflage.subjects.persons import FacelessBody, bodies_of

from .small_light import small_light, write_small_pool

RUNG = {"strength": 0.0, "original_share": 0.0}
QUICK = {"steps": 2, "strength": 1.0, "ladder": [RUNG] * 3, "face_batch": 2}


@pytest.fixture(scope="module")
def pool_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_pool(tmp_path_factory.mktemp("pools") / "pool")


@pytest.fixture(scope="module")
def crops_pipeline(pool_folder: Path) -> LightPipeline:
    return small_light(pool=pool_folder)


@pytest.fixture(scope="module")
def scenes_pipeline(pool_folder: Path) -> LightPipeline:
    return small_light(pool=pool_folder, annotators="scene")


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return skimage.data.astronaut()


def recipe(preset: str = "mini-light", **changes) -> Recipe:
    plain = {"swap_blend": "seamless", "upscaler": None, "sharpen": 0.0}
    return Recipe.load(preset).changed({**QUICK, **plain, **changes})


def redrawer(pipeline: LightPipeline, preset: str = "mini-light", **changes) -> LightRedrawer:
    return LightRedrawer(recipe=recipe(preset, **changes), pipeline=pipeline)  # type: ignore[arg-type]


def face(box: tuple[int, int, int, int] = (170, 60, 280, 190)) -> Face:
    """Frontal, its points where they mostly are in such a box."""
    x0, y0, x1, y1 = box
    shares = [(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.78), (0.65, 0.78)]
    points = tuple((x0 + a * (x1 - x0), y0 + b * (y1 - y0)) for a, b in shares)
    return Face(box_xyxy=box, points_xy=points, score=0.9)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch):
    """``watched(pipeline)`` is a list of what each call of the pipeline was given."""

    def watch(pipeline: LightPipeline) -> list[dict]:
        calls: list[dict] = []
        call = LightPipeline.__call__

        def noted(self, image, **settings):
            calls.append({"image": image, **settings})
            return call(self, image, **settings)

        monkeypatch.setattr(LightPipeline, "__call__", noted)
        return calls

    return watch


def test_random_weights_never_pass(crops_pipeline, astronaut, watched) -> None:
    calls = watched(crops_pipeline)
    anonymizer = Anonymizer(recipe(), pipeline=crops_pipeline)
    assert isinstance(anonymizer.redrawer, LightRedrawer)
    result = anonymizer(astronaut, seed=1)
    assert result.state == "refused"
    assert any("random" in reason for reason in result.verdict.reasons)  # type: ignore[union-attr]
    assert result._pixels is None
    attempts = result.faces[0].attempts
    assert [(a.anonymization_scale, a.strength) for a in attempts] == [(None, 1.0)] * len(attempts)
    assert calls[0]["image"][0].shape == (64, 64, 3)
    assert len(calls[0]["faces"][0]) == 1


def test_random_weights_from_a_folder_never_pass(crops_pipeline, astronaut, tmp_path) -> None:
    from camouflage.placing import placed

    crops_pipeline.save_pretrained(tmp_path / "mini-light")
    settings = recipe(model=str(tmp_path / "mini-light"), ladder=[RUNG])
    pipeline = placed(settings)
    assert isinstance(pipeline, LightPipeline)
    assert Anonymizer(settings, pipeline=pipeline)(astronaut, seed=1).state == "refused"


def test_each_attempt_takes_another_fake_and_another_noise(
    crops_pipeline, astronaut, watched
) -> None:
    calls = watched(crops_pipeline)
    one = redrawer(crops_pipeline, shape_jitter=0.0)  # which alone would make the swaps differ
    subjects = one.subjects(Picture.from_image(astronaut), [face()])
    drawn = [one.crops(subjects, "key", attempt)[0] for attempt in range(3)]
    assert len({crop.tobytes() for crop in drawn}) == 3
    swaps = [call["swapped_images"][0] for call in calls]
    assert len({swap.tobytes() for swap in swaps}) == 3
    assert not any(np.array_equal(swap, subjects[0].pixels) for swap in swaps)
    assert len({call["generator"][0].initial_seed() for call in calls}) == 3


def test_rungs_are_added_and_stop_at_the_ends(crops_pipeline, astronaut, watched) -> None:
    calls = watched(crops_pipeline)
    ladder = [RUNG, {"strength": 0.2, "original_share": -0.2}]
    ladder += [{"strength": 0.9, "original_share": -0.9}]
    one = redrawer(crops_pipeline, ladder=ladder, strength=0.5, original_share=0.5, steps=4)
    subjects = one.subjects(Picture.from_image(astronaut), [face()])
    for attempt in range(3):
        one.crops(subjects, "key", attempt)
    assert [call["strength"] for call in calls] == [0.5, 0.7, 1.0]
    assert [call["original_share"] for call in calls] == pytest.approx([0.5, 0.3, 0.0])


def test_the_recipes_settings_reach_the_pipeline(crops_pipeline, astronaut, watched) -> None:
    calls = watched(crops_pipeline)
    changes = {
        "guidance_scale": 2.0,
        "image_prompt_scale": 0.5,
        "adapter_scale": 0.4,
        "adapter_steps": "first",
        "attributes_of": "swapped",
        "steps": 3,
    }
    one = redrawer(crops_pipeline, **changes)
    one.crops(one.subjects(Picture.from_image(astronaut), [face()]), "key")
    told = calls[0]
    assert {name: told[name] for name in changes if name != "steps"} == {
        name: value for name, value in changes.items() if name != "steps"
    }
    assert told["num_inference_steps"] == 3
    assert (told["prompt"], told["negative_prompt"]) == (None, None)


@pytest.mark.parametrize(
    "change",
    [{"swap_alignment": "similarity"}, {"swap_blend": "alpha"}, {"shape_jitter": 0.3}],
    ids=lambda change: next(iter(change)),
)
def test_the_swaps_settings_act(crops_pipeline, astronaut, change) -> None:
    subject = redrawer(crops_pipeline).subjects(Picture.from_image(astronaut), [face()])[0]
    shown = [redrawer(crops_pipeline, **changes).shown(subject, "key") for changes in ({}, change)]
    assert np.array_equal(shown[0][0], shown[1][0])
    assert not np.array_equal(shown[0][1], shown[1][1])


def test_a_threshold_of_fakes_acts(crops_pipeline, astronaut) -> None:
    subject = redrawer(crops_pipeline).subjects(Picture.from_image(astronaut), [face()])[0]
    near, far = (
        redrawer(crops_pipeline, swap_threshold=value).shown(subject, "key")[1] for value in (0, 2)
    )
    assert not np.array_equal(near, far)


@pytest.fixture(scope="module")
def whole_pipeline(tmp_path_factory) -> LightPipeline:
    return small_light(pool=write_small_pool(tmp_path_factory.mktemp("pools") / "pool", fakes=16))


def test_with_a_whole_swap_nothing_of_the_face_is_left(whole_pipeline, astronaut, watched) -> None:
    calls = watched(whole_pipeline)
    one = redrawer(whole_pipeline, swap_blend="whole")
    subject = one.subjects(Picture.from_image(astronaut), [face()])[0]
    for attempt in (0, 1):
        one.crops([subject], "key", attempt)
    swaps = [call["swapped_images"][0] for call in calls]
    assert np.array_equal(one.shown(subject, "key")[1], swaps[0])
    assert not np.array_equal(*swaps), "another attempt, another fake"
    assert np.array_equal(swaps[0][~subject.region], subject.pixels[~subject.region])
    inside = subject.region
    assert (swaps[0][inside] == subject.pixels[inside]).all(-1).mean() < 0.02


def test_a_whole_swap_that_cannot_be_is_refused(
    whole_pipeline, crops_pipeline, scenes_pipeline
) -> None:
    with pytest.raises(SettingError, match="set swap_alignment to mesh"):
        redrawer(whole_pipeline, swap_blend="whole", swap_alignment="similarity")
    with pytest.raises(SettingError, match="seamless or alpha"):
        redrawer(scenes_pipeline, "sd15-light", swap_blend="whole")
    with pytest.raises(SettingError, match=r"expected at least 8 faces.*got 6"):
        redrawer(crops_pipeline, swap_blend="whole")


def test_what_is_shown_is_what_is_drawn_over(crops_pipeline, astronaut, watched) -> None:
    calls = watched(crops_pipeline)
    one = redrawer(crops_pipeline)
    subject = one.subjects(Picture.from_image(astronaut), [face()])[0]
    one.crops([subject], "key")
    crop, swapped = one.shown(subject, "key")
    assert np.array_equal(crop, subject.pixels)
    assert np.array_equal(swapped, calls[0]["swapped_images"][0])
    x, y = calls[0]["faces"][0][0].shape.five_xy[2].astype(int)
    around = np.s_[y - 4 : y + 5, x - 4 : x + 5]
    assert np.abs(swapped[around].astype(int) - crop[around]).mean() > 5


def test_same_key_same_result_whatever_order_and_batch(crops_pipeline, astronaut) -> None:
    boxes = [(170, 60, 280, 190), (20, 300, 120, 420), (300, 250, 420, 400)]
    faces = [face(box) for box in boxes]
    one = redrawer(crops_pipeline, face_batch=3)
    picture = Picture.from_image(astronaut)
    drawn = one.crops(one.subjects(picture, faces), "key")
    again = one.crops(one.subjects(picture, faces), "key")
    turned = redrawer(crops_pipeline, face_batch=1)
    other = turned.crops(turned.subjects(picture, faces[::-1]), "key")[::-1]
    for a, b, c in zip(drawn, again, other, strict=True):
        assert np.array_equal(a, b)
        # a level, where another size of batch rounds to another side
        assert np.abs(a.astype(int) - c).max() <= 1
    for changed in (one.crops(one.subjects(picture, faces), "other key"), drawn[1:] + drawn[:1]):
        assert all(
            np.abs(a.astype(int) - b).mean() > 1 for a, b in zip(drawn, changed, strict=True)
        )


def with_found(monkeypatch, pipeline: LightPipeline, *found) -> None:
    """``found``: what a detector of the pipeline's own sees in any picture."""
    monkeypatch.setattr(LightPipeline, "detected", lambda self, pixels: found)


def body(box: tuple[int, int, int, int] = (100, 50, 300, 400)) -> FacelessBody:
    mask = np.zeros((512, 512), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return bodies_of([box], mask, [])[0].without_face()


def test_in_the_crop_of_a_faceless_body_there_is_no_face(
    scenes_pipeline, astronaut, watched, monkeypatch
) -> None:
    calls = watched(scenes_pipeline)
    with_found(monkeypatch, scenes_pipeline)
    one = redrawer(scenes_pipeline, "sd15-light", scope="people")
    subjects = one.subjects(Picture.from_image(astronaut), [body()])
    assert subjects[0].faces == ()
    drawn = one.crops(subjects, "key")
    assert calls[0]["faces"] == [[]]
    assert np.array_equal(calls[0]["swapped_images"][0], subjects[0].pixels)
    assert np.abs(drawn[0].astype(int) - subjects[0].pixels).mean() > 5, "it is redrawn"


def test_in_the_crop_of_a_face_there_is_always_one_to_swap(
    scenes_pipeline, astronaut, watched, monkeypatch
) -> None:
    """Also where the detector finds none in it."""
    calls = watched(scenes_pipeline)
    with_found(monkeypatch, scenes_pipeline)
    one = redrawer(scenes_pipeline, "sd15-light", scope="faces")
    subject = one.subjects(Picture.from_image(astronaut), [face()])[0]
    one.crops([subject], "key")
    (some,) = calls[0]["faces"]
    assert len(some) == 1
    assert is_at(some[0], subject.region)
    assert not np.array_equal(calls[0]["swapped_images"][0], subject.pixels)


def is_at(one, region) -> bool:
    x, y = one.shape.five_xy.mean(0).round().astype(int)
    return bool(region[y, x])


def test_a_neighbour_is_swapped_too_and_not_in_the_place_of_the_face_of_the_crop(
    scenes_pipeline, astronaut, watched, monkeypatch
) -> None:
    """The detector sees another person, whose face is inside the region, and not the one it is
    made for.
    """
    calls = watched(scenes_pipeline)
    one = redrawer(scenes_pipeline, "sd15-light", scope="faces")
    subject = one.subjects(Picture.from_image(astronaut), [face()])[0]
    neighbour = face((24, 34, 38, 50))
    assert subject.region[42, 31]
    with_found(monkeypatch, scenes_pipeline, neighbour)
    one.crops([subject], "key")
    (some,) = calls[0]["faces"]
    boxes = [one.box_xyxy for one in some]
    assert neighbour.box_xyxy in boxes
    assert subject.faces[0].box_xyxy in boxes


def test_a_face_that_is_found_again_in_its_crop_is_swapped_once(
    scenes_pipeline, astronaut, watched, monkeypatch
) -> None:
    calls = watched(scenes_pipeline)
    one = redrawer(scenes_pipeline, "sd15-light", scope="faces")
    subject = one.subjects(Picture.from_image(astronaut), [face()])[0]
    with_found(monkeypatch, scenes_pipeline, subject.faces[0])
    one.crops([subject], "key")
    assert [one.box_xyxy for one in calls[0]["faces"][0]] == [subject.faces[0].box_xyxy]


def test_in_a_scene_those_are_swapped_whom_the_product_knows(
    scenes_pipeline, astronaut, watched, monkeypatch
) -> None:
    """Given regions and what a better detector saw; the pipeline's own sees nobody here."""
    calls = watched(scenes_pipeline)
    with_found(monkeypatch, scenes_pipeline)
    one = redrawer(scenes_pipeline, "sd15-light", scope="scene", scene_px=64)
    one.frame(astronaut, "name", "key", faces=[face()])
    (some,) = calls[0]["faces"]
    x0, y0, x1, y1 = some[0].box_xyxy
    scale = 64 / 512
    assert np.allclose([x0, y0, x1, y1], np.array(face().box_xyxy) * scale, atol=1)
    assert not np.array_equal(calls[0]["swapped_images"][0], calls[0]["image"][0])


def test_a_recipe_of_the_other_method_is_refused(crops_pipeline) -> None:
    with pytest.raises(SettingError, match="mini is a model of method light"):
        Anonymizer(Recipe.load("mini"), pipeline=crops_pipeline)
    with pytest.raises(SettingError, match="model of method base, and the recipe is of light"):
        Anonymizer(recipe(), pipeline=tiny_pipeline())


def test_a_pipeline_without_a_pool_is_refused_before_any_picture() -> None:
    with pytest.raises(SettingError, match="pool build"):
        Anonymizer(recipe(), pipeline=small_light())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scope": "scene"}, "use scope 'faces'"),
        ({"scope": "people"}, "use scope 'faces'"),
        ({"prompt": "a man"}, "no text encoder"),
        ({"negative_prompt": "a man"}, "no text encoder"),
    ],
)
def test_what_a_model_of_aligned_faces_cannot_do_is_refused(
    crops_pipeline, changes, message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        redrawer(crops_pipeline, **changes)


def test_a_negative_prompt_without_effect_is_refused(scenes_pipeline) -> None:
    with pytest.raises(SettingError, match="negative_prompt"):
        redrawer(scenes_pipeline, "sd15-light", negative_prompt="a", guidance_scale=1.0)


def test_a_scene_is_redrawn_whole(scenes_pipeline, astronaut, watched) -> None:
    calls = watched(scenes_pipeline)
    settings = recipe("sd15-light", scene_px=128, ladder=[RUNG] * 2, small_face_px=0)
    anonymizer = Anonymizer(settings, pipeline=scenes_pipeline)
    small = astronaut[:400]
    drawn = anonymizer.redrawer.frame(small, "name", "key")
    assert drawn.shape == small.shape
    assert (np.abs(drawn.astype(int) - small).max(2) > 4).mean() > 0.9
    view = calls[0]["image"][0]
    assert view.shape == (112, 144, 3)
    assert len(calls[0]["faces"][0]) == 1, "the astronaut's face was not found"
    assert not np.array_equal(calls[0]["swapped_images"][0], view)
    result = anonymizer(astronaut, seed=3)
    assert result.state == "refused", "random weights"
    assert result._pixels is None


def test_a_scene_without_anybody_is_redrawn_too(scenes_pipeline, watched) -> None:
    calls = watched(scenes_pipeline)
    pixels = skimage.data.coffee()[:200, :300]
    one = redrawer(scenes_pipeline, "sd15-light", scene_px=128)
    drawn = one.frame(pixels, "name", "key")
    assert calls[0]["faces"] == [[]]
    assert (np.abs(drawn.astype(int) - pixels).max(2) > 4).mean() > 0.9


def test_shown_frame_has_the_faces_of_the_first_attempt(scenes_pipeline, astronaut) -> None:
    one = redrawer(scenes_pipeline, "sd15-light", scene_px=128)
    view, swapped = one.shown_frame(astronaut)
    assert view.shape == swapped.shape == (128, 128, 3)
    assert not np.array_equal(view, swapped)


def test_bodies_are_redrawn_and_the_rest_stays(scenes_pipeline, astronaut, watched) -> None:
    """With the face that is in one swapped."""
    calls = watched(scenes_pipeline)
    mask = np.zeros((512, 512), bool)
    mask[20:500, 100:400] = True
    bodies = bodies_of([(100, 20, 400, 500)], mask, [])
    one = redrawer(scenes_pipeline, "sd15-light", scope="people", small_face_px=0)
    picture = Picture.from_image(astronaut)
    laid = ground.people(one, picture, [], bodies, key="key", attempt=0)
    assert np.array_equal(laid.pixels[~laid.changed], astronaut[~laid.changed])
    assert (np.abs(laid.pixels.astype(int) - astronaut).max(2) > 4)[100:400, 150:350].mean() > 0.8
    for call in calls:
        same = np.array_equal(call["swapped_images"][0], call["image"][0])
        assert same == (not call["faces"][0])
