"""Sex, age and looks, read out of the recogniser's embedding."""

import shutil

import numpy as np
import pytest
import skimage.data

from camouflage import Anonymizer
from camouflage.annotators.readout import FILE, Readout
from camouflage.errors import SettingError, WeightsError
from camouflage.picture import Picture
from camouflage.weights import readout_folder


def test_a_woman_of_some_forty_years_is_read_as_one() -> None:
    """The portrait of Eileen Collins, which nothing was fitted on."""
    anonymizer = Anonymizer.from_recipe("mini")
    picture = Picture.from_image(skimage.data.astronaut())
    subject = anonymizer.subjects(picture, anonymizer.detector.detect(picture.pixels)[:1])[0]
    guess = Readout.load()(subject.embedding[None])
    assert guess.male[0] < 0.3
    assert 30 < guess.age[0] < 50
    assert guess.child[0] < 0.1
    assert guess.skin[0] < 1.6
    assert guess.east_asian[0] < 0.3
    assert guess.beard[0] < 0.3


def test_it_is_a_line() -> None:
    rows = np.random.default_rng(0).normal(0, 0.1, (3, 128))
    weights = np.random.default_rng(1).normal(0, 1, (6, 128)).astype(np.float32)
    made = Readout(weights=weights, bias=np.float32([0.5, 40, 0.5, 2, 0.5, 0.5]))
    male, ages, child, skin, asian, beard = made(rows)
    for one, line in ((male, 0), (child, 2), (asian, 4), (beard, 5)):
        assert np.allclose(np.log(one / (1 - one)), rows @ weights[line] + 0.5, atol=1e-4)
    assert np.allclose(ages, rows @ weights[1] + 40, atol=1e-4)
    assert np.allclose(skin, (rows @ weights[3] + 2).clip(1, 3), atol=1e-4)


def test_who_has_no_embedding_has_no_answer() -> None:
    assert all(np.isnan(one).all() for one in Readout.load()(np.full((1, 128), np.nan)))


def test_bad_shapes_are_refused() -> None:
    with pytest.raises(SettingError, match=r"expected embeddings \(N, 128\), got \(128,\)"):
        Readout.load()(np.zeros(128))
    with pytest.raises(SettingError, match="expected weights"):
        Readout(weights=np.zeros((1, 128), np.float32), bias=np.zeros(6, np.float32))
    with pytest.raises(SettingError, match="finite"):
        Readout(weights=np.full((6, 128), np.nan, np.float32), bias=np.zeros(6, np.float32))


def test_it_comes_back_as_it_was_saved_and_not_otherwise(tmp_path) -> None:
    lines = np.random.default_rng(0).normal(size=(6, 129)).astype(np.float32)
    made = Readout(weights=lines[:, :-1], bias=lines[:, -1])
    made.save(tmp_path / "made")
    kept = Readout.load(tmp_path / "made")
    assert np.array_equal(kept.weights, made.weights)
    assert np.array_equal(kept.bias, made.bias)
    with pytest.raises(WeightsError, match="expected readout"):
        Readout.load(tmp_path)
    folder = shutil.copytree(readout_folder(), tmp_path / "ours")
    made.save(folder)
    with pytest.raises(WeightsError, match=FILE):
        Readout.load(folder)
    (folder / "SHA256SUMS").unlink()
    (folder / FILE).write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="expected readout"):
        Readout.load(folder)
