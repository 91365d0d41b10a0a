"""Detection: large, small, turned and cut faces of one real photograph, and nobody."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.data import astronaut, coffee

from camouflage.errors import SettingError
from camouflage.subjects.centerface import Found, iou, without_doubles
from camouflage.subjects.faces import Face, FaceDetector, _merged

ASTRONAUT = astronaut()
FACE_XYXY = np.array([181, 58, 270, 178], np.float64)
EYES_XY = np.array([[203, 101], [247, 103]], np.float64)


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector(threads=1)


def found_at(faces: tuple[Face, ...], box_xyxy: np.ndarray) -> Face | None:
    hits = [f for f in faces if iou(box_xyxy, np.array([f.box_xyxy], np.float64))[0] > 0.5]
    return hits[0] if hits else None


def test_a_portrait(detector: FaceDetector) -> None:
    before = ASTRONAUT.copy()
    faces = detector.detect(ASTRONAUT)
    assert len(faces) == 1
    face = found_at(faces, FACE_XYXY)
    assert face is not None
    assert face.score > 0.8
    assert np.abs(face.points_xy[:2] - EYES_XY).max() < 5
    right_eye, left_eye, nose, right_mouth, left_mouth = face.points_xy
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_mouth[0] < left_mouth[0]
    assert right_eye[1] < nose[1] < right_mouth[1]
    assert (before == ASTRONAUT).all()


@pytest.mark.parametrize("side_px", [64, 128, 256, 1100, 2000])
def test_a_face_of_any_size(detector: FaceDetector, side_px: int) -> None:
    """From 15 px to 470 px; the whole picture is the face's own."""
    scale = side_px / 512
    faces = detector.detect(cv2.resize(ASTRONAUT, (side_px, side_px), interpolation=cv2.INTER_AREA))
    assert found_at(faces, FACE_XYXY * scale) is not None
    assert len(faces) == 1


def test_a_small_face_in_a_large_picture(detector: FaceDetector) -> None:
    """28 px in 3000: 10 px in the main view, found by a closer look."""
    picture = np.full((2000, 3000, 3), 127, np.uint8)
    picture[1200:1320, 2300:2420] = cv2.resize(ASTRONAUT, (120, 120), interpolation=cv2.INTER_AREA)
    face = found_at(detector.detect(picture), FACE_XYXY * 120 / 512 + [2300, 1200, 2300, 1200])
    assert face is not None


def test_a_face_that_fills_the_picture(detector: FaceDetector) -> None:
    x0, y0, x1, y1 = 180, 80, 265, 170
    close_up = cv2.resize(ASTRONAUT[y0:y1, x0:x1], (850, 900))
    faces = detector.detect(close_up)
    assert len(faces) == 1
    assert faces[0].size_px > 600


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("side_px", [96, 512])
def test_a_turned_face(detector: FaceDetector, quarters: int, side_px: int) -> None:
    """Also its points: the person's right eye is the first one however the face is turned."""
    upright = cv2.resize(ASTRONAUT, (side_px, side_px), interpolation=cv2.INTER_AREA)
    face = detector.detect(np.ascontiguousarray(np.rot90(upright, quarters)))[0]
    assert face.score > 0.6
    eye = EYES_XY[0] * side_px / 512
    for _ in range(quarters):
        eye = np.array([eye[1], side_px - eye[0]])
    assert np.abs(face.points_xy[0] - eye).max() < 0.02 * side_px
    x0, y0, x1, y1 = face.box_xyxy
    assert x0 < eye[0] < x1
    assert y0 < eye[1] < y1


def test_a_face_larger_than_the_picture(detector: FaceDetector) -> None:
    """Eyes, nose and mouth only."""
    close_up = cv2.resize(ASTRONAUT[92:150, 198:252], None, fx=10, fy=10)
    faces = detector.detect(close_up)
    assert len(faces) == 1
    assert faces[0].score > 0.6
    assert faces[0].size_px > 500


def test_eyes_and_mouths_are_no_faces_of_their_own() -> None:
    """What lies inside a better detection goes; what only touches it, or is better, stays."""
    boxes = np.array(
        [
            [0, 0, 100, 100],
            [10, 10, 50, 50],
            [90, 90, 130, 130],
            [200, 0, 300, 100],
            [210, 10, 240, 40],
        ],
        np.float64,
    )
    scores = np.array([0.9, 0.6, 0.4, 0.35, 0.8])
    merged = _merged([Found(boxes_xyxy=boxes, points_xy=np.zeros((5, 5, 2)), scores=scores)])
    assert sorted(merged.scores.tolist()) == [0.35, 0.4, 0.8, 0.9]


def test_boxes_are_clipped_to_the_picture(detector: FaceDetector) -> None:
    cut = np.ascontiguousarray(ASTRONAUT[90:, 200:])
    for face in detector.detect(cut):
        x0, y0, x1, y1 = face.box_xyxy
        assert 0 <= x0 < x1 <= cut.shape[1]
        assert 0 <= y0 < y1 <= cut.shape[0]


def test_nobody(detector: FaceDetector) -> None:
    assert detector.detect(coffee()) == ()
    assert detector.detect(np.zeros((1, 1, 3), np.uint8)) == ()
    assert detector.detect(np.full((3, 3000, 3), 90, np.uint8)) == ()


def test_near_a_face(detector: FaceDetector) -> None:
    face = detector.detect(ASTRONAUT)[0]
    again = detector.detect_near(ASTRONAUT, face)
    assert found_at(again, FACE_XYXY) is not None


def test_everywhere_finds_what_where_needed_finds(detector: FaceDetector) -> None:
    everywhere = FaceDetector(look="everywhere", threads=1)
    assert found_at(everywhere.detect(ASTRONAUT), FACE_XYXY) is not None


def test_wrong_arguments(detector: FaceDetector) -> None:
    with pytest.raises(SettingError):
        detector.detect(ASTRONAUT.astype(np.float32))
    with pytest.raises(SettingError):
        FaceDetector(score=0.0)


def test_a_wrong_face_cannot_be_made() -> None:
    points = np.zeros((5, 2))
    Face(box_xyxy=(0, 0, 1, 1), points_xy=points, score=1.0)
    for box, xy, score in (
        ((1, 0, 1, 1), points, 0.5),
        ((-1, 0, 1, 1), points, 0.5),
        ((0, 0, 1, 1), points[:4], 0.5),
        ((0, 0, 1, 1), points * np.nan, 0.5),
        ((0, 0, 1, 1), points, 1.5),
    ):
        with pytest.raises(SettingError):
            Face(box_xyxy=box, points_xy=xy, score=score)


def test_suppression_keeps_the_best_of_each_place() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], np.float64)
    found = Found(boxes_xyxy=boxes, points_xy=np.zeros((3, 5, 2)), scores=np.array([0.4, 0.9, 0.3]))
    assert without_doubles(found, most_iou=0.3).scores.tolist() == [0.9, 0.3]


def _two_faces(small_xyxy: tuple[float, ...], score: float) -> Found:
    boxes = np.array([(300, 300, 620, 740), small_xyxy], dtype=np.float64)
    points = np.repeat(boxes[:, None, :2], 5, axis=1)
    return Found(boxes_xyxy=boxes, points_xy=points, scores=np.array([0.95, score]))


def test_what_a_larger_face_does_not_cover_is_a_face_of_its_own() -> None:
    """The corner of a box is not redrawn: its ellipse is."""
    corner, middle = (580, 690, 630, 740), (420, 450, 480, 500)
    assert len(_merged([_two_faces(corner, 0.8)]).scores) == 2
    assert len(_merged([_two_faces(middle, 0.8)]).scores) == 1, "an eye is no face"
