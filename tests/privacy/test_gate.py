"""What is no anonymization fails; what is a redrawing, or a wall, passes.

The real detector and recogniser, on photographs that come with scikit-image (the astronaut is by
NASA, public domain), and the shipped model for a picture with a face and false alarms.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.data import astronaut, brick, camera

from camouflage import Anonymizer, Recipe, obfuscate
from camouflage.audit import Recogniser, Verdict, audit
from camouflage.subjects.faces import Face, FaceDetector

Pixels = NDArray[np.uint8]


class Gate:
    """The audit with its two tools."""

    def __init__(self) -> None:
        self.recogniser, self.detector = Recogniser(), FaceDetector(threads=1)

    def __call__(
        self, original: Pixels, result: Pixels, faces: list[Face] | None = None, **more: object
    ) -> Verdict:
        found = self.detector.detect(original) if faces is None else faces
        assert found, "the detector found nobody, so the test would say nothing"
        return audit(
            original, found, result, recogniser=self.recogniser, detector=self.detector, **more
        )  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate()


@pytest.fixture(scope="module")
def woman() -> Pixels:
    """256 px, one face of 90 x 120 px in the middle."""
    return astronaut()[:256, 100:356].copy()


@pytest.fixture(scope="module")
def face(gate: Gate, woman: Pixels) -> Face:
    return gate.detector.detect(woman)[0]


def noise(pixels: Pixels, sigma: float) -> Pixels:
    shake = np.random.default_rng(0).normal(0, sigma, pixels.shape)
    return np.clip(pixels + shake, 0, 255).round().astype(np.uint8)


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def brighter(pixels: Pixels, levels: int) -> Pixels:
    return np.clip(pixels.astype(int) + levels, 0, 255).astype(np.uint8)


def halved(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    small = cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def contrast(pixels: Pixels, factor: float) -> Pixels:
    return np.clip((pixels - 128.0) * factor + 128, 0, 255).astype(np.uint8)


def moved(pixels: Pixels, right: int, down: int = 0) -> Pixels:
    return np.roll(pixels, (down, right), (0, 1))


STILL_THE_SAME = {
    "nothing": lambda p: p.copy(),
    "noise of 5 levels": lambda p: noise(p, 5),
    "noise of 40 levels": lambda p: noise(p, 40),
    "JPEG 75": lambda p: jpeg(p, 75),
    "JPEG 15": lambda p: jpeg(p, 15),
    "blur": lambda p: cv2.GaussianBlur(p, (0, 0), 3),
    "brighter": lambda p: brighter(p, 40),
    "gamma": lambda p: (255 * (p / 255) ** 1.7).astype(np.uint8),
    "half the contrast": lambda p: contrast(p, 0.5),
    "grey": lambda p: np.repeat(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY)[..., None], 3, 2),
    "inverted": lambda p: 255 - p,
    "mirrored": lambda p: p[:, ::-1].copy(),
    "half the size and back": halved,
    "a quarter turn": lambda p: np.rot90(p).copy(),
    "a half turn": lambda p: np.rot90(p, 2).copy(),
    "turned by 25 degrees": lambda p: cv2.warpAffine(
        p, cv2.getRotationMatrix2D((128, 118), 25, 1), (256, 256)
    ),
    "moved by 1 px": lambda p: moved(p, 1),
    "moved by 15 px": lambda p: moved(p, 15, 5),
    "moved by 45 px": lambda p: moved(p, 45),
    "moved by 90 px": lambda p: moved(p, 90),
}


@pytest.mark.parametrize("how", STILL_THE_SAME)
def test_the_same_person_fails(gate: Gate, woman: Pixels, face: Face, how: str) -> None:
    verdict = gate(woman, STILL_THE_SAME[how](woman), [face])
    assert not verdict.passed


HALF_HIDDEN = {  # of the box: top, bottom, left, right
    "a bar over the eyes": (0.25, 0.6, -0.1, 1.1),
    "a narrow bar over the eyes": (0.3, 0.45, -0.1, 1.1),
    "the right half": (-0.3, 1.1, 0.5, 1.3),
    "a mask": (0.5, 1.1, -0.1, 1.1),
}


@pytest.mark.parametrize("how", HALF_HIDDEN)
@pytest.mark.parametrize("quality", [None, 50])
def test_a_face_that_is_half_hidden_fails(
    gate: Gate, woman: Pixels, face: Face, how: str, quality: int | None
) -> None:
    x0, y0, x1, y1 = face.box_xyxy
    top, bottom, left, right = HALF_HIDDEN[how]
    result = woman.copy()
    rows = slice(max(0, round(y0 + top * (y1 - y0))), round(y0 + bottom * (y1 - y0)))
    columns = slice(max(0, round(x0 + left * (x1 - x0))), round(x0 + right * (x1 - x0)))
    result[rows, columns] = 0
    assert not gate(woman, jpeg(result, quality) if quality else result, [face]).passed


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_lying_or_upside_down_original(gate: Gate, woman: Pixels, quarters: int) -> None:
    lying = np.rot90(woman, quarters).copy()
    for result in (noise(lying, 10), lying[:, ::-1].copy(), moved(lying, 8)):
        assert not gate(lying, result).passed


@pytest.mark.parametrize("columns", [100, 130])
def test_a_face_cut_by_the_border(gate: Gate, woman: Pixels, columns: int) -> None:
    """The second half of it, found with a low score: judged by its pixels."""
    cut = woman[:, columns:].copy()
    for result in (noise(cut, 10), jpeg(cut, 75), 255 - cut):
        assert not gate(cut, result).passed


TINY = {
    "5 levels": lambda p: noise(p, 5),
    "10 levels": lambda p: noise(p, 10),
    "JPEG 90": lambda p: jpeg(p, 90),
    "brighter": lambda p: brighter(p, 40),
    "inverted": lambda p: 255 - p,
    "moved by 1 px": lambda p: moved(p, 1),
    "half the contrast": lambda p: contrast(p, 0.5),
}


@pytest.mark.parametrize("how", TINY)
@pytest.mark.parametrize("scale", [0.12, 0.15, 0.2])
def test_a_tiny_face_that_is_still_there_fails(
    gate: Gate, woman: Pixels, scale: float, how: str
) -> None:
    """Below 8 px of eye distance: a recogniser knows nobody, but slight noise is no change."""
    scene = np.full((160, 160, 3), 120, np.uint8)
    small = cv2.resize(woman, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    scene[60 : 60 + len(small), 60 : 60 + len(small)] = small
    verdict = gate(scene, TINY[how](scene))
    assert not verdict.passed
    assert verdict.faces[0].judged_by == ("pixels" if scale < 0.2 else "recogniser")


@pytest.mark.parametrize("how", ["5 levels", "JPEG 90", "brighter", "inverted", "moved by 1 px"])
def test_a_doubtful_face_that_is_still_there_fails(
    gate: Gate, woman: Pixels, face: Face, how: str
) -> None:
    """As large as it is, a low score leaves it to its pixels."""
    doubtful = Face(box_xyxy=face.box_xyxy, points_xy=face.points_xy, score=0.35)
    verdict = gate(woman, TINY[how](woman), [doubtful])
    assert verdict.faces[0].judged_by == "pixels"
    assert not verdict.faces[0].passed


def test_the_person_pasted_elsewhere_fails(gate: Gate, woman: Pixels, face: Face) -> None:
    """The face is gone from its place, and stands beside it, once more upside down."""
    wide = np.full((256, 520, 3), 120, np.uint8)
    wide[:, :256] = woman
    gone = obfuscate.solid(wide, [face.box_xyxy])
    assert gate(wide, gone, [face]).passed
    for copy in (woman, brighter(woman, 20), woman[:, ::-1], woman[::-1, ::-1]):
        result = gone.copy()
        result[:, 264:] = copy
        verdict = gate(wide, result, [face])
        assert not verdict.passed
        assert "the person of face 1 is seen" in " ".join(verdict.reasons)


def test_one_face_of_many_that_stays_fails(gate: Gate, woman: Pixels, face: Face) -> None:
    """Four times the same person: each place is judged."""
    four = np.concatenate([np.concatenate([woman, woman], 1)] * 2)
    faces = [
        Face(
            box_xyxy=tuple(np.add(face.box_xyxy, [x, y, x, y])),  # type: ignore[arg-type]
            points_xy=face.points_xy + np.array([x, y]),
            score=0.9,
        )
        for y in (0, 256)
        for x in (0, 256)
    ]
    boxes = [one.box_xyxy for one in faces]
    assert gate(four, obfuscate.solid(four, boxes), faces).passed
    for left in range(4):
        result = obfuscate.solid(four, [box for i, box in enumerate(boxes) if i != left])
        verdict = gate(four, noise(result, 3), faces)
        assert not verdict.faces[left].passed
        assert not verdict.passed


def test_swapping_two_people_of_one_picture_fails(gate: Gate) -> None:
    """Each is far from who was there, and is the other one of the picture."""
    one, other = portrait(gate, astronaut()), portrait(gate, np.stack([camera()] * 3, 2))
    original, swapped = np.concatenate([one, other], 1), np.concatenate([other, one], 1)
    faces = sorted(gate.detector.detect(original), key=lambda f: -f.score)[:2]
    assert abs(faces[0].box_xyxy[0] - faces[1].box_xyxy[0]) > 100
    verdict = gate(original, swapped, faces)
    assert [judged.passed for judged in verdict.faces] == [False, False]
    assert all("to face" in judged.reason for judged in verdict.faces)
    assert min(judged.distance or 0 for judged in verdict.faces) > 0.6


def portrait(gate: Gate, pixels: Pixels) -> Pixels:
    """200 px around the most certain face, its box 80 px wide, in the middle."""
    x0, y0, x1, y1 = gate.detector.detect(pixels)[0].box_xyxy
    scale = 80 / (x1 - x0)
    middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    matrix = np.column_stack([np.eye(2) * scale, 100 - scale * middle])
    return cv2.warpAffine(pixels, matrix, (200, 200), borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize("method", ["solid", "pixelate", "blur"])
def test_what_covers_a_face_passes(gate: Gate, woman: Pixels, face: Face, method: str) -> None:
    """The last resort must not be refused: boxes a tenth larger than the face's."""
    box = obfuscate.grown(face.box_xyxy, margin=0.1, size_hw=woman.shape[:2])  # type: ignore[arg-type]
    result = obfuscate.obfuscated(woman, [box], method)  # type: ignore[arg-type]
    verdict = gate(woman, result, [face])
    assert verdict.passed, verdict.reasons


def test_walls_are_one_person_to_the_recogniser_and_pass_all_the_same(gate: Gate) -> None:
    """A certain detection on gravel, redrawn as other gravel: nearer than any two people are."""
    gravel = np.random.default_rng(0).integers(0, 255, (32, 64, 3)).astype(np.uint8)
    gravel = cv2.resize(gravel, (512, 256), interpolation=cv2.INTER_CUBIC)
    points = np.array([[50, 50], [90, 50], [70, 72], [54, 92], [86, 92]])
    alarm = Face(box_xyxy=(30, 20, 110, 120), points_xy=points, score=0.7)
    result = gravel.copy()
    result[:, :256] = gravel[:, 256:]
    embed = gate.recogniser.embed
    assert embed(gravel, [alarm]).distances(embed(result, [alarm]))[0, 0] < 0.6
    verdict = gate(gravel, result, [alarm])
    assert verdict.passed, verdict.reasons
    assert verdict.faces[0].judged_by == "pixels"
    assert not gate(gravel, noise(gravel, 6), [alarm]).passed


def test_a_real_face_is_no_wall(gate: Gate, woman: Pixels, face: Face) -> None:
    """Also when it is blurred, half hidden or as small as the recogniser takes it."""
    hidden = woman.copy()
    hidden[:, sum(face.box_xyxy[::2]) // 2 :] = 90
    scale = 8.2 / face.eye_distance_px
    small = cv2.resize(woman, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    there = Face(box_xyxy=(1, 1, 20, 20), points_xy=(face.points_xy + 0.5) * scale - 0.5, score=0.9)
    for pixels, one in (
        (woman, face),
        (cv2.GaussianBlur(woman, (0, 0), 0.1 * face.eye_distance_px), face),
        (hidden, face),
        (small, there),
    ):
        assert not gate.recogniser.sees_nothing(gate.recogniser.embed(pixels, [one]))[0]


class Finds:
    """A detector that says what it was told, and looks at results with real eyes."""

    def __init__(self, faces: list[Face], detector: FaceDetector) -> None:
        self.faces, self.real = faces, detector

    def detect(self, pixels: Pixels) -> tuple[Face, ...]:
        return tuple(self.faces)

    def detect_near(self, pixels: Pixels, face: Face) -> tuple[Face, ...]:
        return self.real.detect_near(pixels, face)


def test_a_false_alarm_refuses_no_picture(gate: Gate, woman: Pixels, face: Face) -> None:
    """One face and two alarms on a wall of bricks, redrawn by the shipped model: all pass."""
    wall = cv2.cvtColor(brick(), cv2.COLOR_GRAY2RGB)[:256, :300]
    picture = np.concatenate([woman, wall], 1)
    points = np.array([[22, 32], [50, 32], [36, 48], [25, 62], [47, 62]])
    alarms = [
        Face(box_xyxy=(x, 40, x + 72, 130), points_xy=np.add(points, [x, 40]), score=score)
        for x, score in ((300, 0.35), (440, 0.6))
    ]
    bound = Anonymizer.from_recipe(Recipe.load("mini"))
    for faces, states in ((alarms[:1], ["pixels"]), ([face, *alarms], ["recogniser", "pixels"])):
        bound.detector = Finds(faces, gate.detector)  # type: ignore[assignment]
        result = bound(picture, seed=1)
        assert result.verdict is not None
        assert result.state == "passed", result.verdict.reasons
        assert [judged.judged_by for judged in result.verdict.faces][: len(states)] == states
        assert np.abs(result.pixels[60:110, 320:352].astype(int) - picture[60:110, 320:352]).max()
