"""Fitting what reads sex and age out of embeddings."""

import numpy as np
import pytest

from training.label_attributes import YOUNG_AGE, YOUNG_YEARS, sigmoid
from training.sex_and_age import CHILD, ages_of, fitted


def test_a_line_is_found_again() -> None:
    """Labels that a line made of embeddings of dlib's size, with noise."""
    random = np.random.default_rng(0)
    rows = random.normal(0, 0.09, (1500, 128))
    lines = random.normal(0, 1, (2, 128)) * [[30], [20]]
    ages = (rows @ lines[1] + 40 + random.normal(0, 2, len(rows))).clip(12)
    logits = rows @ lines[0] + 0.5
    male = (random.uniform(size=len(rows)) < 1 / (1 + np.exp(-logits))).astype(float)
    readout = fitted(rows[:1200], male[:1200], ages[:1200])
    said, years, child = readout(rows[1200:])
    assert ((said > 0.5) == (logits[1200:] > 0)).mean() > 0.9
    assert np.abs(years - ages[1200:]).mean() < 5
    young = ages[1200:] < CHILD
    assert child[young].mean() > child[~young].mean() + 0.4


def test_ages_are_those_the_labels_were_made_of() -> None:
    ages = np.array([15.0, 33, 40, 52, 64])
    young = np.array([sigmoid((YOUNG_AGE - age) / YOUNG_YEARS) for age in ages])
    assert ages_of(young) == pytest.approx(ages)


def test_beyond_what_the_labels_tell_ages_are_bounded() -> None:
    youngest, oldest = ages_of(np.array([1.0, 0.0]))
    assert 10 < youngest < 15
    assert 65 < oldest < 70
