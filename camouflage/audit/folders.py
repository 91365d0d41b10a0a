"""Judge what any tool made of a file or a folder: ``camouflage audit ORIGINALS RESULTS``.

A result belongs to the original of the same relative path, or else to each original of the same
path but for the suffix (:mod:`.pairs`). Every original ends in a state:

* ``passed`` and ``failed``: a result was judged by :func:`camouflage.audit.audit`.
* ``unreadable``: the original or the result could not be read, or a link leads out of its folder.
* ``nobody``: no face was found in the original, so there was nothing to judge. It fails all the
  same if a face is found on the result that is as it was in the original.
* ``missing``: there is no result. Nobody can be recognised in it; it counts only if all results
  are required.
* ``unpaired``: a picture among the results that belongs to no original, so it cannot be judged. A
  before | after sheet is such a picture, and shows the original. A mask that ``--write-masks`` left
  (NAME.mask.png of an original NAME.*, black and white alone) shows nobody and is passed over.

Result and original may differ in size if their shapes are equal within a pixel: both are judged at
the smaller size. A result also fails if a preview inside its file is nearer to the original than
to the result, if the original is under its transparency, or if bytes follow the picture's end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import cv2
import numpy as np

from camouflage.audit.carried import Carried, carried
from camouflage.audit.kept import leftovers
from camouflage.audit.pairs import Pair
from camouflage.audit.recogniser import Recogniser
from camouflage.audit.verdict import Verdict, audit
from camouflage.errors import CamouflageError, SettingError
from camouflage.picture import Picture
from camouflage.subjects.cover import ellipse
from camouflage.subjects.faces import Face, FaceDetector

State = Literal["passed", "failed", "unreadable", "nobody", "missing", "unpaired"]
STATES: tuple[State, ...] = ("passed", "failed", "unreadable", "nobody", "missing", "unpaired")


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What the audit says of one pair. ``warnings`` are of no consequence for the ``state``."""

    pair: Pair
    state: State
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    faces: tuple[Face, ...] = ()
    verdict: Verdict | None = None

    def as_dict(self) -> dict[str, object]:
        """For JSON: names, state, reasons, warnings, and for each face what was judged."""
        judged = self.verdict.faces if self.verdict else ()
        faces = [
            {"box_xyxy": face.box_xyxy, "score": round(face.score, 4), **asdict(one)}
            for face, one in zip(self.faces, judged, strict=bool(judged))
        ]
        return {
            "original": self.pair.name if self.pair.original else None,
            "result": self.pair.result_name or None,
            "state": self.state,
            "reasons": list(self.reasons),
            "warnings": list(self.warnings),
            "faces": faces,
        }


def summary(found: Sequence[Audited], *, threshold: float, require_all: bool) -> dict[str, object]:
    """Counts by state, and ``passed``: nothing failed, is unreadable or belongs to no original."""
    counts = Counter(one.state for one in found)
    bad = counts["failed"] + counts["unreadable"] + counts["unpaired"]
    bad += counts["missing"] if require_all else 0
    states = {state: counts[state] for state in STATES}
    return {"passed": not bad, "threshold": threshold, "states": states}


def audit_pairs(
    pairs: Sequence[Pair],
    *,
    recogniser: Recogniser,
    detector: FaceDetector,
    threshold: float = 0.6,
) -> Iterator[Audited]:
    """Judge each pair; what goes wrong with one is its state and does not stop the others."""
    if not 0 < threshold <= 2:
        raise SettingError(f"expected a threshold in (0, 2], got {threshold}")
    judge = _Judge(recogniser=recogniser, detector=detector, threshold=threshold)
    for pair in pairs:
        yield _audited(pair, judge)


@dataclass(frozen=True, kw_only=True)
class _Judge:
    recogniser: Recogniser
    detector: FaceDetector
    threshold: float

    def __call__(self, original: np.ndarray, faces: Sequence[Face], result: np.ndarray) -> Verdict:
        return audit(
            original, faces, result,
            recogniser=self.recogniser, detector=self.detector, threshold=self.threshold,
        )  # fmt: skip


def _audited(pair: Pair, judge: _Judge) -> Audited:
    if pair.result is None:
        return Audited(pair=pair, state="missing", reasons=("there is no result",))
    if pair.original is None:
        reason = "it belongs to no original, so it cannot be judged; a sheet shows the original"
        return Audited(pair=pair, state="unpaired", reasons=(reason,))
    if pair.problem:
        return Audited(pair=pair, state="unreadable", reasons=(pair.problem,))
    try:
        original, result = Picture.open(pair.original).pixels, Picture.open(pair.result).pixels
        beside = carried(pair.result.read_bytes())
    except Exception as error:  # noqa: BLE001  one file must not stop the others
        return Audited(pair=pair, state="unreadable", reasons=(_said(error),))
    try:
        faces = judge.detector.detect(original)
        original, faces, result = _at_one_size(original, faces, result)
        if not faces:
            return _nobody(pair, original, result, beside, judge.detector)
        return _judged(pair, original, faces, result, beside, judge)
    except Exception as error:  # noqa: BLE001  what was not judged has not passed
        return Audited(pair=pair, state="failed", reasons=(_said(error),))


def _said(error: Exception) -> str:
    """Without a path; a system's error has one in its text."""
    if isinstance(error, CamouflageError):
        return str(error)
    return getattr(error, "strerror", None) or type(error).__name__


def _nobody(
    pair: Pair, original: np.ndarray, result: np.ndarray, beside: Carried, detector: FaceDetector
) -> Audited:
    reasons, warnings = _file_leaks(original, (), result, beside), _warnings(beside)
    if original.shape == result.shape:
        reasons += leftovers(original, (), result, detector.detect(result))
        under = beside.uncovered
        if under is not None and under.shape == original.shape:
            reasons += leftovers(original, (), under, detector.detect(under))
    else:
        reasons.append("the result has another shape than the original")
    return Audited(
        pair=pair,
        state="failed" if reasons else "nobody",
        reasons=tuple(reasons),
        warnings=tuple(warnings),
    )


def _judged(
    pair: Pair,
    original: np.ndarray,
    faces: Sequence[Face],
    result: np.ndarray,
    beside: Carried,
    judge: _Judge,
) -> Audited:
    verdict = judge(original, faces, result)
    reasons = [*verdict.reasons, *_file_leaks(original, faces, result, beside)]
    if beside.uncovered is not None:
        _, _, uncovered = _at_one_size(original, faces, beside.uncovered)
        under = judge(original, faces, uncovered)
        reasons += [f"under its transparency: {reason}" for reason in under.reasons]
    return Audited(
        pair=pair,
        state="passed" if verdict.passed and not reasons else "failed",
        reasons=tuple(reasons),
        warnings=tuple(_warnings(beside)),
        faces=tuple(faces),
        verdict=verdict,
    )


def _warnings(beside: Carried) -> list[str]:
    found = [f"the result's file has {kind}" for kind in beside.metadata]
    if beside.inside:
        found.append(f"the result's file has {len(beside.inside)} more pictures inside")
    return found


def _at_one_size(
    original: np.ndarray, faces: Sequence[Face], result: np.ndarray
) -> tuple[np.ndarray, Sequence[Face], np.ndarray]:
    """Both at the smaller size if their shapes are equal within a pixel; else as they came."""
    (height, width), (result_height, result_width) = original.shape[:2], result.shape[:2]
    scale = result_width / width
    if original.shape == result.shape or abs(height * scale - result_height) > max(1.0, scale):
        return original, faces, result
    if result_width * result_height > width * height:
        small = cv2.resize(result, (width, height), interpolation=cv2.INTER_AREA)
        return original, faces, small
    size_wh = result_width, result_height
    small = cv2.resize(original, size_wh, interpolation=cv2.INTER_AREA)
    return small, [_resized(face, (width, height), size_wh) for face in faces], result


def _resized(face: Face, from_wh: tuple[int, int], to_wh: tuple[int, int]) -> Face:
    scale = np.array(to_wh) / np.array(from_wh)
    x0, y0, x1, y1 = np.array(face.box_xyxy) * np.tile(scale, 2)
    left, top = int(min(x0, to_wh[0] - 1)), int(min(y0, to_wh[1] - 1))
    right, bottom = min(int(np.ceil(x1)), to_wh[0]), min(int(np.ceil(y1)), to_wh[1])
    return Face(
        box_xyxy=(left, top, max(right, left + 1), max(bottom, top + 1)),
        points_xy=(face.points_xy + 0.5) * scale - 0.5,
        score=face.score,
    )


def _file_leaks(
    original: np.ndarray, faces: Sequence[Face], result: np.ndarray, beside: Carried
) -> list[str]:
    reasons = []
    if any(_shows_original(inside, original, faces, result) for inside in beside.inside):
        reasons.append("a picture inside the result's file shows the original")
    if beside.damaged:
        reasons.append("a picture inside the result's file is damaged and cannot be judged")
    if beside.trailing:
        reasons.append(f"{beside.trailing} bytes behind the picture's end cannot be judged")
    return reasons


def _shows_original(
    inside: np.ndarray, original: np.ndarray, faces: Sequence[Face], result: np.ndarray
) -> bool:
    """Is any face in it nearer to the original's than to the result's?

    It may be stored turned, and in a frame of another shape.
    """
    if original.shape != result.shape or not faces:
        return False  # it has failed for that; or there is nobody whom it could show
    turned = [np.rot90(inside, quarters) for quarters in range(4)]
    errors = np.array([_errors(one, original, faces, result) for one in turned])  # (4, 2, faces)
    upright = errors[errors.min(axis=1).mean(axis=1).argmin()]
    return bool((upright[0] < upright[1]).any())


def _errors(
    inside: np.ndarray, original: np.ndarray, faces: Sequence[Face], result: np.ndarray
) -> np.ndarray:
    """Mean levels ``(2, faces)`` between the faces inside and the original's, the result's."""
    (height, width), (rows, columns) = original.shape[:2], inside.shape[:2]
    scale = min(columns / width, rows / height)
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = max(0, (columns - size_wh[0]) // 2), max(0, (rows - size_wh[1]) // 2)
    part = inside[top : top + size_wh[1], left : left + size_wh[0]].astype(np.float32)
    errors = []
    for picture in (original, result):
        small = cv2.resize(picture, part.shape[1::-1], interpolation=cv2.INTER_AREA)
        off = np.abs(small - part).mean(axis=2)
        boxes = [_resized(face, (width, height), part.shape[1::-1]).box_xyxy for face in faces]
        errors.append([off[b[1] : b[3], b[0] : b[2]][ellipse(b)].mean() for b in boxes])
    return np.array(errors)
