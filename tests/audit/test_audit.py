"""The audit: each way an original could get through must fail it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from camouflage.audit import Embeddings, FaceVerdict, Recogniser, Verdict, audit
from camouflage.audit.recogniser import _alignment, _chip
from camouflage.errors import SettingError
from camouflage.subjects.faces import Face, FaceDetector

ASTRONAUT = astronaut()[:256, 100:356].copy()


class FakeRecogniser:
    """Embeddings by the face's mean colour: enough to place faces at known distances."""

    def __init__(self, rows: dict[int, tuple[float, float]]) -> None:
        self.rows = rows

    def embed(self, pixels: np.ndarray, faces: list[Face]) -> Embeddings:
        out = np.zeros((len(faces), 128))
        for row, face in zip(out, faces, strict=True):
            x0, y0, x1, y1 = face.box_xyxy
            row[:2] = self.rows[int(np.median(pixels[y0:y1, x0:x1]))]
        return Embeddings(rows=out)

    def sees_nothing(self, embeddings: Embeddings) -> np.ndarray:
        return np.zeros(len(embeddings.rows), bool)


class FakeDetector:
    def __init__(self, *faces: Face) -> None:
        self.faces = faces

    def detect(self, pixels: np.ndarray) -> tuple[Face, ...]:
        return self.faces

    def detect_near(self, pixels: np.ndarray, face: Face) -> tuple[Face, ...]:
        return self.faces


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser()


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector(threads=1)


@pytest.fixture(scope="module")
def face(detector: FaceDetector) -> Face:
    return detector.detect(ASTRONAUT)[0]


def face_at(x: int, *, size: int = 40, score: float = 0.9) -> Face:
    points = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]]) * size
    return Face(box_xyxy=(x, 0, x + size, size), points_xy=points + np.array([x, 0]), score=score)


def flat(*levels: int, noise: int = 0) -> np.ndarray:
    """Squares of 40 px with one level each, with noise so that pixels count as changed."""
    picture = np.repeat(np.array(levels, np.int64), 40)[None, :, None] * np.ones((40, 1, 3), int)
    shake = np.random.default_rng(noise).integers(-1, 2, picture.shape) * (12 if noise else 0)
    return np.clip(picture + shake, 0, 255).astype(np.uint8)


def scrambled(pixels: np.ndarray, face: Face) -> np.ndarray:
    """Another pattern at the place of the face: blocks in another order."""
    result = pixels.copy()
    x0, y0, x1, y1 = face.box_xyxy
    noise = np.random.default_rng(0).integers(0, 255, ((y1 - y0) // 8 + 1, (x1 - x0) // 8 + 1, 3))
    result[y0:y1, x0:x1] = cv2.resize(noise.astype(np.uint8), (x1 - x0, y1 - y0))
    return result


def test_the_original_does_not_pass(
    recogniser: Recogniser, detector: FaceDetector, face: Face
) -> None:
    verdict = audit(ASTRONAUT, [face], ASTRONAUT, recogniser=recogniser, detector=detector)
    assert not verdict.passed
    assert verdict.faces[0].distance == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("how", ["blur", "noise", "mirror", "tint"])
def test_a_recognizable_face_does_not_pass(
    recogniser: Recogniser, detector: FaceDetector, face: Face, how: str
) -> None:
    shake = np.random.default_rng(0).normal(0, 8, ASTRONAUT.shape)
    changed = {
        "blur": cv2.GaussianBlur(ASTRONAUT, (0, 0), 2),
        "noise": np.clip(ASTRONAUT + shake, 0, 255).astype(np.uint8),
        "mirror": ASTRONAUT[:, ::-1].copy(),  # the points of the original do not fit it any more
        "tint": np.clip(ASTRONAUT.astype(int) + np.array([20, 0, -20]), 0, 255).astype(np.uint8),
    }[how]
    verdict = audit(ASTRONAUT, [face], changed, recogniser=recogniser, detector=detector)
    assert not verdict.passed


def test_another_pattern_passes(recogniser: Recogniser, detector: FaceDetector, face: Face) -> None:
    result = scrambled(ASTRONAUT, face)
    verdict = audit(ASTRONAUT, [face], result, recogniser=recogniser, detector=detector)
    assert verdict.passed, verdict.reasons
    assert verdict.faces[0].judged_by == "recogniser"
    assert (verdict.faces[0].distance or 0) > 0.6


def test_random_weights_never_pass(
    recogniser: Recogniser, detector: FaceDetector, face: Face
) -> None:
    verdict = audit(
        ASTRONAUT, [face], scrambled(ASTRONAUT, face),
        recogniser=recogniser, detector=detector, random_weights=True,
    )  # fmt: skip
    assert not verdict.passed
    assert all(judged.passed for judged in verdict.faces)


def test_results_that_cannot_be_judged_do_not_pass(
    recogniser: Recogniser, detector: FaceDetector, face: Face
) -> None:
    good = scrambled(ASTRONAUT, face)
    for result in (good[:-1], good.astype(np.float32) * np.nan, good[..., 0]):
        verdict = audit(ASTRONAUT, [face], result, recogniser=recogniser, detector=detector)
        assert not verdict.passed
        assert len(verdict.faces) == 1
    wrong_mask = np.ones((2, 2), bool)
    assert not audit(
        ASTRONAUT, [face], good, recogniser=recogniser, detector=detector, changed=wrong_mask
    ).passed
    assert not audit(ASTRONAUT, [], good, recogniser=recogniser, detector=detector).passed


def test_a_face_that_was_not_painted_does_not_pass(
    recogniser: Recogniser, detector: FaceDetector, face: Face
) -> None:
    nothing = np.zeros(ASTRONAUT.shape[:2], bool)
    verdict = audit(
        ASTRONAUT, [face], scrambled(ASTRONAUT, face),
        recogniser=recogniser, detector=detector, changed=nothing,
    )  # fmt: skip
    assert not verdict.passed
    assert "painted" in verdict.reasons[0]


def test_a_skipped_face_does_not_pass() -> None:
    """Two faces, the second as it was: each is judged for itself."""
    rows = {50: (0.0, 0.0), 100: (1.0, 0.0), 200: (0.0, 1.0)}
    faces = [face_at(0), face_at(40)]
    result = flat(200, 100, noise=1)
    result[:, 40:] = flat(50, 100)[:, 40:]
    verdict = audit(
        flat(50, 100), faces, result,
        recogniser=FakeRecogniser(rows), detector=FakeDetector(),  # type: ignore[arg-type]
    )  # fmt: skip
    assert [judged.passed for judged in verdict.faces] == [True, False]
    assert not verdict.passed


@pytest.mark.parametrize(("redrawn", "passes"), [((0.65, 0.45), False), ((0.5, 0.65), True)])
def test_look_alikes(redrawn: tuple[float, float], passes: bool) -> None:
    """Sources 0.5 apart: a result 0.47 from the other one fails, at 0.65 it passes."""
    rows = {50: (0.0, 0.0), 100: (0.5, 0.0), 150: redrawn, 200: (0.0, 1.5)}
    verdict = audit(
        flat(50, 100), [face_at(0), face_at(40)], flat(150, 200, noise=1),
        recogniser=FakeRecogniser(rows), detector=FakeDetector(),  # type: ignore[arg-type]
    )  # fmt: skip
    assert verdict.faces[0].passed is passes
    assert verdict.faces[1].passed


def test_a_doubtful_face_is_judged_by_its_pixels() -> None:
    """A wall looks like itself to a recogniser; it must not refuse the picture for ever."""
    rows = {50: (0.0, 0.0), 60: (0.0, 0.0)}
    wall = face_at(0, score=0.35)
    fakes = {"recogniser": FakeRecogniser(rows), "detector": FakeDetector()}
    repainted = audit(flat(50), [wall], flat(60, noise=1), **fakes)  # type: ignore[arg-type]
    assert repainted.passed
    assert repainted.faces[0].judged_by == "pixels"
    for unchanged in (flat(50), flat(60)):  # the second is a mere change of brightness
        assert not audit(flat(50), [wall], unchanged, **fakes).passed  # type: ignore[arg-type]


def test_a_person_who_was_missed_does_not_pass() -> None:
    rows = {50: (0.0, 0.0), 100: (1.0, 0.0), 200: (0.0, 1.0)}
    original, result = flat(50, 100), flat(200, 100, noise=1)
    result[:, 40:] = original[:, 40:]
    verdict = audit(
        original, [face_at(0)], result,
        recogniser=FakeRecogniser(rows), detector=FakeDetector(face_at(40)),  # type: ignore[arg-type]
    )  # fmt: skip
    assert verdict.faces[0].passed
    assert not verdict.passed
    assert "missed" in verdict.reasons[0]


def test_a_face_that_moved_is_found(
    recogniser: Recogniser, detector: FaceDetector, face: Face
) -> None:
    """The original, a third of an eye distance aside: its own points must be looked at too."""
    moved = np.roll(ASTRONAUT, round(face.eye_distance_px * 0.35), axis=1)
    verdict = audit(
        ASTRONAUT, [face], moved, recogniser=recogniser, detector=detector, threshold=0.3
    )
    assert not verdict.passed
    assert (verdict.faces[0].distance or 0) < 0.2, "by the original's points alone it is beyond 0.3"


def test_a_verdict_cannot_contradict_itself() -> None:
    failed = FaceVerdict(passed=False, judged_by="pixels", distance=None, changed=0, reason="x")
    for faces in ((failed,), ()):
        with pytest.raises(SettingError):
            Verdict(passed=True, threshold=0.6, faces=faces, reasons=())


def test_source_embeddings_can_be_given(
    recogniser: Recogniser, detector: FaceDetector, face: Face
) -> None:
    result, source = scrambled(ASTRONAUT, face), recogniser.embed(ASTRONAUT, [face])
    tools = {"recogniser": recogniser, "detector": detector}
    given = audit(ASTRONAUT, [face], result, source=source, **tools)  # type: ignore[arg-type]
    assert given == audit(ASTRONAUT, [face], result, **tools)  # type: ignore[arg-type]
    with pytest.raises(SettingError):
        audit(ASTRONAUT, [face, face], result, source=source, **tools)  # type: ignore[arg-type]


def test_wrong_threshold(recogniser: Recogniser, detector: FaceDetector, face: Face) -> None:
    for threshold in (0.0, float("nan")):
        with pytest.raises(SettingError):
            audit(
                ASTRONAUT, [face], ASTRONAUT,
                recogniser=recogniser, detector=detector, threshold=threshold,
            )  # fmt: skip


def test_embeddings_show_their_shape_only(recogniser: Recogniser, face: Face) -> None:
    embeddings = recogniser.embed(ASTRONAUT, [face])
    assert repr(embeddings) == "Embeddings(shape=(1, 128))"
    assert embeddings.present.tolist() == [True]


def test_a_face_too_small_has_no_row(recogniser: Recogniser, face: Face) -> None:
    small = Face(box_xyxy=(0, 0, 9, 9), points_xy=face.points_xy / 10, score=0.9)
    embeddings = recogniser.embed(ASTRONAUT, [small, face])
    assert embeddings.present.tolist() == [False, True]
    assert np.isnan(embeddings.distances(embeddings)[0]).all()


def test_distances_are_those_of_every_pair() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(7, 128)), rng.normal(size=(5, 128))
    other[1] = one[2]
    one[3], other[4, 0] = np.nan, np.nan
    found = Embeddings(rows=one).distances(Embeddings(rows=other))
    assert np.array_equal(found, np.linalg.norm(one[:, None] - other, axis=-1), equal_nan=True)
    assert found[2, 1] == 0
    assert np.isnan(found).sum() == 5 + 6
    nobody = Embeddings(rows=np.empty((0, 128)))
    assert nobody.distances(Embeddings(rows=other)).shape == (0, 5)
    assert Embeddings(rows=other).distances(nobody).shape == (5, 0)


def test_a_face_of_a_crowd_has_the_embedding_it_has_alone(
    recogniser: Recogniser, face: Face
) -> None:
    crowd = [
        Face(box_xyxy=face.box_xyxy, points_xy=face.points_xy + shift, score=0.9)
        for shift in range(5)
    ]
    crowd.insert(1, Face(box_xyxy=(0, 0, 9, 9), points_xy=face.points_xy / 10, score=0.9))
    together = recogniser.embed(ASTRONAUT, crowd).rows
    alone = np.concatenate([recogniser.embed(ASTRONAUT, [one]).rows for one in crowd])
    assert np.array_equal(together, alone, equal_nan=True)
    assert np.isnan(together[1]).all()
    assert recogniser.embed(ASTRONAUT, []).rows.shape == (0, 128)


def test_the_size_of_a_picture_hardly_matters(
    recogniser: Recogniser, detector: FaceDetector, face: Face
) -> None:
    """Also where the chip is cut from a shrunk neighbourhood."""
    large = cv2.resize(ASTRONAUT, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    eight = Face(
        box_xyxy=tuple(8 * side for side in face.box_xyxy),  # type: ignore[arg-type]
        points_xy=(face.points_xy + 0.5) * 8 - 0.5,
        score=0.9,
    )
    one, other = recogniser.embed(ASTRONAUT, [face]), recogniser.embed(large, [eight])
    assert one.distances(other)[0, 0] < 0.2
    assert (
        np.abs(_chip(large, eight.points_xy).astype(int) - _chip(ASTRONAUT, face.points_xy)).mean()
        < 8
    )


def test_alignment_is_a_similarity() -> None:
    points = np.random.default_rng(0).normal(size=(5, 2)) * 50
    matrix = _alignment(points)
    turn = matrix[:, :2]
    assert turn @ turn.T == pytest.approx(np.eye(2) * np.linalg.det(turn))
