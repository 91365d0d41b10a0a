"""What a recipe of CAMOUFLaGE-Base means for crops: the face that the noise is laid over."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from skimage.data import astronaut

from camouflage.anonymizer import Anonymizer
from camouflage.errors import WeightsError
from camouflage.picture import Picture
from camouflage.recipe import Recipe
from camouflage.weights import mini_light_folder, weights_of


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


def test_the_contrast_of_what_is_drawn_is_the_originals_if_the_recipe_says_so(anonymizer, subject):
    """A photograph in diffuse light: the same, with a tenth of its contrast."""

    def flat(pixels: np.ndarray) -> np.ndarray:
        return np.round(128 + 0.1 * (pixels.astype(float) - 128)).astype(np.uint8)

    hazy = replace(subject, pixels=flat(subject.pixels), finer=flat(subject.finer))
    off = Anonymizer.from_recipe(Recipe.load("mini").changed({"contrast_match": 0.0}))
    before, after = (a.redrawer.crops([hazy], "key")[0] for a in (off, anonymizer))
    inside = hazy.region_of(2)
    assert after[inside].std() < 0.7 * before[inside].std()
