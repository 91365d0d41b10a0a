"""OpenPose-18 skeletons from keypoints made by hand."""

import numpy as np
import pytest

from camouflage.annotators.scene.skeleton import COLOURS, LIMBS, draw_skeletons, openpose_points

# COCO: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles; left before right. A
# person seen from the front, whose right is the picture's left.
STANDING = np.array(
    [
        (256, 100), (266, 90), (246, 90), (280, 96), (232, 96), (306, 160), (206, 160), (336, 230),
        (176, 230), (340, 300), (172, 300), (286, 310), (226, 310), (290, 400), (222, 400),
        (292, 490), (220, 490),
    ],
    float,
)  # fmt: skip


def coco(xy=STANDING, score=1.0):
    return np.concatenate([xy, np.full((17, 1), score)], axis=1)


def test_points_become_openpose_s_and_the_neck_is_between_the_shoulders():
    points = openpose_points(coco(), score=0.3)
    assert points.shape == (18, 2)
    np.testing.assert_array_equal(points[0], STANDING[0])  # nose
    np.testing.assert_array_equal(points[1], (256, 160))  # neck
    np.testing.assert_array_equal(points[2], (206, 160))  # right shoulder
    np.testing.assert_array_equal(points[7], (340, 300))  # left wrist
    np.testing.assert_array_equal(points[10], (220, 490))  # right ankle
    np.testing.assert_array_equal(points[14], (246, 90))  # right eye
    np.testing.assert_array_equal(points[17], (280, 96))  # left ear


def test_each_point_and_limb_has_its_colour():
    points = openpose_points(coco(), score=0.3)
    drawn = draw_skeletons([points], (512, 512))
    for (x, y), colour in zip(points.astype(int), COLOURS, strict=True):
        np.testing.assert_array_equal(drawn[y, x], colour)
    for (start, end), colour in zip(LIMBS, COLOURS[:17], strict=True):
        x, y = points[[start, end]].mean(0).round().astype(int)
        if np.linalg.norm(points[end] - points[start]) > 20:  # else the discs cover it
            np.testing.assert_array_equal(drawn[y, x], [int(0.6 * c) for c in colour])


def test_the_usual_colours():
    assert COLOURS[0] == (255, 0, 0)  # nose, and the limb from the neck to the right shoulder
    assert COLOURS[17] == (255, 0, 85)  # left ear
    assert len(set(COLOURS)) == len(COLOURS) == 18
    assert len(LIMBS) == 17


@pytest.mark.parametrize(("side", "width"), [(512, 8), (1024, 16), (256, 4)])
def test_limbs_are_as_wide_as_in_openpose_at_512(side, width):
    points = np.full((18, 2), np.nan)
    points[8], points[9] = (side / 2, side / 4), (side / 2, side * 3 / 4)  # a thigh, upright
    column = draw_skeletons([points], (side, side))[side // 2].any(axis=1)
    assert abs(column.sum() - width) <= 1  # an outline of 36 points, filled on whole pixels


def test_an_unseen_point_is_not_drawn_and_takes_its_limbs_with_it():
    points = coco()
    points[5, 2] = 0.3  # the left shoulder: not above the least
    made = openpose_points(points, score=0.3)
    assert np.isnan(made[[1, 5]]).all()  # and no neck without it
    assert np.isfinite(made[[0, 2, 6]]).all()
    drawn = draw_skeletons([made], (512, 512))
    assert not drawn[160, 306].any()
    assert not drawn[235, 250].any()  # the trunk hangs on the neck


def test_nobody_gives_black():
    assert not draw_skeletons([], (5, 7)).any()
    assert not draw_skeletons([np.full((18, 2), np.nan)], (5, 7)).any()
    assert draw_skeletons([], (5, 7)).shape == (5, 7, 3)


def test_points_far_outside_and_infinite_do_no_harm():
    points = openpose_points(coco(STANDING * 1e9), score=0.3)
    points[3] = np.inf
    assert draw_skeletons([points], (64, 64)).shape == (64, 64, 3)


def test_the_later_person_is_above():
    points = openpose_points(coco(), score=0.3)
    single = np.full((18, 2), np.nan)
    single[17] = points[0]
    drawn = draw_skeletons([points, single], (512, 512))
    np.testing.assert_array_equal(drawn[100, 256], COLOURS[17])
