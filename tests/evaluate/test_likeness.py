"""Pose, gaze, expression and quality on faces whose values are known."""

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from camouflage.annotators.landmarks import CONTOURS, LandmarkNet
from camouflage.evaluate import likeness as like
from camouflage.evaluate.likeness import Dense
from camouflage.evaluate.methods import _pasted, layered
from camouflage.subjects.faces import Face, FaceDetector


def turned(*, yaw=0.0, pitch=0.0, roll=0.0, size=100.0) -> Face:
    """The model's own face, turned by degrees and projected without perspective."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    points = (like._FACE_XYZ @ (about_z @ about_x @ about_y).T)[:, :2] * size + 300
    return Face(box_xyxy=(200, 200, 400, 460), points_xy=points, score=0.9)


@pytest.mark.parametrize("change", [{"yaw": 25}, {"pitch": 15}, {"roll": 40}, {"size": 30}])
def test_pose_is_the_angle_between_two_heads(change):
    expected = abs(sum(v for k, v in change.items() if k != "size"))
    assert like.pose_distance(turned(), turned(**change)) == pytest.approx(expected, abs=0.5)
    assert like.pose_distance(turned(yaw=10), turned(yaw=10)) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("yaw", [-40, -10, 0, 20])
def test_yaw_has_a_size_and_a_side(yaw):
    assert abs(like.yaw_degrees(turned(yaw=yaw))) == pytest.approx(abs(yaw), abs=0.5)
    right = like.yaw_degrees(turned(yaw=20))
    assert right * like.yaw_degrees(turned(yaw=-20)) < 0
    nose, eyes = turned(yaw=20).points_xy[2, 0], turned(yaw=20).points_xy[:2, 0].mean()
    assert (nose > eyes) == (right > 0), "positive: the nose points to the picture's right"


@pytest.fixture(name="points")
def _points():
    return np.random.default_rng(0).normal(
        size=(sum(s.stop - s.start for s in CONTOURS.values()), 2)
    )


def dense(points) -> Dense:
    return Dense(points_xy=points, aligned_xy=points)


def eyes(points, shift_x=0.0, shift_y=0.0):
    """Both eyes from corner to corner one unit wide, the irises in the middle and shifted."""
    points = points.copy()
    for side, x in (("right", -1.0), ("left", 1.0)):
        rows = CONTOURS[f"{side}_eye"]
        angle = np.linspace(np.pi, -np.pi, rows.stop - rows.start, endpoint=False)
        if side == "left":
            angle = np.pi - angle
        points[rows] = np.stack([x + 0.5 * np.cos(angle), 0.15 * np.sin(angle)], 1)
        points[CONTOURS[f"{side}_iris"]] = [x + shift_x, shift_y]
    return points


def test_gaze_is_in_eye_widths(points):
    assert like.gaze(dense(eyes(points))) == pytest.approx([0, 0], abs=1e-9)
    assert like.gaze(dense(eyes(points, 0.1))) == pytest.approx([0.1, 0], abs=1e-9)
    assert like.gaze(dense(eyes(points, 0, -0.05))) == pytest.approx([0, -0.05], abs=1e-9)


def test_an_opened_mouth_is_another_expression(points):
    points = eyes(points)
    opened = points.copy()
    lowest = CONTOURS["mouth"].start + points[CONTOURS["mouth"], 1].argmax()
    opened[lowest, 1] += 0.3
    difference = like.expression(dense(opened)) - like.expression(dense(points))
    assert difference[0] == pytest.approx(0.3)
    assert np.abs(difference[1:]).max() == 0


@pytest.fixture(name="photo", scope="module")
def _photo():
    pixels = astronaut()[:256, 100:356].copy()
    return pixels, FaceDetector(threads=1).detect(pixels)[0]


def test_a_face_is_like_itself_and_a_lost_one_is_not_known(photo):
    pixels, face = photo
    net = LandmarkNet(channels=(8, 8, 8)).eval()
    landmarks = like.dense_landmarks(net, pixels, face)
    same = like.likeness(face, landmarks, face, landmarks)
    assert set(same) == set(like.MEASURES)
    assert max(same.values()) < 1e-4
    assert np.isnan(list(like.likeness(face, landmarks, None, None).values())).all()


def test_blur_is_less_sharp(photo):
    pixels, face = photo
    soft = cv2.GaussianBlur(pixels, (0, 0), 3)
    assert like.sharpness(soft, face) < 0.2 * like.sharpness(pixels, face)


def test_a_seam_is_seen(photo):
    pixels, face = photo
    x0, y0, x1, y1 = face.box_xyxy
    hard = pixels.copy()
    hard[y0:y1, x0:x1] = np.clip(pixels[y0:y1, x0:x1].astype(int) + 60, 0, 255)
    assert like.seam(pixels, hard) > 2
    soft = _pasted(pixels, face, np.full((128, 128, 3), 150, np.uint8))
    assert like.seam(pixels, soft) < 0.7 * like.seam(pixels, hard)
    assert np.isnan(like.seam(pixels, pixels)), "nothing changed: there is no border"
    assert np.isnan(like.seam(pixels, pixels[:100])), "another shape"


def test_the_layered_baseline_stays_in_its_boxes(photo):
    pixels, face = photo
    result = layered(pixels, [face.box_xyxy])
    x0, y0, x1, y1 = face.box_xyxy
    assert np.array_equal(result, layered(pixels, [face.box_xyxy])), "the same noise every time"
    assert (result[y0:y1, x0:x1] != pixels[y0:y1, x0:x1]).any()
    result[y0:y1, x0:x1] = pixels[y0:y1, x0:x1]
    assert np.array_equal(result, pixels)
