"""What a recipe of CAMOUFLaGE-Base means for crops: the face that the noise is laid over."""

from __future__ import annotations

import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from camouflage.annotators.hair import hair_in
from camouflage.annotators.readout import Readout
from camouflage.annotators.skin import oval
from camouflage.anonymizer import Anonymizer
from camouflage.errors import WeightsError
from camouflage.picture import Picture
from camouflage.recipe import Recipe
from camouflage.redraw_base import AT_EDGE, BaseRedrawer
from camouflage.weights import mini_light_folder, readout_folder, weights_of, write_sums


@pytest.fixture(scope="module")
def anonymizer() -> Anonymizer:
    return Anonymizer.from_recipe("mini")


@pytest.fixture(scope="module")
def subject(anonymizer):
    picture = Picture.from_image(astronaut())
    return anonymizer.subjects(picture, anonymizer.detector.detect(picture.pixels))[0]


def test_the_start_is_the_crop_with_another_face_in_each_attempt(anonymizer, subject):
    redrawer = anonymizer.redrawer
    starts = [redrawer.starts([subject], "key", attempt)[0] for attempt in range(3)]
    again = redrawer.starts([subject], "key", 0)[0]
    assert np.array_equal(starts[0], again)
    face, outside = subject.region, ~subject.region
    for i, start in enumerate(starts):
        assert start.shape == subject.pixels.shape
        changed = np.abs(start.astype(int) - subject.pixels).mean(-1)
        assert changed[face].mean() > 10, "a face of somebody else"
        assert changed[outside].mean() < 3, "in the same surroundings"
        for other in starts[:i]:
            assert np.abs(start.astype(int) - other)[face].mean() > 3


def test_what_is_drawn_starts_from_the_starts(anonymizer, subject, monkeypatch):
    """Crop by crop, each with its own; the crops themselves are for maps and identity alone."""
    seen = []
    call = type(anonymizer.pipeline).__call__

    def watched(self, image, **settings):
        seen.append((image, settings["start_images"]))
        return call(self, image, **settings)

    monkeypatch.setattr(type(anonymizer.pipeline), "__call__", watched)
    other = replace(subject, name="another")
    anonymizer.redrawer.crops([subject, other], "key", 1)
    ((images, starts),) = seen
    expected = [anonymizer.redrawer.starts([one], "key", 1)[0] for one in (subject, other)]
    assert len(images) == len(starts) == 2
    assert all(np.array_equal(got, one) for got, one in zip(starts, expected, strict=True))
    assert not np.array_equal(starts[0], starts[1]), "each has a lot of its own"


def test_the_start_is_shown_between_the_crop_and_its_maps(anonymizer, subject):
    shown = anonymizer.redrawer.shown(subject, "key")
    assert len(shown) == 2 + len(anonymizer.redrawer.control_weights)
    assert np.array_equal(shown[0], subject.pixels)
    assert np.array_equal(shown[1], anonymizer.redrawer.starts([subject], "key")[0])


def test_without_a_pool_the_start_is_the_original(subject):
    paper = {"start_pool": None, "strength": 1.0}
    plain = Anonymizer.from_recipe(Recipe.load("mini").changed(paper))
    assert plain.redrawer.starts([subject], "key") is None
    assert len(plain.redrawer.shown(subject, "key")) == 1 + len(plain.redrawer.control_weights)


@pytest.fixture(scope="module")
def on_starts(anonymizer, subject):
    """By share and a_s: a crop whose model "drew" the person's mirror image, and the start."""
    drawn = cv2.GaussianBlur(subject.pixels, (0, 0), 1.0)[:, ::-1].copy()
    start = anonymizer.redrawer.starts([subject], "key")[0]
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseRedrawer, "_run", lambda *_, **__: [drawn])
        for share, scale in ((0.0, 2.0), (0.5, 2.0), (1.0, 2.0), (1.0, 0.0), (1.0, 0.5)):
            change = {"start_share": share, "anonymization_scale": scale}
            recipe = Recipe.load("mini").changed(change)
            redrawer = BaseRedrawer(recipe=recipe, pipeline=anonymizer.pipeline)
            made[share, scale] = redrawer._drawn([subject], "key", 0)[0]
    return drawn, start, made


def test_the_share_of_the_start_is_as_the_recipe_and_the_scale_say(on_starts):
    drawn, _, made = on_starts
    assert np.array_equal(made[0.0, 2.0], drawn)
    assert np.array_equal(made[1.0, 0.0], drawn), "a_s = 0 is the way back to the original"
    assert np.array_equal(made[1.0, 0.5], made[0.5, 2.0])
    assert not np.array_equal(made[1.0, 2.0], made[0.5, 2.0])


def test_the_finest_detail_is_that_of_the_start(subject, on_starts):
    """What is coarser is what the model drew, in its middle; in hair a start has no detail."""
    drawn, start, made = on_starts
    side = len(drawn)
    hair = hair_in(subject.pixels, subject.region, subject.points_xy).opacity
    bare = oval(subject.points_xy, side, 0.6) & (hair == 0)

    def parts(pixels):
        light = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)[..., 0].astype(float)
        return (cv2.GaussianBlur(light, (0, 0), 6.0), light - cv2.GaussianBlur(light, (0, 0), 0.8))

    whole = parts(made[1.0, 2.0])
    assert np.abs(whole[0] - parts(drawn)[0])[bare].mean() < 2
    assert np.abs(parts(start)[0] - parts(drawn)[0])[bare].mean() > 10
    amounts = (0.0, 0.5, 1.0)
    unlike = [np.abs(parts(made[x, 2.0])[1] - parts(start)[1])[bare].mean() for x in amounts]
    assert unlike[2] < 0.3 * unlike[0]
    assert unlike[2] < unlike[1] < unlike[0]


def test_the_colours_are_those_of_the_start(subject, on_starts):
    """Of any lightness: in the middle of the face, where the lightness is the model's."""
    drawn, start, made = on_starts
    bare = oval(subject.points_xy, len(drawn), 0.6)
    lab = [
        cv2.cvtColor(one.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[bare][:, 1:]
        for one in (drawn, start, made[1.0, 2.0])
    ]
    assert np.abs(lab[0] - lab[1]).mean() > 2
    assert np.abs(lab[2] - lab[1]).mean() < 0.5


def test_towards_the_edge_it_goes_over_into_the_start(subject, on_starts):
    """What pushes away from the original draws outlines there."""
    drawn, start, made = on_starts
    side = len(drawn)
    light = [
        cv2.cvtColor(one, cv2.COLOR_RGB2LAB)[..., 0].astype(float)
        for one in (drawn, start, made[1.0, 2.0])
    ]
    edge = ~oval(subject.points_xy, side, 1.25)
    assert np.abs(light[0] - light[1])[edge].mean() > 15
    expected = AT_EDGE * light[0] + (1 - AT_EDGE) * light[1]
    assert np.abs(light[2] - expected)[edge].mean() < 4


def test_without_a_pool_no_detail_is_the_originals(anonymizer, subject, monkeypatch):
    recipe = Recipe.load("mini").changed({"start_pool": None, "strength": 1.0})
    assert recipe.start_share == 1
    drawn = np.full_like(subject.pixels, 99)
    monkeypatch.setattr(BaseRedrawer, "_run", lambda *_, **__: [drawn])
    redrawer = BaseRedrawer(recipe=recipe, pipeline=anonymizer.pipeline)
    assert np.array_equal(redrawer._drawn([subject], "key", 0)[0], drawn)


def test_a_pool_of_ones_own_is_taken(anonymizer, subject, tmp_path):
    folder = shutil.copytree(mini_light_folder(), tmp_path / "ours")
    other = Anonymizer.from_recipe(Recipe.load("mini").changed({"start_pool": str(folder)}))
    ours, theirs = (a.redrawer.starts([subject], "key") for a in (anonymizer, other))
    assert np.array_equal(ours[0], theirs[0])
    assert weights_of("mini", start_pool=str(folder)) == weights_of("mini", start_pool="mini-light")


def test_what_the_start_is_made_of_is_in_what_a_manifest_says():
    plain, with_pool = weights_of("mini"), weights_of("mini", start_pool="mini-light")
    assert plain != with_pool
    assert len(with_pool) == 64


def test_what_chooses_from_the_pool_is_in_what_a_manifest_says(monkeypatch, tmp_path):
    before = [weights_of("mini", start_pool="mini-light"), weights_of("mini-light")]
    alone = weights_of("mini")
    folder = shutil.copytree(readout_folder(), tmp_path / "other")
    readout = Readout.load(folder)
    (folder / "SHA256SUMS").unlink()
    Readout(weights=readout.weights, bias=readout.bias + 1).save(folder)
    write_sums(folder)
    monkeypatch.setattr("camouflage.weights.folders.readout_folder", lambda: folder)
    after = [weights_of("mini", start_pool="mini-light"), weights_of("mini-light")]
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert weights_of("mini") == alone, "without a pool nobody reads it"


def test_a_missing_pool_is_said_before_anything_is_drawn(tmp_path):
    recipe = Recipe.load("mini").changed({"start_pool": str(tmp_path)})
    with pytest.raises(WeightsError, match="has no pool and no image_encoder and no attribute_net"):
        Anonymizer.from_recipe(recipe)


def test_what_the_start_does_not_read_is_not_in_the_hash(tmp_path):
    folder = shutil.copytree(mini_light_folder(), tmp_path / "ours")
    before = weights_of("mini", start_pool=str(folder))
    shutil.rmtree(folder / "adapter")
    (folder / "SHA256SUMS").unlink()
    assert weights_of("mini", start_pool=str(folder)) == before


def test_a_changed_pool_is_refused(tmp_path):
    folder = shutil.copytree(mini_light_folder(), tmp_path / "ours")
    weights = next((folder / "image_encoder").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(WeightsError, match="damaged"):
        Anonymizer.from_recipe(Recipe.load("mini").changed({"start_pool": str(folder)}))


@pytest.mark.parametrize("small", [False, True])
def test_the_contrast_of_what_is_drawn_is_the_originals_if_the_recipe_says_so(
    anonymizer, subject, small
):
    """A photograph in diffuse light: the same, with a tenth of its contrast; also of a face that is
    no larger than its crop."""

    def flat(pixels: np.ndarray) -> np.ndarray:
        return np.round(128 + 0.1 * (pixels.astype(float) - 128)).astype(np.uint8)

    finer = None if small else flat(subject.finer)
    hazy = replace(subject, pixels=flat(subject.pixels), finer=finer)
    off = Anonymizer.from_recipe(Recipe.load("mini").changed({"contrast_match": 0.0}))
    before, after = (a.redrawer.crops([hazy], "key")[0] for a in (off, anonymizer))
    inside = hazy.region_of(1 if small else 2)
    assert after[inside].std() < 0.7 * before[inside].std()
