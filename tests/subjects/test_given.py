"""Given places: what is one, and which face belongs to it."""

import numpy as np
import pytest

from camouflage.errors import SettingError
from camouflage.subjects.faces import Face
from camouflage.subjects.given import GivenRegion, average_points, given_faces, not_given

BOX = (20, 20, 60, 70)
POINTS = average_points(BOX)
PIXELS = np.zeros((100, 120, 3), np.uint8)


class Sees:
    """A detector that finds these faces near any place."""

    def __init__(self, *faces: Face) -> None:
        self.faces, self.asked = faces, 0

    def detect_near(self, pixels, face) -> tuple[Face, ...]:
        self.asked += 1
        return self.faces


def face(*box: int, score: float = 0.7) -> Face:
    return Face(box_xyxy=box, points_xy=average_points(box) + 1, score=score)  # type: ignore[arg-type]


def one(region: GivenRegion, *near: Face, found: tuple[Face, ...] = ()):
    (treated,) = given_faces([region], PIXELS, detector=Sees(*near), found=found)  # type: ignore[arg-type]
    return treated


def test_points_and_score_that_are_given_are_taken() -> None:
    detector = Sees(face(22, 20, 60, 70))
    region = GivenRegion(box_xyxy=BOX, points_xy=POINTS - 2)
    (treated,) = given_faces([region], PIXELS, detector=detector)  # type: ignore[arg-type]
    assert (treated.box_xyxy, treated.score) == (BOX, 1.0)
    assert np.allclose(treated.points_xy, POINTS - 2)
    assert detector.asked == 0
    low = GivenRegion(box_xyxy=BOX, points_xy=POINTS, score=0.2)
    assert one(low).score == 0.2


def test_the_face_at_the_place_gives_its_points_and_is_covered() -> None:
    near, far = face(22, 20, 60, 72), face(80, 20, 110, 60)
    for treated in (
        one(GivenRegion(box_xyxy=BOX), far, near),
        one(GivenRegion(box_xyxy=BOX), found=(far, near)),
    ):
        assert (treated.box_xyxy, treated.score) == (BOX, 0.7)
        assert np.allclose(treated.points_xy, near.points_xy)
        assert treated.also_xyxy == (near.box_xyxy,)


def test_the_nearest_of_two_faces_is_meant() -> None:
    near, beside = face(20, 22, 60, 70), face(40, 20, 80, 70)
    treated = one(GivenRegion(box_xyxy=BOX), beside, near)
    assert np.allclose(treated.points_xy, near.points_xy)
    assert set(treated.also_xyxy) == {near.box_xyxy, beside.box_xyxy}


def test_a_small_face_in_a_large_box_is_meant() -> None:
    small = face(22, 22, 34, 36)
    treated = one(GivenRegion(box_xyxy=BOX), small)
    assert np.allclose(treated.points_xy, small.points_xy)
    assert treated.box_xyxy == BOX


def test_where_there_is_no_face_the_points_are_average_and_the_score_is_0() -> None:
    treated = one(GivenRegion(box_xyxy=BOX), face(80, 20, 110, 60))
    assert np.allclose(treated.points_xy, POINTS)
    assert (treated.score, treated.also_xyxy) == (0.0, ())
    right_eye, left_eye, nose, right_mouth, left_mouth = POINTS
    assert right_eye[0] < right_mouth[0] < nose[0] < left_mouth[0] < left_eye[0]
    assert right_eye[1] == left_eye[1] < nose[1] < right_mouth[1]
    assert one(GivenRegion(box_xyxy=BOX, score=0.9)).score == 0.9


def test_who_is_found_elsewhere_stays() -> None:
    given = [one(GivenRegion(box_xyxy=BOX))]
    beside, same = face(52, 20, 92, 70), face(25, 22, 66, 70)
    assert not_given([beside, same], given) == [beside]
    assert not_given([beside, same], []) == [beside, same]


def test_parts_of_a_mask_that_touch_at_a_corner_are_one() -> None:
    mask = np.zeros(PIXELS.shape[:2], bool)
    mask[10:20, 10:20] = mask[20:30, 20:30] = mask[60:70, 90:110] = True
    first, second = given_faces([GivenRegion(mask=mask)], PIXELS, detector=Sees())  # type: ignore[arg-type]
    assert first.box_xyxy == (10, 10, 30, 30)
    assert second.box_xyxy == (90, 60, 110, 70)
    assert first.mask.sum() == 200  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"box_xyxy": BOX, "mask": np.ones((100, 120), bool)},
        {"box_xyxy": (20, 20, 20, 70)},
        {"box_xyxy": (-1, 20, 20, 70)},
        {"box_xyxy": BOX, "score": 1.1},
        {"box_xyxy": BOX, "score": float("nan")},
        {"box_xyxy": BOX, "points_xy": POINTS[:4]},
        {"box_xyxy": BOX, "points_xy": POINTS * np.nan},
        {"box_xyxy": BOX, "points_xy": np.full((5, 2), 30)},
        {"box_xyxy": BOX, "points_xy": POINTS + np.array([0, 100])},
        {"mask": np.ones((100, 120), bool), "points_xy": POINTS},
        {"mask": np.zeros((100, 120), bool)},
        {"mask": np.ones((100, 120), np.uint8)},
        {"mask": np.ones((100, 120, 1), bool)},
    ],
)
def test_a_wrong_region_cannot_be_made(wrong) -> None:
    with pytest.raises(SettingError):
        GivenRegion(**wrong)


def test_what_is_given_is_copied_not_held() -> None:
    points = POINTS.copy()
    region = GivenRegion(box_xyxy=BOX, points_xy=points)
    points += 5
    assert np.allclose(region.points_xy, POINTS)  # type: ignore[arg-type]
    assert "array" not in repr(region)
