"""Faces that are larger than their crop get its detail at twice the side."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from camouflage.anonymizer import Anonymizer
from camouflage.compose import compose
from camouflage.compose.upscaling import Upscaler
from camouflage.errors import NonFiniteResult, OutOfMemory, SettingError, WeightsError
from camouflage.mini.upscaling import SmallUpscaler
from camouflage.picture import Picture
from camouflage.recipe import Recipe
from camouflage.redraw_base import BaseRedrawer
from camouflage.weights import upscaler_folder, weights_of, write_sums


@pytest.fixture(scope="module")
def anonymizer() -> Anonymizer:
    return Anonymizer.from_recipe("mini")


def subject_at(anonymizer: Anonymizer, scale: float):
    """The astronaut's face in her portrait, scaled."""
    image = Image.fromarray(astronaut())
    size = round(512 * scale)
    picture = Picture.from_image(image.resize((size, size), Image.Resampling.LANCZOS))
    faces = anonymizer.detector.detect(picture.pixels)[:1]
    return picture, anonymizer.redrawer.subjects(picture, faces)[0]


def detail(pixels: np.ndarray, where: np.ndarray) -> float:
    steps = np.abs(np.diff(pixels.astype(float), axis=1)).mean(-1)
    return float(steps[where[:, 1:]].mean())


def test_a_large_face_is_finer_than_its_crop_and_a_small_one_is_not(anonymizer):
    _, large = subject_at(anonymizer, 2.0)
    _, small = subject_at(anonymizer, 0.5)
    assert large.finer is not None
    assert large.finer.shape == (256, 256, 3)
    assert small.finer is None
    (drawn,) = anonymizer.redrawer.crops([small], "key")
    assert drawn.shape == (128, 128, 3)


def test_a_large_face_is_pasted_with_more_detail(anonymizer):
    picture, subject = subject_at(anonymizer, 2.0)
    redrawer = anonymizer.redrawer
    (fine,) = redrawer.crops([subject], "key")
    (coarse,) = redrawer.crops([replace(subject, finer=None)], "key")
    assert fine.shape == (256, 256, 3)
    assert coarse.shape == (128, 128, 3)
    with_detail, changed = compose(picture.pixels, [subject.patch(fine)])
    without, also_changed = compose(picture.pixels, [subject.patch(coarse)])
    where = changed & also_changed
    assert detail(with_detail, where) > 1.05 * detail(without, where)
    apart = np.abs(with_detail.astype(int) - without)[where].mean()
    assert apart < 8, "the same face at the same place"
    outside = ~(changed | also_changed)
    assert np.array_equal(with_detail[outside], picture.pixels[outside])
    assert (changed ^ also_changed).mean() < 0.002, "as much is changed as without"


def test_it_sees_what_was_drawn_and_nothing_else(anonymizer):
    """The crop of the original gives one number a band of contrast, if that is asked for."""
    recipe = Recipe.load("mini").changed({"contrast_match": 0.0})
    plain = Anonymizer.from_recipe(recipe).redrawer
    _, subject = subject_at(anonymizer, 2.0)
    drawn = np.full((128, 128, 3), 120, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, subject.finer.shape).astype(np.uint8)
    other = replace(subject, finer=noise)
    assert np.array_equal(plain._finished(subject, drawn), plain._finished(other, drawn))


def test_several_crops_are_each_their_own():
    upscaler = Upscaler.load("mini", side=128)
    crops = [
        np.random.default_rng(i).integers(0, 256, (128, 128, 3)).astype(np.uint8) for i in (0, 1)
    ]
    both = upscaler(crops)
    assert upscaler([]) == []
    for crop, got in zip(crops, both, strict=True):
        alone = upscaler([crop])[0]
        assert np.abs(alone.astype(int) - got).max() <= 1


def test_a_folder_of_ones_own_is_taken_and_a_damaged_one_is_not(tmp_path):
    net = SmallUpscaler()
    net.save_pretrained(tmp_path / "own")
    write_sums(tmp_path / "own")
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    (made,) = Upscaler.load(str(tmp_path / "own"), side=128)([pixels])
    plain = torch.nn.functional.interpolate(
        torch.from_numpy(pixels).permute(2, 0, 1)[None].float(), scale_factor=2, mode="bicubic"
    )
    assert np.abs(made - plain[0].permute(1, 2, 0).numpy().clip(0, 255)).max() <= 1
    weights = tmp_path / "own" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"oops")
    with pytest.raises(WeightsError, match="diffusion_pytorch_model"):
        Upscaler.load(str(tmp_path / "own"), side=128)
    with pytest.raises(WeightsError, match="expected mini or the folder"):
        upscaler_folder(str(tmp_path / "nowhere"))


def test_values_that_are_no_colours_are_refused():
    net = SmallUpscaler()
    torch.nn.init.constant_(net.difference.bias, float("nan"))
    with pytest.raises(NonFiniteResult, match="set upscaler to null"):
        Upscaler(net=net)([np.zeros((128, 128, 3), np.uint8)])


def test_one_for_crops_of_another_side_is_refused():
    recipe = Recipe.load("mini").changed({"model": "tiny", "start_pool": None})
    with pytest.raises(SettingError, match="is for crops of 128 px, and the model draws 64 px"):
        Anonymizer.from_recipe(recipe)


def test_when_the_upscaler_has_no_memory_nothing_is_drawn_again(anonymizer, monkeypatch):
    """Half a batch would not help it: it takes one crop at a time."""
    _, subject = subject_at(anonymizer, 2.0)
    drawn = []

    def draw(self, batch, key, attempt):
        drawn.append(len(batch))
        return [one.pixels for one in batch]

    def fails(self, crops):
        raise MemoryError

    monkeypatch.setattr(BaseRedrawer, "_drawn", draw)
    monkeypatch.setattr(Upscaler, "__call__", fails)
    with pytest.raises(OutOfMemory):
        anonymizer.redrawer.crops([subject] * 3, "key")
    assert drawn == [3]


def test_the_manifests_weights_tell_upscalers_apart(tmp_path):
    SmallUpscaler(channels=(8, 8, 8)).save_pretrained(tmp_path)
    hashes = {
        weights_of("mini"),
        weights_of("mini", upscaler="mini"),
        weights_of("mini", upscaler=str(tmp_path)),
        weights_of("mini", start_pool="mini-light", upscaler="mini"),
    }
    assert len(hashes) == 4


def test_a_model_of_scenes_has_no_use_for_one():
    scenes = SimpleNamespace(config={"annotators": "scene"})
    recipe = Recipe.load("sd15").changed({"upscaler": "mini"})
    with pytest.raises(SettingError, match="upscaler 'mini' is for aligned faces"):
        BaseRedrawer(recipe=recipe, pipeline=scenes)
