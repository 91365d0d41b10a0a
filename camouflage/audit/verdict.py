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

from camouflage.audit.kept import Kept
from camouflage.audit.recogniser import Embeddings, Recogniser
from camouflage.errors import SettingError
from camouflage.subjects.centerface import iou
from camouflage.subjects.faces import Face, FaceDetector

LOW_SCORE = 0.5  # found below this, it may be no face at all
SAME_POINTS = 0.1  # of the eye distance: CenterFace's own scatter, which the recogniser forgives
SAME_PLACE = 0.3  # intersection over union of two boxes from which they are one place
LOW_SCORE_LIMIT = 0.5  # dlib: of 52 walls to 52 faces 2 % are nearer than 0.6, none than 0.52
MIN_CHANGED = 0.2  # of the pixels in the ellipse of a face's box; our choice, no paper gives it
MIN_PAINTED = 0.5  # of the same ellipse, if it is known what was painted; our choice
MAX_STRUCTURE = 0.92  # the highest of 50 redrawn faces of all sizes is 0.90
MAX_DETAILS = 0.35  # 22 of 23 redrawn faces are below 0.26
DETAILS_FROM_PX = 48  # of a box: smaller redrawn faces have their coarse details where they were


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
        people = _People.of(source, faces, recogniser=recogniser)
        to_source = _distances(people, result, seen, threshold=threshold)
        judged = tuple(
            _judged(i, people, original, result, changed, to_source[i], threshold=threshold)
            for i in range(len(faces))
        )
        reasons = [face.reason for face in judged if not face.passed]
        reasons += leftovers(original, faces, result, seen)
        reasons += _elsewhere(people, result, seen, threshold=threshold)
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
class _People:
    """The original's faces and how the recogniser sees them.

    ``known``: bool (N,), those it can judge by what the detector says of them. ``among[i, j]``: of
    the source faces to each other, NaN if not comparable.
    """

    faces: Sequence[Face]
    source: Embeddings
    known: np.ndarray
    among: np.ndarray
    recogniser: Recogniser

    @classmethod
    def of(cls, source: Embeddings, faces: Sequence[Face], *, recogniser: Recogniser) -> _People:
        if len(source.rows) != len(faces):
            raise SettingError(f"expected {len(faces)} source embeddings, got {source!r}")
        certain = np.array([face.score >= LOW_SCORE for face in faces], dtype=bool)
        return cls(
            faces=faces,
            source=source,
            known=certain & source.present,
            among=source.distances(source),
            recogniser=recogniser,
        )

    def no_face(self, i: int) -> bool:
        """Does the recogniser see nothing in source face i? Costs an embedding, once a recogniser:
        asked only of a face that would fail."""
        return bool(self.recogniser.sees_nothing(Embeddings(rows=self.source.rows[i : i + 1]))[0])


def _distances(
    people: _People, result: np.ndarray, seen: Sequence[Face], *, threshold: float
) -> np.ndarray:
    """``[i, j]``: how near result face i comes to source face j; NaN if not judged by that.

    A face that fails by the original's points is not looked at by its own as well.
    """
    faces, source, embed = people.faces, people.source, people.recogniser.embed
    to_source = np.full((len(faces), len(faces)), np.nan)
    known = np.flatnonzero(people.known).tolist()
    if not known:
        return to_source
    to_source[known] = embed(result, [faces[i] for i in known]).distances(source)
    undecided = [i for i in known if to_source[i, i] > threshold]
    pairs = [(i, s) for i in undecided for s in seen if _at_other_points(faces[i], s)]
    if pairs:
        distances = embed(result, [s for _, s in pairs]).distances(source)
        for (i, _), row in zip(pairs, distances, strict=True):
            to_source[i] = np.fmin(to_source[i], row)
    return to_source


def _judged(
    i: int,
    people: _People,
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
    reason = _too_much_kept(kept, face, original, result, painted, changed=share)
    if by_recogniser and not reason:
        if not distance > threshold:  # NaN does not pass
            reason = f"distance {distance:.3f}, expected more than {threshold:g}"
        else:
            reason = _someone_else(i, people, to_source, threshold=threshold)
        if reason and people.no_face(i):
            reason, by_recogniser = "", False
    return FaceVerdict(
        passed=not reason,
        judged_by="recogniser" if by_recogniser else "pixels",
        distance=distance if by_recogniser and np.isfinite(distance) else None,
        changed=share,
        reason=f"face {i + 1} of {len(people.faces)}: {reason}" if reason else "",
    )


def _too_much_kept(
    kept: Kept,
    face: Face,
    original: np.ndarray,
    result: np.ndarray,
    painted: np.ndarray | None,
    *,
    changed: float,
) -> str:
    if not changed >= MIN_CHANGED:  # NaN does not pass, here and below
        return f"{changed:.0%} of the pixels changed, expected {MIN_CHANGED:.0%} or more"
    if painted is not None and not (share := kept.share(painted)) >= MIN_PAINTED:
        return f"{share:.0%} was painted, expected {MIN_PAINTED:.0%} or more"
    if not (structure := kept.structure(original, result)) <= MAX_STRUCTURE:
        return f"its structure is kept to {structure:.0%}, expected {MAX_STRUCTURE:.0%} or less"
    if face.size_px < DETAILS_FROM_PX:
        return ""
    if not (details := kept.details(original, result)) <= MAX_DETAILS:
        return f"{details:.0%} of its details are as before, expected {MAX_DETAILS:.0%} or less"
    return ""


def _someone_else(i: int, people: _People, to_source: np.ndarray, *, threshold: float) -> str:
    for j, distance in enumerate(to_source):
        limit = min(threshold, float(np.nan_to_num(people.among[i, j], nan=0.0)))
        if j != i and distance < limit and not people.no_face(j):
            return f"distance {distance:.3f} to face {j + 1}, expected {limit:.3f} or more"
    return ""


def leftovers(
    original: np.ndarray, faces: Sequence[Face], result: np.ndarray, seen: Sequence[Face]
) -> list[str]:
    new = [f for f in seen if f.score >= LOW_SCORE and not any(_overlap(f, g) > 0.1 for g in faces)]
    kept = [f for f in new if Kept(f).changed(original, result) < MIN_CHANGED]
    return [f"a person at {face.box_xyxy} was missed and is unchanged" for face in kept]


def _elsewhere(
    people: _People, result: np.ndarray, seen: Sequence[Face], *, threshold: float
) -> list[str]:
    """The original's people at a place where nobody was."""
    strangers = [s for s in seen if all(_overlap(s, f) <= SAME_PLACE for f in people.faces)]
    if not strangers or not people.known.any():
        return []
    reasons = []
    distances = people.recogniser.embed(result, strangers).distances(people.source)
    for stranger, row in zip(strangers, distances, strict=True):
        certain = stranger.score >= LOW_SCORE
        limit = threshold if certain else min(threshold, LOW_SCORE_LIMIT)
        for j in np.flatnonzero(people.known & (row <= limit)):  # NaN: too small to be known
            if not people.no_face(int(j)):
                reasons.append(
                    f"the person of face {j + 1} is seen at {stranger.box_xyxy}, "
                    f"distance {row[j]:.3f}, expected more than {limit:g}"
                )
    return reasons


def _at_other_points(face: Face, seen: Face) -> bool:
    """Seen at the face's place, but with other points: worth another look of the recogniser."""
    shift_px = np.linalg.norm(face.points_xy - seen.points_xy, axis=1).mean()
    return _overlap(face, seen) > SAME_PLACE and shift_px > SAME_POINTS * face.eye_distance_px


def _overlap(face: Face, other: Face) -> float:
    boxes = np.array([other.box_xyxy], dtype=np.float64)
    return float(iou(np.array(face.box_xyxy, dtype=np.float64), boxes)[0])
