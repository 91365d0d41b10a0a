"""Fitting what reads sex, age and skin out of embeddings."""

import functools

import numpy as np
import pytest

from training.label_attributes import YOUNG_AGE, YOUNG_YEARS, sigmoid
from training.readout import LOOKS, ages_of, by_folds, fitted, linear, read_judged


def test_a_line_is_found_again() -> None:
    """Labels that a line made of embeddings of dlib's size, with noise."""
    random = np.random.default_rng(0)
    rows = random.normal(0, 0.09, (1500, 128))
    lines = random.normal(0, 1, (3, 128)) * [[30], [20], [0.5]]
    ages = (rows @ lines[1] + 40 + random.normal(0, 2, len(rows))).clip(12)
    logits = rows @ lines[0] + 0.5
    male = (random.uniform(size=len(rows)) < 1 / (1 + np.exp(-logits))).astype(float)
    skins = (rows @ lines[2] + 2 + random.normal(0, 0.1, len(rows))).clip(1, 3)
    asian = (rows[:, 0] > 0.1).astype(float)
    known = np.stack([(ages < 20).astype(float), skins, asian, 1 - asian], 1)
    known[random.uniform(size=known.shape) < 0.5] = np.nan
    readout = fitted(rows[:1200], male[:1200], ages[:1200], known[:1200])
    said, years, child, skin, east_asian, beard = readout(rows[1200:])
    assert ((said > 0.5) == (logits[1200:] > 0)).mean() > 0.9
    assert np.abs(years - ages[1200:]).mean() < 5
    young = ages[1200:] < 20
    assert child[young].mean() > child[~young].mean() + 0.3
    assert np.corrcoef(skin, skins[1200:])[0, 1] > 0.8
    assert np.corrcoef(east_asian, asian[1200:])[0, 1] > 0.4
    assert np.corrcoef(beard, east_asian)[0, 1] < -0.5


def test_folds_are_counted_by_what_they_did_not_teach() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(0, 0.09, (200, 128))
    noise = random.normal(size=200)
    plain = functools.partial(linear, ridge=1e-6)
    assert np.corrcoef(by_folds(rows, noise, plain), noise)[0, 1] < 0.3
    line = rows @ random.normal(0, 5, 128)
    assert np.corrcoef(by_folds(rows, line, plain), line)[0, 1] > 0.9


def test_what_an_eye_judged_is_read() -> None:
    children, skins, *others = np.array(list(read_judged().values())).T
    assert np.isfinite(skins).sum() > 400
    assert np.isfinite(children).sum() > 1000
    assert set(skins[np.isfinite(skins)]) == {1.0, 2.0, 3.0}
    assert all(set(one[np.isfinite(one)]) == {0.0, 1.0} for one in (children, *others))
    assert len(LOOKS) == 2 + len(others)


def test_ages_are_those_the_labels_were_made_of() -> None:
    ages = np.array([15.0, 33, 40, 52, 64])
    young = np.array([sigmoid((YOUNG_AGE - age) / YOUNG_YEARS) for age in ages])
    assert ages_of(young) == pytest.approx(ages)


def test_beyond_what_the_labels_tell_ages_are_bounded() -> None:
    youngest, oldest = ages_of(np.array([1.0, 0.0]))
    assert 10 < youngest < 15
    assert 65 < oldest < 70
