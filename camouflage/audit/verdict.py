"""Judge a result against its original, face by face. What cannot be judged does not pass.

* A face passes if the result's face at its place is further from it than the threshold, aligned by
  the *original's* points (so a face that no detector finds any more does not pass by itself) and
  again by the points found on the result.
* The result's face must not be another person of the same picture either: closer to source face j
  than source faces i and j were to each other (relatives, look-alikes), and under the threshold.
* Every face must have changed pixels where it is, with neither its structure nor a third of its
  details left (:mod:`.kept`): noise, JPEG, another brightness, inverted colours, a cloak against
  recognisers, a bar over the eyes. For a face that is too small for the recogniser, or that was
  found with a low score and may be a wall, this is all that is asked; also for a certain detection
  that the recogniser takes for no face at all, for to it all walls are one person.
* Nobody may be left over: a face that is found on the result, was none of the original's, and whose
  pixels are those of the original was missed and stands there as it was.
* Nobody may turn up elsewhere: a face that is found on the result at no original face's place must
  be none of the original's people (a face that was moved, turned, mirrored or pasted again).

What it cannot see. Who the detector does not find on the original is not judged (`leftovers` finds
some of them). A face below 8 px of eye distance or below a score of 0.5 is judged by its pixels
alone: noise of 20 levels, JPEG below 75 or a move to another place get it through. A bar over half
of the face and its eyes passes, as does a blur that dlib cannot see through. A certain face that is
so dark or blurred that the recogniser sees nothing in the original (see `sees_nothing`) is judged
by its pixels too. Faces below 48 px have no rule for a half that stays. Clothes, gait, text and
places are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from camouflage.audit.kept import Kept, leftovers
from camouflage.audit.people import People
from camouflage.audit.recogniser import Embeddings, Recogniser
from camouflage.audit.redrawn import bodies_left, missed, not_redrawn
from camouflage.errors import SettingError
from camouflage.subjects.faces import Face, FaceDetector, overlap
from camouflage.subjects.persons import Body


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
    """The audit of one picture: ``faces`` in the order of the original's faces.

    ``whole``: all of the picture was redrawn, and is not the original any more; such a picture may
    pass without a face.
    """

    passed: bool
    threshold: float
    faces: tuple[FaceVerdict, ...]
    reasons: tuple[str, ...]
    whole: bool = False

    @property
    def beyond_faces(self) -> bool:
        """Whether something is wrong that no new face of those judged would mend."""
        return len(self.reasons) > sum(not face.passed for face in self.faces)

    def __post_init__(self) -> None:
        judged = bool(self.faces) or self.whole
        judged &= all(face.passed for face in self.faces)
        if self.passed and not (judged and not self.reasons):
            raise SettingError("a verdict cannot pass with a failed face, a reason, or no face")


def audit(
    original: np.ndarray,
    faces: Sequence[Face],
    result: np.ndarray,
    *,
    recogniser: Recogniser,
    detector: FaceDetector,
    source: Embeddings | None = None,
    changed: np.ndarray | None = None,
    whole: bool = False,
    bodies: Sequence[Body] = (),
    threshold: float = 0.6,
    random_weights: bool = False,
) -> Verdict:
    """Judge ``result`` against ``original``, uint8 ``(H, W, 3)`` both, with the original's faces.

    ``source``: ``recogniser.embed(original, faces)``, for one who audits several attempts.
    ``changed``: bool ``(H, W)``, where new pixels were painted; the rest is taken to be the
    original's, so faces are then looked for only around the original's faces. None: not known, the
    whole result is searched. ``whole``: all of it was redrawn; then it passes without a face to
    judge, but not if it is still the original. ``bodies`` that were redrawn: none of them may be
    the original's. With either, who is seen on the result only is judged too.
    ``random_weights`` of the model: the verdict never passes.
    """
    if not 0 < threshold <= 2:
        raise SettingError(f"expected a threshold in (0, 2], got {threshold}")
    if problem := _unusable(original, result, changed):
        judged = tuple(_failed(problem) for _ in faces)
        reasons: list[str] = [problem]
    else:
        everywhere = changed is None or whole or bool(bodies)
        seen = _seen_on_result(detector, result, faces, everywhere=everywhere)
        source = source or recogniser.embed(original, faces)
        people = People.of(source, faces, recogniser=recogniser)
        to_source = people.distances(result, seen, threshold=threshold)
        judged = tuple(
            _judged(i, people, original, result, changed, to_source[i], threshold=threshold)
            for i in range(len(faces))
        )
        reasons = [face.reason for face in judged if not face.passed]
        reasons += leftovers(original, faces, result, seen)
        reasons += people.elsewhere(result, seen, threshold=threshold)
        if whole or bodies:
            strict = {"recogniser": recogniser, "threshold": threshold}
            reasons += missed(original, faces, result, seen, **strict)
            reasons += bodies_left(original, result, bodies)
        if whole and (same := not_redrawn(original, result)):
            reasons.append(f"the scene is still the original: {same}")
    if not faces and not whole:
        reasons.append("there was no face to judge")
    if random_weights:
        reasons.append("the model has random weights: its results never pass")
    return Verdict(
        passed=not reasons,
        threshold=threshold,
        faces=judged,
        reasons=tuple(reasons),
        whole=whole,
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
        seen += [
            f for f in near if all(overlap(f.box_xyxy, other.box_xyxy) < 0.5 for other in seen)
        ]
    return seen


def _judged(
    i: int,
    people: People,
    original: np.ndarray,
    result: np.ndarray,
    painted: np.ndarray | None,
    to_source: np.ndarray,
    *,
    threshold: float,
) -> FaceVerdict:
    face = people.faces[i]
    kept = Kept(face)
    share = kept.changed(original, result)
    distance = float(to_source[i])
    by_recogniser = bool(people.known[i])
    reason = kept.too_much(original, result, painted, changed=share)
    if by_recogniser and not reason:
        if not distance > threshold:  # NaN does not pass
            reason = f"distance {distance:.3f}, expected more than {threshold:g}"
        else:
            reason = people.someone_else(i, to_source, threshold=threshold)
        if reason and people.no_face(i):
            reason, by_recogniser = "", False
    return FaceVerdict(
        passed=not reason,
        judged_by="recogniser" if by_recogniser else "pixels",
        distance=distance if by_recogniser and np.isfinite(distance) else None,
        changed=share,
        reason=f"face {i + 1} of {len(people.faces)}: {reason}" if reason else "",
    )
