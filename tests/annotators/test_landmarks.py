"""The points of a face, their contours and the region they span."""

import hashlib

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from camouflage.annotators.landmarks import (
    CONTOURS,
    MESH_INDICES,
    MIRROR,
    LandmarkNet,
    draw_contours,
    face_region,
    jittered,
    predict_landmarks,
)
from camouflage.errors import NonFiniteResult, SettingError
from camouflage.subjects.crops import EYE_DISTANCE, template

N_POINTS = len(MESH_INDICES)


def small_net(seed: int = 0) -> LandmarkNet:
    torch.manual_seed(seed)
    return LandmarkNet(channels=(8, 8, 8), features=8).eval()


def holds(region: np.ndarray, points_xy: np.ndarray) -> bool:
    x, y = np.round(points_xy).astype(int).T
    return bool(region[y, x].all())


def middle_of_a_face(side: int) -> np.ndarray:
    """(side, side) bool, the hull of brows, eyes, nose and mouth of a frontal face."""
    eye = EYE_DISTANCE * side
    right_eye, left_eye, _, right_mouth, left_mouth = template(side)
    hull = [
        right_eye + np.array([-0.2 * eye, 0]),
        right_eye + np.array([0, -0.3 * eye]),
        left_eye + np.array([0, -0.3 * eye]),
        left_eye + np.array([0.2 * eye, 0]),
        left_mouth + np.array([0, 0.2 * eye]),
        right_mouth + np.array([0, 0.2 * eye]),
    ]
    mask = np.zeros((side, side), np.uint8)
    cv2.fillConvexPoly(mask, np.round(hull).astype(np.int32), (1,))
    return mask.astype(bool)


def test_the_order_that_the_trained_network_learned():
    """Weights know these rows by their place: another order needs another training."""
    digest = hashlib.sha256(",".join(map(str, MESH_INDICES)).encode()).hexdigest()
    assert N_POINTS == 147
    assert digest.startswith("8fcbb56ae1f53974")


def test_contours_are_all_rows_once_and_indices_are_of_the_mesh():
    rows = np.concatenate([np.arange(s.start, s.stop) for s in CONTOURS.values()])
    assert np.array_equal(rows, np.arange(N_POINTS))
    assert MESH_INDICES.min() >= 0
    assert MESH_INDICES.max() < 478
    for name, contour in CONTOURS.items():
        assert len(set(MESH_INDICES[contour])) == contour.stop - contour.start, name


def test_mirroring_twice_changes_nothing():
    assert np.array_equal(MIRROR[MIRROR], np.arange(N_POINTS))


def test_mirroring_keeps_the_middle_and_swaps_the_sides():
    mesh = list(MESH_INDICES)
    for index in (10, 152, 0, 17, 13, 14, 168, 4, 2):  # on the middle line of the mesh
        rows = {row for row, i in enumerate(mesh) if i == index}
        assert {int(MIRROR[row]) for row in rows} == rows
    for right, left in (
        (33, 263),
        (133, 362),
        (61, 291),
        (78, 308),
        (234, 454),
        (129, 358),
        (468, 473),
    ):
        assert MIRROR[mesh.index(right)] == mesh.index(left)


def test_a_symmetric_face_is_its_own_mirror_image(face_points):
    points = face_points(128)
    mirrored = (points * [-1, 1] + [127, 0])[MIRROR]
    assert np.allclose(mirrored, points)


@given(seed=st.integers(0, 2**32 - 1), reach=st.sampled_from([1.0, 3.0, 1e3, 1e9, 1e300]))
def test_the_middle_of_the_face_is_covered_whatever_the_points_say(seed, reach):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-reach, reach, (N_POINTS, 2)) * 64
    assert face_region(points, 128)[middle_of_a_face(128)].all()


@pytest.mark.parametrize("side", [32, 64, 128, 256, 512])
def test_a_region_holds_its_face_at_every_size(face_points, side):
    points = face_points(side)
    region = face_region(points, side)
    assert region.dtype == np.bool_
    assert region.shape == (side, side)
    assert holds(region, points)
    assert region[middle_of_a_face(side)].all()
    assert not region[0].any(), "the rim of the crop shows the model what to join"
    assert region.mean() < 0.6


def test_a_region_is_the_same_at_another_resolution(face_points):
    coarse = face_region(face_points(128), 128).repeat(4, 0).repeat(4, 1)
    fine = face_region(face_points(512), 512)
    assert (coarse & fine).sum() / (coarse | fine).sum() > 0.96


def test_a_wider_face_has_a_wider_region(face_points):
    points = face_points(128)
    middle = points[CONTOURS["oval"]].mean(0)
    wider = middle + (points - middle) * 1.3
    assert holds(face_region(wider, 128), np.clip(wider, 0, 127))


def test_the_mirrored_face_has_the_mirrored_region(face_points):
    points = face_points(128) + np.array([5, 3])
    mirrored = (points * [-1, 1] + [127, 0])[MIRROR]
    ours, other = face_region(points, 128)[:, ::-1], face_region(mirrored, 128)
    assert (ours & other).sum() / (ours | other).sum() > 0.97


@pytest.mark.parametrize("side", [64, 128, 256])
def test_contours_are_drawn_where_the_points_are(face_points, side):
    points = face_points(side)
    points.flags.writeable = False
    canvas = draw_contours(points, side)
    assert canvas.shape == (side, side, 3)
    assert canvas.dtype == np.uint8
    irises = np.round(points[[CONTOURS["right_iris"].start, CONTOURS["left_iris"].start]]).astype(
        int
    )
    assert (canvas[irises[:, 1], irises[:, 0]] == 255).all()
    drawn = canvas.any(-1)
    x, y = np.round(points).astype(int).T
    assert drawn[y, x].mean() > 0.95
    assert drawn.mean() < 0.25


def test_no_two_neighbouring_parts_have_one_colour(face_points):
    side = 512
    canvas, points = draw_contours(face_points(side), side), face_points(side)
    shown = {}
    for name in ("oval", "lips", "mouth", "right_eye", "left_eye", "right_brow", "left_brow"):
        x, y = np.round(points[CONTOURS[name]]).astype(int).T
        values, counts = np.unique(canvas[y, x], axis=0, return_counts=True)
        shown[name] = tuple(values[counts.argmax()])
    assert len(set(shown.values())) == len(shown)


@pytest.mark.parametrize("far", [1e3, 1e12, -1e300])
def test_points_far_away_are_drawn_without_harm(far):
    assert draw_contours(np.full((N_POINTS, 2), far), 128).shape == (128, 128, 3)


def test_a_network_that_knows_nothing_says_its_mean(face_points, texture):
    net = small_net()
    torch.nn.init.zeros_(net.head[-1].weight)
    torch.nn.init.zeros_(net.head[-1].bias)
    net.mean_xy.copy_(torch.from_numpy((face_points(128) + 0.5) / 128))
    for side in (96, 128, 256):
        found = predict_landmarks(net, [texture(side)])
        assert np.allclose(found[0], face_points(side), atol=1e-4)  # float32 of a network


def test_landmarks_of_a_crop_do_not_depend_on_its_neighbours(texture):
    net, crops = small_net(), [texture(128, seed) for seed in range(3)]
    before = [crop.copy() for crop in crops]
    together = predict_landmarks(net, crops)
    assert together.shape == (3, N_POINTS, 2)
    assert together.dtype == np.float64
    for crop, points in zip(crops, together, strict=True):
        assert np.allclose(predict_landmarks(net, [crop])[0], points, atol=1e-3)
    assert not np.allclose(together[0], together[1], atol=1e-3)
    assert all(np.array_equal(a, b) for a, b in zip(crops, before, strict=True))


def test_no_crops_have_no_landmarks():
    assert predict_landmarks(small_net(), []).shape == (0, N_POINTS, 2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_network_is_an_error_and_no_region(texture, bad):
    net = small_net()
    torch.nn.init.constant_(net.head[-1].bias, bad)
    with pytest.raises(NonFiniteResult):
        predict_landmarks(net, [texture(128)])


@pytest.mark.parametrize("function", [face_region, draw_contours])
def test_points_that_are_no_numbers_are_refused(face_points, function):
    points = face_points(128)
    points[3, 1] = np.nan
    with pytest.raises(SettingError):
        function(points, 128)
    with pytest.raises(SettingError):
        function(face_points(128)[:-1], 128)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_jitter_moves_features_and_leaves_the_oval(face_points):
    points, oval = face_points(128), np.zeros(N_POINTS, bool)
    oval[CONTOURS["oval"]] = True
    shifts = np.stack(
        [jittered(points, 128, spread=0.05, generator=generator(s)) - points for s in range(200)]
    )
    # The oval itself is kept bit for bit.
    assert np.array_equal(shifts[:, oval], np.zeros_like(shifts[:, oval]))
    spread = shifts[:, CONTOURS["lips"]].std() / (EYE_DISTANCE * 128)
    assert 0.03 < spread < 0.055, "features far from the oval move by the spread, others by less"
    assert abs(shifts.mean()) < 0.3, "px: no direction is preferred"


def test_jitter_is_smooth_so_that_an_expression_stays(face_points):
    points = face_points(128)
    mouth = CONTOURS["mouth"]
    opened = [jittered(points, 128, spread=0.05, generator=generator(s))[mouth] for s in range(100)]
    along = np.linalg.norm(np.diff(points[mouth], axis=0), axis=1)
    change = [np.abs(np.linalg.norm(np.diff(o, axis=0), axis=1) - along).mean() for o in opened]
    moved = [np.linalg.norm(o - points[mouth], axis=1).mean() for o in opened]
    assert np.mean(change) < 0.35 * np.mean(moved)


def test_jitter_is_alike_on_both_sides_of_an_upright_face(face_points):
    """Faces are even; a crooked one is seen to be made."""
    points = face_points(128)
    even = (points + points[MIRROR] * [-1, 1] + [127, 0]) / 2
    for seed in range(5):
        moved = jittered(even, 128, spread=0.05, generator=generator(seed))
        assert np.allclose(moved, moved[MIRROR] * [-1, 1] + [127, 0], atol=0.01)
        assert np.abs(moved - even).max() > 0.5


def test_jitter_follows_its_generator(face_points):
    points = face_points(128)
    one, same, other = (
        jittered(points, 128, spread=0.05, generator=generator(s)) for s in (1, 1, 2)
    )
    assert np.array_equal(one, same)
    assert not np.allclose(one, other)
    assert jittered(points, 128, spread=0, generator=generator(1)) is points
