"""One crop, many: moved, bent, in another light, by a worse camera."""

import numpy as np
import pytest

from camouflage.annotators.landmarks import MESH_INDICES, MIRROR
from training.augment import (
    bend,
    bent,
    bent_points,
    degraded,
    mirrored,
    no_jitter,
    random_jitter,
    relit,
    warp,
)
from training.prepare import MARGIN, SIDE

STORED = SIDE + 2 * MARGIN


def test_without_jitter_the_middle_is_cut():
    picture = np.random.default_rng(0).integers(0, 256, (STORED, STORED, 3), dtype=np.uint8)
    middle = picture[MARGIN:-MARGIN, MARGIN:-MARGIN]
    assert np.array_equal(warp(picture, no_jitter(), False), middle)
    assert np.array_equal(warp(picture, no_jitter(), True), middle[:, ::-1])


@pytest.mark.parametrize("flip", [False, True])
def test_points_move_with_their_pixels(flip):
    """A dot at a landmark is at the moved landmark."""
    for seed in range(5):
        matrix = random_jitter(np.random.default_rng(seed))
        points = np.full((len(MESH_INDICES), 2), 80.0) + np.arange(len(MESH_INDICES))[:, None] / 9
        row = 20
        x, y = np.round(points[row]).astype(int)
        picture = np.zeros((STORED, STORED, 3), np.uint8)
        picture[y - 1 : y + 2, x - 1 : x + 2] = 255
        moved = points @ matrix[:, :2].T + matrix[:, 2]
        if flip:
            moved, row = mirrored(moved), int(np.flatnonzero(MIRROR == 20)[0])
        weights = warp(picture, matrix, flip)[..., 0].astype(float)
        seen = np.array([(np.indices((SIDE, SIDE))[i] * weights).sum() for i in (1, 0)])
        assert np.allclose(seen / weights.sum(), moved[row], atol=0.7)  # rounding of the dot


def test_a_worse_camera_leaves_the_original_alone():
    picture = np.full((SIDE, SIDE, 3), 100, np.uint8)
    picture.flags.writeable = False
    results = [degraded(picture, np.random.default_rng(s)) for s in range(20)]
    assert all(r.dtype == np.uint8 and r.shape == picture.shape for r in results)
    assert sum(np.array_equal(r, picture) for r in results) == 0


def dot_at(x: int, y: int) -> np.ndarray:
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    picture[y - 1 : y + 2, x - 1 : x + 2] = 255
    return picture


def middle_of_light(picture: np.ndarray) -> np.ndarray:
    weights = picture[..., 0].astype(float)
    return np.array([(np.indices((SIDE, SIDE))[i] * weights).sum() for i in (1, 0)]) / weights.sum()


@pytest.mark.parametrize("seed", range(5))
def test_a_bend_moves_points_with_their_pixels(seed):
    field = bend(np.random.default_rng(seed), 3.0)
    for x, y in ((40, 50), (64, 64), (90, 100)):
        seen = middle_of_light(bent(dot_at(x, y), field))
        assert np.allclose(seen, bent_points(np.array([[x, y]], float), field)[0], atol=0.5)


def test_a_bend_is_alike_on_both_sides_and_as_large_as_said():
    fields = np.stack([bend(np.random.default_rng(s), 2.0) for s in range(60)])
    assert np.allclose(fields[:, :, ::-1] * [-1, 1], fields, atol=1e-4)
    # At the middles of the grid's cells the shifts are those that were drawn.
    assert 1.5 < fields[:, 11::21, 11::21].std() < 2.5
    assert fields[:, 64, 62:66, 1].std() > 1, "a nose moves too"


def test_no_bend_and_no_other_light_leave_a_crop_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    assert np.array_equal(bent(picture, bend(np.random.default_rng(0), 0.0)), picture)
    assert np.array_equal(relit(picture, np.random.default_rng(0), 0.0), picture)


def test_another_light_is_another_light_and_the_same_picture():
    picture = np.random.default_rng(0).integers(60, 200, (SIDE, SIDE, 3), dtype=np.uint8)
    picture.flags.writeable = False
    for seed in range(10):
        lit = relit(picture, np.random.default_rng(seed), 0.2)
        assert lit.dtype == np.uint8
        assert np.abs(lit.astype(int) - picture).mean() > 2
        assert np.corrcoef(lit.ravel(), picture.ravel())[0, 1] > 0.7
