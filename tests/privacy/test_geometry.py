"""Whatever box and points come in, all that must be redrawn is redrawn, and nothing far from it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from camouflage.attempts import Subject
from camouflage.audit.kept import Kept
from camouflage.compose import compose
from camouflage.errors import SettingError
from camouflage.subjects.cover import MARGIN, aligned_crop, covered, crop_of, ellipse
from camouflage.subjects.crops import AlignedCrop, align, template
from camouflage.subjects.faces import Face
from camouflage.subjects.given import GivenFace, GivenRegion, average_points, given_faces

SIDE = 128
Box = tuple[int, int, int, int]


@st.composite
def scenes(draw) -> tuple[tuple[int, int], Box]:
    """A picture's size (H, W) and a box in it: of a pixel, of all, at the rim, long and thin."""
    height, width = draw(st.integers(1, 400)), draw(st.integers(1, 400))
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    x1, y1 = draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))
    return (height, width), (x0, y0, x1, y1)


@st.composite
def points_at(draw, box: Box) -> NDArray[np.float64]:
    """As the box would have them, but turned, scaled, shifted and scattered, to nonsense too."""
    size = np.array([box[2] - box[0], box[3] - box[1]])
    middle = np.array(box[:2]) + size / 2
    angle, zoom = draw(st.floats(-np.pi, np.pi)), 10 ** draw(st.floats(-1, 1))
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = np.array(draw(st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)))) * size
    scatter = np.array(draw(st.lists(st.floats(-0.3, 0.3), min_size=10, max_size=10)))
    points = average_points(box) + scatter.reshape(5, 2) * size
    return (points - middle) @ turn.T + middle + shift


def crop_for(face: Face) -> AlignedCrop:
    try:
        return crop_of(face, side=SIDE)
    except SettingError:  # five points that are one, or a mirror image
        assume(False)
        raise


def pasted(
    face: Face, size_hw: tuple[int, int], *, fine: int = 1
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A white face in a black picture, where it must be at the least; the light is left alone.
    ``fine``: by how much its crop is finer than what the model draws, as an upscaler makes it.
    """
    crop = crop_for(face)
    subject = Subject(
        name="face",
        crop=crop,
        pixels=np.zeros((SIDE, SIDE, 3), np.uint8),
        region=covered(face, crop),
        points_xy=None,
    )
    patch = subject.patch(np.full((fine * SIDE, fine * SIDE, 3), 255, np.uint8))
    picture = np.zeros((*size_hw, 3), np.uint8)
    with pytest.MonkeyPatch.context() as light:
        light.setattr("camouflage.compose.paste.match_surroundings", lambda new, *_, **__: new)
        result, changed = compose(picture, [patch])
    assert not picture.any()
    assert not result[~changed].any(), "changed beyond its own mask"
    return result, changed


def shown(shape: NDArray[np.bool_], box: Box, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """A shape of a box's size in its picture."""
    mask = np.zeros(size_hw, bool)
    mask[box[1] : box[3], box[0] : box[2]] = shape
    return mask


@pytest.mark.parametrize("fine", [1, 2])
@settings(max_examples=200)
@given(scene=scenes(), data=st.data())
def test_all_of_a_given_box_is_opaque_whatever_its_points_say(scene, data, fine):
    size_hw, box = scene
    points = data.draw(st.one_of(st.just(average_points(box)), points_at(box)))
    face = GivenFace(box_xyxy=box, points_xy=points, score=1.0)
    result, changed = pasted(face, size_hw, fine=fine)
    inside = shown(ellipse(box), box, size_hw)
    assert changed[inside].all()
    assert (result[inside] == 255).all(), "the original shows through"


@pytest.mark.parametrize("fine", [1, 2])
@given(scene=scenes(), data=st.data())
def test_all_of_a_mask_is_opaque(scene, data, fine):
    size_hw, box = scene
    shape = np.zeros((box[3] - box[1], box[2] - box[0]), bool)
    for _ in range(data.draw(st.integers(1, 4))):  # dots, lines, corners
        y, x = (
            data.draw(st.integers(0, shape.shape[0] - 1)),
            data.draw(st.integers(0, shape.shape[1] - 1)),
        )
        shape[y : y + data.draw(st.integers(1, 40)), x : x + data.draw(st.integers(1, 40))] = True
    face = GivenFace(box_xyxy=box, points_xy=average_points(box), score=0.0, mask=shape)
    result, _ = pasted(face, size_hw, fine=fine)
    assert (result[shown(shape, box, size_hw)] == 255).all()


@given(scene=scenes(), other=scenes())
def test_what_was_found_at_a_given_place_is_covered_with_it(scene, other):
    size_hw, box = scene
    size_hw = max(size_hw[0], other[0][0]), max(size_hw[1], other[0][1])
    face = GivenFace(box_xyxy=box, points_xy=average_points(box), score=0.0, also_xyxy=(other[1],))
    result, _ = pasted(face, size_hw)
    for place in (box, other[1]):
        assert (result[shown(ellipse(place), place, size_hw)] == 255).all()


@pytest.mark.parametrize("fine", [1, 2])
@given(scene=scenes(), data=st.data())
def test_of_a_found_face_too_nothing_is_cut(scene, data, fine):
    size_hw, box = scene
    face = Face(box_xyxy=box, points_xy=data.draw(points_at(box)), score=0.9)
    result, _ = pasted(face, size_hw, fine=fine)
    assert (result[shown(ellipse(box), box, size_hw)] == 255).all()


@given(scene=scenes(), data=st.data())
def test_around_what_is_redrawn_there_is_room_for_a_soft_edge(scene, data):
    """A crop that ends at the chin shows as a straight line across the neck."""
    _, box = scene
    face = Face(box_xyxy=box, points_xy=data.draw(points_at(box)), score=0.9)
    outline_xy = np.array(box[:2]) + np.array(
        data.draw(st.lists(st.tuples(*[st.floats(-20, 20)] * 2), min_size=1, max_size=9))
    )
    plain = aligned_crop(face, side=SIDE) if crop_for(face) else None
    assume(plain is not None and np.abs(plain.to_crop(outline_xy) - SIDE / 2).max() < SIDE / 2)
    crop = crop_of(face, side=SIDE, outline_xy=outline_xy)
    ys, xs = np.nonzero(shown(ellipse(box), box, (max(box[3], 1), max(box[2], 1))))
    places = crop.to_crop(np.concatenate([np.stack([xs, ys], 1), outline_xy]))
    assert (places >= MARGIN * SIDE - 1e-6).all()
    assert (places <= SIDE - 1 - MARGIN * SIDE + 1e-6).all()


def test_a_face_that_its_aligned_crop_holds_is_not_moved():
    box = (40, 50, 80, 88)
    points = template(SIDE) / 2 + [28, 34]
    face = Face(box_xyxy=box, points_xy=points, score=0.9)
    plain = align(points, side=SIDE).matrix
    assert np.allclose(crop_of(face, side=SIDE).matrix, plain, atol=1e-4)  # float32 points


def test_a_chin_at_the_rim_moves_the_crop_and_leaves_its_scale():
    points = template(SIDE)
    face = Face(box_xyxy=(30, 30, 100, 128), points_xy=points, score=0.9)
    crop, plain = crop_of(face, side=SIDE), align(points, side=SIDE)
    assert crop.scale == pytest.approx(plain.scale)
    lift = plain.to_crop(points)[:, 1] - crop.to_crop(points)[:, 1]
    assert (lift > 0.05 * SIDE).all()


def test_stray_landmarks_do_not_make_a_crop_much_wider():
    points = template(SIDE)
    face = Face(box_xyxy=(30, 30, 100, 110), points_xy=points, score=0.9)
    stray = np.array([[-9e3, 50], [64, 9e3]])
    assert crop_of(face, side=SIDE, outline_xy=stray).scale > 0.6 * align(points, side=SIDE).scale


@given(scene=scenes(), data=st.data())
def test_a_region_is_not_much_larger_than_what_it_must_cover(scene, data):
    """Else all of the picture would do."""
    _, box = scene
    face = GivenFace(box_xyxy=box, points_xy=data.draw(points_at(box)), score=1.0)
    crop = crop_for(face)
    region = covered(face, crop)
    ys, xs = np.nonzero(region)
    places = crop.to_picture(np.stack([xs, ys], 1))
    slack = 4 / crop.scale + 3  # pixels of the crop, and of the picture
    assert (places >= np.array(box[:2]) - slack).all()
    assert (places <= np.array(box[2:]) + slack).all()
    corner = crop.to_crop(np.array([box[:2]]) - 0.5)[0]
    shorter_px = min(box[2] - box[0], box[3] - box[1])
    if ((corner >= 0) & (corner < SIDE)).all() and shorter_px > 4 * slack:
        x, y = np.round(corner).astype(int).clip(0, SIDE - 1)
        assert not region[y, x], "a corner of the box is outside of its ellipse"


@given(scene=scenes(), data=st.data())
def test_a_larger_crop_is_turned_as_the_points_are_and_leads_back(scene, data):
    _, box = scene
    points = data.draw(points_at(box))
    face = GivenFace(box_xyxy=box, points_xy=points, score=1.0)
    crop, plain = crop_for(face), align(face.points_xy, side=SIDE)
    assert crop.scale <= plain.scale * (1 + 1e-9) or plain.scale * face.size_px < SIDE / 4
    if plain.scale * face.size_px >= SIDE / 4:
        turn, plain_turn = (c.matrix[:, :2] / c.scale for c in (crop, plain))
        assert np.allclose(turn, plain_turn, atol=1e-9)
    corners = np.array([[box[0], box[1]], [box[2], box[3]]], float)
    assert np.allclose(crop.to_picture(crop.to_crop(corners)), corners, atol=1e-6)


@given(scene=scenes())
@example(scene=((20, 20), (3, 4, 4, 5)))
def test_the_ellipse_is_the_one_that_the_audit_judges(scene):
    size_hw, box = scene
    judged = Kept(Face(box_xyxy=box, points_xy=average_points(box), score=1.0))
    outside = ~shown(ellipse(box), box, size_hw)
    if max(box[2] - box[0], box[3] - box[1]) < 256:  # of larger ones it takes every second pixel
        assert judged.share(outside) <= 1e-12
        assert judged.share(~outside) == 1


@settings(max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    dots=st.lists(
        st.tuples(st.integers(0, 59), st.integers(0, 59), st.integers(1, 20)),
        min_size=1,
        max_size=6,
    ),
)
def test_the_parts_of_a_mask_are_all_of_it(shape, dots):
    mask = np.zeros(shape, bool)
    for y, x, size in dots:
        mask[y : y + size, x : x + size] = True
    assume(mask.any())
    faces = given_faces([GivenRegion(mask=mask)], np.zeros((*shape, 3), np.uint8), detector=Blind())
    together = np.zeros(shape, bool)
    for face in faces:
        x0, y0, x1, y1 = face.box_xyxy
        assert face.mask is not None
        together[y0:y1, x0:x1] |= face.mask
        assert x1 - x0 >= min(8, shape[1])
        assert y1 - y0 >= min(8, shape[0])
    assert np.array_equal(together, mask)
    assert len(faces) == cv2.connectedComponents(mask.astype(np.uint8))[0] - 1


class Blind:
    """A detector that finds nobody."""

    def detect_near(self, pixels, face) -> tuple[Face, ...]:
        return ()


@pytest.mark.parametrize(
    ("size_hw", "box"),
    [((40, 33_000), (0, 0, 33_000, 40)), ((3000, 4000), (0, 0, 4000, 3000))],
    ids=["longer_than_opencv_warps", "all_of_a_large_picture"],
)
def test_huge_boxes_have_a_crop_and_a_region(size_hw, box):
    face = GivenFace(box_xyxy=box, points_xy=average_points(box), score=0.0)
    crop = crop_of(face, side=SIDE)
    region = covered(face, crop)
    edges = crop.to_crop(np.array([[0, size_hw[0] / 2], [size_hw[1] - 1, size_hw[0] / 2]]))
    x, y = np.round(edges).astype(int).T
    assert region[y, x].all()
