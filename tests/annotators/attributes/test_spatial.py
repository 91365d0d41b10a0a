"""The spatial encoding of attributes, cell by cell."""

import numpy as np
import pytest

from camouflage.annotators.attributes.names import CELEBA_ATTRIBUTES
from camouflage.annotators.attributes.spatial import CHANNELS, POINTS, spatial_encoding
from camouflage.errors import SettingError


def encoded(faces, *, size_hw=(64, 64), latent_hw=(8, 8)):
    """``faces``: (box, points, probability) each; the channel k gets probability / (k + 1)."""
    boxes = [box for box, _, _ in faces]
    points = [np.array(points, float) for _, points, _ in faces]
    return spatial_encoding(
        boxes,
        points,
        np.array([rows(p) for _, _, p in faces], np.float32).reshape(len(faces), 40),
        size_hw=size_hw,
        latent_hw=latent_hw,
    )


def rows(probability):
    return probability / np.arange(1, 41)


CENTRE = [(32, 32)] * 5


def drawn(text):
    """A map by hand: a digit is that many tenths, a point is 0."""
    lines = [line.split() for line in text.strip().splitlines()]
    return np.array([[0 if cell == "." else int(cell) / 10 for cell in line] for line in lines])


def test_one_face_by_hand():
    # Cells of 8 px: x from floor(17 / 8) to floor(40 / 8), y from floor(8 / 8) to floor(47.9 / 8).
    # Points: floor(x * 7 / 64).
    points = [(18, 19), (37, 19), (28, 28), (19, 40), (36, 40)]
    found = encoded([((17.0, 8.0, 40.0, 47.9), points, 0.8)])
    assert (found.shape, found.dtype) == ((41, 8, 8), np.float32)
    expected = drawn("""
        . . . . . . . .
        . . 8 8 8 . . .
        . . 8 8 8 . . .
        . . 8 8 8 . . .
        . . 8 8 8 . . .
        . . . . . . . .
        . . . . . . . .
        . . . . . . . .
    """)
    assert found[0] == pytest.approx(expected)
    assert found[39] == pytest.approx(expected / 40)
    cells = {(1, 2), (4, 2), (3, 3), (2, 4), (3, 4)}  # xy; 18 * 7 / 64 = 1.97, 19 * 7 / 64 = 2.08
    assert {(int(x), int(y)) for y, x in np.argwhere(found[POINTS])} == cells
    assert set(np.unique(found[POINTS])) == {0, 1}


@pytest.mark.parametrize("turn", [1, -1])
def test_where_faces_overlap_the_smaller_wins_whatever_the_order(turn):
    large, small = ((0, 0, 48, 48), [(4, 4)] * 5, 0.2), ((32, 32, 64, 56), [(60, 60)] * 5, 0.9)
    found = encoded([large, small][::turn])
    expected = drawn("""
        2 2 2 2 2 2 . .
        2 2 2 2 2 2 . .
        2 2 2 2 2 2 . .
        2 2 2 2 2 2 . .
        2 2 2 2 9 9 9 9
        2 2 2 2 9 9 9 9
        . . . . 9 9 9 9
        . . . . . . . .
    """)
    assert found[0] == pytest.approx(expected)
    assert np.argwhere(found[POINTS]).tolist() == [[0, 0], [6, 6]], "all share one channel"


def test_what_lies_outside_is_cut_and_points_stay_at_the_border():
    points = [(-20, 10), (200, 10), (10, -20), (10, 200), (63.9, 63.9)]
    found = encoded([((-30, 40, 500, 90), points, 0.5)])
    assert found[0, 5:].min() == pytest.approx(0.5)
    assert found[0, :5].max() == 0
    expected = {(0, 1), (7, 1), (1, 0), (1, 7), (6, 6)}
    assert {(int(x), int(y)) for y, x in np.argwhere(found[POINTS])} == expected


@pytest.mark.parametrize("box", [(-30, -30, -10, -10), (64, 0, 90, 40), (9, 9, 15, 15)])
def test_a_box_outside_or_within_a_cell_fills_none(box):
    assert encoded([(box, CENTRE, 1.0)])[:POINTS].max() == 0


def test_a_picture_that_is_no_square():
    found = encoded([((20, 10, 60, 30), [(99, 39)] * 5, 1.0)], size_hw=(40, 100), latent_hw=(4, 10))
    assert found.shape == (41, 4, 10)
    assert np.argwhere(found[0]).min(0).tolist() == [1, 2]
    assert np.argwhere(found[0]).max(0).tolist() == [2, 5]
    assert np.argwhere(found[POINTS]).tolist() == [[2, 8]]  # 39 * 3 / 40, 99 * 9 / 100


def test_many_people():
    faces = [
        ((8 * i, 8 * j, 8 * i + 8, 8 * j + 8), [(8 * i + 4, 8 * j + 4)] * 5, (8 * j + i) / 64)
        for j in range(8)
        for i in range(8)
    ]
    found = encoded(faces)
    assert found[0] == pytest.approx(np.arange(64).reshape(8, 8) / 64)
    assert found[POINTS].sum() == 64 - 15, "the last cell of points is beyond the last pixel"


def test_nobody_is_zeros():
    found = encoded([])
    assert found.shape == (CHANNELS, 8, 8) == (41, 8, 8)
    assert not found.any()


def test_channels_are_in_celebas_order():
    assert (CELEBA_ATTRIBUTES[0], CELEBA_ATTRIBUTES[39]) == ("5_o_Clock_Shadow", "Young")
    one_hot = np.zeros((1, 40), np.float32)
    one_hot[0, CELEBA_ATTRIBUTES.index("Smiling")] = 1
    found = spatial_encoding(
        [(0, 0, 64, 64)], [np.full((5, 2), 3.0)], one_hot, size_hw=(64, 64), latent_hw=(8, 8)
    )
    assert np.flatnonzero(found[:POINTS].any((1, 2))).tolist() == [31]


def test_the_input_is_not_painted_on():
    points = [np.full((5, 2), 20.0)]
    boxes, given = np.array([[0.0, 0, 32, 32]]), np.full((1, 40), 0.5)
    before = boxes.copy(), points[0].copy(), given.copy()
    spatial_encoding(boxes, points, given, size_hw=(64, 64), latent_hw=(8, 8))
    for one, other in zip((boxes, points[0], given), before, strict=True):
        assert np.array_equal(one, other)


BOX, FIVE, HALF = (0, 0, 32, 32), np.full((5, 2), 20.0), np.full((1, 40), 0.5)


@pytest.mark.parametrize(
    ("boxes", "points", "given", "reason"),
    [
        ([BOX, BOX], [FIVE], HALF, "each of 2 boxes"),
        ([BOX], [], HALF, "each of 1 boxes"),
        ([BOX], [FIVE], np.full((2, 40), 0.5), "each of 1 boxes"),
        ([BOX], [FIVE], np.full((1, 39), 0.5), "40 probabilities"),
        ([BOX], [FIVE[:4]], HALF, r"\(5, 2\) points"),
        ([BOX], [FIVE], HALF * 3, r"in \[0, 1\]"),
        ([BOX], [FIVE], -HALF, r"in \[0, 1\]"),
        ([BOX], [FIVE], HALF * np.nan, r"in \[0, 1\]"),
        ([(0, 0, np.nan, 32)], [FIVE], HALF, "finite"),
        ([BOX], [FIVE * np.inf], HALF, "finite"),
    ],
)
def test_what_does_not_go_together_is_refused(boxes, points, given, reason):
    with pytest.raises(SettingError, match=reason):
        spatial_encoding(boxes, points, given, size_hw=(64, 64), latent_hw=(8, 8))
