"""Judge a result against its original, face by face. What cannot be judged does not pass.

* A face passes if the result's face at its place is further from it than the threshold, aligned by
  the *original's* points (so a face that no detector finds any more does not pass by itself) and
  again by the points found on the result.
* The result's face must not be another person of the same picture either: closer to source face j
  than source faces i and j were to each other (relatives, look-alikes), and under the threshold.
* Every face must have changed pixels where it is. For a face that is too small for the recogniser,
  or that was found with a low score and may be a wall, this is all that is asked.
* Nobody may be left over: a face that is found on the result, was none of the original's, and whose
  pixels are those of the original was missed and stands there as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from camouflage.audit.recogniser import Embeddings, Recogniser
from camouflage.errors import SettingError
from camouflage.subjects.centerface import iou
from camouflage.subjects.faces import Face, FaceDetector

LOW_SCORE = 0.5  # found below this, it may be no face at all
CHANGED_LEVELS = 4  # a pixel differs if a channel differs by more; JPEG noise is below
SAME_POINTS = 0.1  # of the eye distance: CenterFace's own scatter, which the recogniser forgives
MIN_CHANGED = 0.2  # of the pixels in the ellipse of a face's box; our choice, no paper gives it
MIN_PAINTED = 0.5  # of the same ellipse, if it is known what was painted; our choice


@dataclass(frozen=True, kw_only=True)
class FaceVerdict:
    """One face. ``distance`` (dlib, Euclidean) is None where the recogniser could not judge.

    ``changed``: share of the face's ellipse whose pixels changed, 0 to 1. ``reason``: empty if it
    passed.
    """

    passed: bool
    judged_by: Literal["recogniser", "pixels"]
    distance: float | None
    changed: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The audit of one picture: ``faces`` in the order of the original's faces."""

    passed: bool
    threshold: float
    faces: tuple[FaceVerdict, ...]
    reasons: tuple[str, ...]
    trusted_model: bool

    def __post_init__(self) -> None:
        judged = bool(self.faces) and all(face.passed for face in self.faces)
        if self.passed and not (judged and self.trusted_model and not self.reasons):
            raise SettingError("a verdict cannot pass with a failed face, a reason, or no face")

    @property
    def distances(self) -> tuple[float | None, ...]:
        """The distance of every face, None where there is none."""
        return tuple(face.distance for face in self.faces)


def audit(
    original: np.ndarray,
    faces: Sequence[Face],
    result: np.ndarray,
    *,
    recogniser: Recogniser,
    detector: FaceDetector,
    source: Embeddings | None = None,
    changed: np.ndarray | None = None,
    threshold: float = 0.6,
    trusted_model: bool = True,
) -> Verdict:
    """Judge ``result`` against ``original``, uint8 ``(H, W, 3)`` both, with the original's faces.

    ``source``: ``recogniser.embed(original, faces)``, for one who audits several attempts.
    ``changed``: bool ``(H, W)``, where new pixels were painted; the rest is taken to be the
    original's, so faces are then looked for only around the original's faces. None: not known, the
    whole result is searched. ``trusted_model`` False (random weights): the verdict never passes.
    """
    if not 0 < threshold <= 2:
        raise SettingError(f"expected a threshold in (0, 2], got {threshold}")
    if problem := _unusable(original, result, changed):
        judged = tuple(_failed(problem) for _ in faces)
        reasons: list[str] = [problem]
    else:
        seen = _seen_on_result(detector, result, faces, everywhere=changed is None)
        source = source or recogniser.embed(original, faces)
        distances = _Distances.measured(source, faces, result, seen, recogniser=recogniser)
        judged = tuple(
            _judged(i, faces, original, result, changed, distances, threshold=threshold)
            for i in range(len(faces))
        )
        reasons = [face.reason for face in judged if not face.passed]
        reasons += _leftovers(original, faces, result, seen)
    if not faces:
        reasons.append("there was no face to judge")
    if not trusted_model:
        reasons.append("the model has random weights: its results never pass")
    return Verdict(
        passed=not reasons,
        threshold=threshold,
        faces=judged,
        reasons=tuple(reasons),
        trusted_model=trusted_model,
    )


def _unusable(original: np.ndarray, result: np.ndarray, changed: np.ndarray | None) -> str:
    if original.dtype != np.uint8 or original.ndim != 3:
        return f"expected an original uint8 (H, W, 3), got {original.dtype} {original.shape}"
    if result.dtype != np.uint8 or result.shape != original.shape:
        return f"expected a result uint8 {original.shape}, got {result.dtype} {result.shape}"
    if changed is not None and (changed.dtype != bool or changed.shape != original.shape[:2]):
        return f"expected a mask bool {original.shape[:2]}, got {changed.dtype} {changed.shape}"
    return ""


def _failed(reason: str) -> FaceVerdict:
    return FaceVerdict(passed=False, judged_by="pixels", distance=None, changed=0.0, reason=reason)


def _seen_on_result(
    detector: FaceDetector, result: np.ndarray, faces: Sequence[Face], *, everywhere: bool
) -> list[Face]:
    if everywhere:
        return list(detector.detect(result))
    seen: list[Face] = []
    for face in faces:
        near = detector.detect_near(result, face)
        seen += [f for f in near if all(_overlap(f, other) < 0.5 for other in seen)]
    return seen


@dataclass(frozen=True, kw_only=True, eq=False)
class _Distances:
    """``to_source[i, j]``: how near result face i comes to source face j; NaN if not comparable.

    ``among_sources[i, j]``: of the source faces to each other.
    """

    to_source: np.ndarray
    among_sources: np.ndarray

    @classmethod
    def measured(
        cls,
        source: Embeddings,
        faces: Sequence[Face],
        result: np.ndarray,
        seen: Sequence[Face],
        *,
        recogniser: Recogniser,
    ) -> _Distances:
        if len(source.rows) != len(faces):
            raise SettingError(f"expected {len(faces)} source embeddings, got {source!r}")
        to_source = recogniser.embed(result, faces).distances(source)
        pairs = [(i, s) for i, f in enumerate(faces) for s in seen if _is_elsewhere(f, s)]
        seen_to_source = recogniser.embed(result, [s for _, s in pairs]).distances(source)
        for (i, _), distances in zip(pairs, seen_to_source, strict=True):
            to_source[i] = np.fmin(to_source[i], distances)
        return cls(to_source=to_source, among_sources=source.distances(source))


def _judged(
    i: int,
    faces: Sequence[Face],
    original: np.ndarray,
    result: np.ndarray,
    painted: np.ndarray | None,
    distances: _Distances,
    *,
    threshold: float,
) -> FaceVerdict:
    ellipse = _Ellipse(faces[i])
    share = ellipse.changed(original, result)
    distance = float(distances.to_source[i, i])
    by_recogniser = faces[i].score >= LOW_SCORE and bool(np.isfinite(distances.among_sources[i, i]))
    if share < MIN_CHANGED:
        reason = f"{share:.0%} of the pixels changed, expected {MIN_CHANGED:.0%} or more"
    elif painted is not None and ellipse.share(painted) < MIN_PAINTED:
        reason = f"{ellipse.share(painted):.0%} was painted, expected {MIN_PAINTED:.0%} or more"
    elif by_recogniser and not distance > threshold:  # NaN does not pass
        reason = f"distance {distance:.3f}, expected more than {threshold:g}"
    elif by_recogniser:
        reason = _someone_else(i, distances, threshold=threshold)
    else:
        reason = ""
    return FaceVerdict(
        passed=not reason,
        judged_by="recogniser" if by_recogniser else "pixels",
        distance=distance if np.isfinite(distance) else None,
        changed=share,
        reason=f"face {i + 1} of {len(faces)}: {reason}" if reason else "",
    )


def _someone_else(i: int, distances: _Distances, *, threshold: float) -> str:
    for j, distance in enumerate(distances.to_source[i]):
        limit = min(threshold, float(np.nan_to_num(distances.among_sources[i, j], nan=0.0)))
        if j != i and distance < limit:
            return f"distance {distance:.3f} to face {j + 1}, expected {limit:.3f} or more"
    return ""


def _leftovers(
    original: np.ndarray, faces: Sequence[Face], result: np.ndarray, seen: Sequence[Face]
) -> list[str]:
    new = [f for f in seen if f.score >= LOW_SCORE and not any(_overlap(f, g) > 0.1 for g in faces)]
    kept = [f for f in new if _Ellipse(f).changed(original, result) < MIN_CHANGED]
    return [f"a person at {face.box_xyxy} was missed and is unchanged" for face in kept]


def _is_elsewhere(face: Face, seen: Face) -> bool:
    """Seen at the face's place, but with other points: worth another look of the recogniser."""
    shift_px = np.linalg.norm(face.points_xy - seen.points_xy, axis=1).mean()
    return _overlap(face, seen) > 0.3 and shift_px > SAME_POINTS * face.eye_distance_px


def _overlap(face: Face, other: Face) -> float:
    boxes = np.array([other.box_xyxy], dtype=np.float64)
    return float(iou(np.array(face.box_xyxy, dtype=np.float64), boxes)[0])


class _Ellipse:
    """The pixels of the ellipse inside a face's box; of a large one, every second, third, ..."""

    def __init__(self, face: Face) -> None:
        x0, y0, x1, y1 = face.box_xyxy
        step = max(1, face.size_px // 128)
        self._window = slice(y0, y1, step), slice(x0, x1, step)
        y, x = np.ogrid[self._window]
        radius_y, radius_x = (y1 - y0) / 2, (x1 - x0) / 2
        beside = ((y + 0.5 - y0) / radius_y - 1) ** 2 + ((x + 0.5 - x0) / radius_x - 1) ** 2
        self._inside = beside <= 1

    def share(self, mask: np.ndarray) -> float:
        """How much of the ellipse is in a bool mask ``(H, W)``."""
        return float(mask[self._window][self._inside].mean())

    def changed(self, original: np.ndarray, result: np.ndarray) -> float:
        """The share of pixels that differ, after one shift of each channel is taken out.

        A mere change of brightness or tint keeps the face, so it does not count.
        """
        before, after = (
            p[self._window][self._inside].astype(np.float32) for p in (original, result)
        )
        difference = after - before
        difference -= np.median(difference, axis=0)
        return float((np.abs(difference).max(axis=1) > CHANGED_LEVELS).mean())
