"""Which face of the pool the noise is laid over."""

import pickle

import numpy as np
import pytest
import torch

from camouflage.annotators.landmarks import MIRROR, face_region
from camouflage.attempts import Subject
from camouflage.errors import SettingError
from camouflage.pipelines.starts import ALIKE, CANDIDATES, THRESHOLD, Starts
from camouflage.subjects.crops import align, template
from camouflage.swap.swap import looks_left

SIDE = 128


@pytest.fixture(scope="module")
def starts() -> Starts:
    return Starts.load("mini-light")


@pytest.fixture(scope="module")
def points(starts) -> np.ndarray:
    return starts.pool.points_xy[7].astype(np.float64)


def drawn(starts, points, *, attempt=0, seed=0) -> np.ndarray:
    """Made of a face of the pool itself, so that a person is near who is too near."""
    pixels = starts.pool.face(7).pixels
    subject = Subject(
        name="face",
        crop=align(template(SIDE), side=SIDE),
        pixels=pixels,
        region=face_region(points, SIDE),
        points_xy=points,
    )
    generator = torch.Generator().manual_seed(seed)
    return starts.start(subject, points, attempt=attempt, generator=generator)


def test_who_is_too_like_is_not_taken(starts):
    embedding = starts.pool.embeddings[7]
    alike = starts._alike(embedding)
    assert len(alike) == ALIKE
    distances = np.linalg.norm(starts.pool.embeddings[alike] - embedding, axis=1)
    assert distances.min() > THRESHOLD - 1e-3
    assert (np.diff(distances) > -1e-3).all(), "the nearest first"


def test_where_nobody_is_different_enough_the_farthest_are_taken(starts, monkeypatch):
    monkeypatch.setattr("camouflage.pipelines.starts.THRESHOLD", 2.0)
    embedding = starts.pool.embeddings[7]
    distances = np.linalg.norm(starts.pool.embeddings - embedding, axis=1)
    assert set(starts._alike(embedding)) == set(np.argsort(distances)[-ALIKE:])


def test_few_who_are_different_are_not_the_only_ones(starts, monkeypatch):
    """Or the lot would have nothing to decide."""
    embedding = starts.pool.embeddings[7]
    distances = np.sort(np.linalg.norm(starts.pool.embeddings - embedding, axis=1))
    monkeypatch.setattr("camouflage.pipelines.starts.THRESHOLD", distances[-CANDIDATES + 1] - 1e-4)
    assert len(starts._alike(embedding)) == ALIKE


def test_a_pool_of_too_few_is_refused(starts, tmp_path, monkeypatch):
    monkeypatch.setattr("camouflage.pipelines.starts.CANDIDATES", len(starts.pool) + 1)
    with pytest.raises(SettingError, match=r"start_pool: expected at least 321 faces.*got 320"):
        Starts.load("mini-light")


def test_another_process_can_have_it(starts, points):
    other = pickle.loads(pickle.dumps(starts))
    assert np.array_equal(drawn(other, points), drawn(starts, points))


def test_shapes_are_compared_whatever_their_place_size_turn_and_side(starts, points):
    assert starts._differences(points)[7] == pytest.approx(0, abs=1e-6)
    angle = np.deg2rad(25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mirrored = points[MIRROR] * [-1, 1] + [SIDE - 1, 0]
    for other in (1.7 * points + [30, -8], mirrored):
        assert np.allclose(starts._differences(other), starts._differences(points), atol=1e-6)
    assert starts._differences(points @ turn.T)[7] < 1e-6 or looks_left(points) != looks_left(
        points @ turn.T
    )


def test_the_lot_decides_and_another_attempt_has_other_faces(starts, points):
    first = {drawn(starts, points, seed=seed).tobytes() for seed in range(30)}
    second = {drawn(starts, points, seed=seed, attempt=1).tobytes() for seed in range(30)}
    assert 3 <= len(first) <= CANDIDATES
    assert 3 <= len(second) <= CANDIDATES
    assert not first & second
    assert drawn(starts, points, seed=3).tobytes() in first


def test_candidates_come_again_after_the_last(starts, points):
    rounds = ALIKE // CANDIDATES
    assert np.array_equal(drawn(starts, points, attempt=rounds), drawn(starts, points))
