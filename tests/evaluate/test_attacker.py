"""The retrained attacker learns what a fixed change does; a random one leaves it at chance."""

import numpy as np
import pytest

from camouflage.errors import SettingError
from camouflage.evaluate.attacker import classifier, retrained_hits

PEOPLE, PHOTOS, WIDTH = 10, 6, 16


@pytest.fixture(name="gallery")
def _gallery():
    rng = np.random.default_rng(0)
    names = np.repeat([f"p{i}" for i in range(PEOPLE)], PHOTOS)
    rows = rng.normal(size=(PEOPLE, WIDTH)).repeat(PHOTOS, 0)
    return rows + 0.2 * rng.normal(size=(len(names), WIDTH)), names


def probes_of(names):
    """Two a person."""
    return np.array([i for i in range(len(names)) if i % PHOTOS < 2])


def test_a_fixed_change_is_learned(gallery):
    rows, names = gallery
    chosen = probes_of(names)
    mirrored = -3 * rows[chosen][:, ::-1]  # one and the same change for everybody
    hits = retrained_hits(mirrored, names[chosen], chosen, rows, names)
    assert hits.mean() > 0.9


def test_random_faces_are_at_chance(gallery):
    rows, names = gallery
    chosen = probes_of(names)
    rng = np.random.default_rng(5)
    rates = [
        retrained_hits(rng.normal(size=(len(chosen), WIDTH)), names[chosen], chosen, rows, names)
        for _ in range(5)
    ]
    assert np.mean(rates) < 0.25


def test_a_person_with_one_result_cannot_be_tried(gallery):
    rows, names = gallery
    chosen = np.arange(0, len(names), PHOTOS)
    assert np.isnan(retrained_hits(rows[chosen], names[chosen], chosen, rows, names)).all()


def test_a_missing_result_is_not_tried_and_spoils_nothing(gallery):
    rows, names = gallery
    chosen = probes_of(names)
    results = rows[chosen].copy()
    results[0] = np.nan
    hits = retrained_hits(results, names[chosen], chosen, rows, names)
    assert np.isnan(hits[:2]).all(), "the other one of that person cannot be learned from"
    assert hits[2:].mean() == 1


def test_the_source_is_not_learned_from(gallery):
    """Each result equals its source, and all else of a person is noise: knowing it would tell."""
    rows, names = gallery
    rng = np.random.default_rng(1)
    noise = rng.normal(size=rows.shape)
    chosen = probes_of(names)
    hits = retrained_hits(noise[chosen], names[chosen], chosen, noise, names)
    assert hits.mean() < 0.4


def test_the_classifier_is_deterministic_and_wants_finite_rows(gallery):
    rows, names = gallery
    assert np.array_equal(classifier(rows, names)[0], classifier(rows, names)[0])
    with pytest.raises(SettingError):
        classifier(np.full((2, 3), np.nan), ["a", "b"])
