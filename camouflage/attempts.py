"""A picture between two attempts, and the record of what was tried on each of its faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from camouflage.audit import Embeddings, Verdict
from camouflage.compose import Patch, compose
from camouflage.obfuscate import Box, Obfuscation, grown, obfuscated
from camouflage.picture import Picture
from camouflage.subjects.crops import AlignedCrop
from camouflage.subjects.faces import Face
from camouflage.subjects.given import GivenFace

if TYPE_CHECKING:
    from camouflage.ground import Ground

AttemptMethod = Literal["redrawn", "solid", "pixelate", "blur"]

COVER_MARGIN = 0.15
"""By how much of its sides a box grows before it is covered: CenterFace's boxes are tight."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """One face or body, ready to be redrawn. ``name`` binds its noise.

    ``pixels`` (side, side, 3) uint8, ``region`` (side, side) bool, ``points_xy``: landmarks (P, 2)
    in pixels of the crop, for models whose maps are drawn from them. ``faces``: those that are
    known to be in the crop, in its pixels: the one it was made for first. ``visible`` (side, side)
    bool: where the picture is, beyond whose border a crop repeats it; None is everywhere.
    ``embedding`` (128,): the recogniser's, of the face in the picture; None where it sees no face,
    or too small a one, or nobody asked. ``finer`` (n side, n side, 3) uint8: the crop with more of
    the picture's detail, where it has more and what is redrawn will, too.
    """

    name: str
    crop: AlignedCrop
    pixels: NDArray[np.uint8]
    region: NDArray[np.bool_]
    points_xy: NDArray[np.float64] | None
    faces: tuple[Face, ...] = ()
    visible: NDArray[np.bool_] | None = None
    embedding: NDArray[np.float64] | None = field(default=None, repr=False)
    finer: NDArray[np.uint8] | None = field(default=None, repr=False)

    def patch(self, redrawn: NDArray[np.uint8]) -> Patch:
        """``redrawn`` (side, side, 3) uint8 where this face was, or n times as fine."""
        factor = redrawn.shape[0] // self.crop.side
        crop = self.crop if factor == 1 else self.crop.resized(redrawn.shape[0])
        return Patch(crop=crop, pixels=redrawn, region=self.region_of(factor))

    def region_of(self, factor: int) -> NDArray[np.bool_]:
        """The region of the crop ``factor`` times as fine."""
        return self.region.repeat(factor, 0).repeat(factor, 1)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What was tried on one face, and dlib's distance after it.

    ``anonymization_scale`` and ``strength`` are None where the face was covered, not redrawn; the
    scale also with the method light, which has none. ``distance`` is None where it could not be
    compared and was judged by its pixels.
    """

    method: AttemptMethod
    anonymization_scale: float | None
    strength: float | None
    distance: float | None
    passed: bool


@dataclass(frozen=True, kw_only=True)
class FaceRecord:
    """What happened to one face: its box, how it ended, and every attempt at it."""

    box_xyxy: tuple[int, int, int, int]
    score: float
    method: Literal["redrawn", "obfuscated"]
    attempts: tuple[Attempt, ...]

    @property
    def distances(self) -> tuple[float | None, ...]:
        """dlib's distance after each attempt."""
        return tuple(attempt.distance for attempt in self.attempts)


@dataclass(kw_only=True, eq=False)
class Work:
    """A picture between two attempts. ``pixels`` and ``changed`` are those of the last one.

    ``ground``: what the redrawn faces lie on.
    """

    picture: Picture
    faces: Sequence[Face]
    subjects: Sequence[Subject]
    source: Embeddings
    ground: Ground = field(init=False)
    pixels: NDArray[np.uint8] = field(init=False)
    changed: NDArray[np.bool_] = field(init=False)
    verdict: Verdict | None = field(init=False, default=None)
    pending: list[int] = field(init=False)
    due: list[int] = field(init=False)
    """The faces that are to be redrawn as crops in this attempt."""
    _tried: list[int] = field(init=False)
    _redrawn: dict[int, NDArray[np.uint8]] = field(init=False, default_factory=dict)
    _attempts: list[list[Attempt]] = field(init=False)

    def __post_init__(self) -> None:
        self.pending = list(range(len(self.faces)))
        self._attempts = [[] for _ in self.faces]

    def lay(self, ground: Ground) -> None:
        """Begin anew on another ground: every face is pending, those it hides are not due."""
        self.ground = ground
        self.pending = list(range(len(self.faces)))
        self.due = [i for i in self.pending if i not in ground.hidden]
        self._redrawn = {}

    def paint(self, redrawn: Sequence[NDArray[np.uint8]]) -> None:
        """Compose with new faces in the place of those that are due."""
        self._redrawn |= dict(zip(self.due, redrawn, strict=True))
        order = [i for i in paste_order(self.faces) if i in self._redrawn]
        patches = [self.subjects[i].patch(self._redrawn[i]) for i in order]
        self.pixels, painted = compose(self.ground.pixels, patches)
        self.changed = painted | self.ground.changed

    def cover(self, method: Obfuscation) -> None:
        """Cover the boxes of those that are pending, with a margin, over what was painted.

        Of a given face also the boxes of what was found at its place and redrawn with it.
        """
        size_hw = self.picture.size_hw
        boxes = [
            grown(box, margin=COVER_MARGIN, size_hw=size_hw)
            for i in self.pending
            for box in boxes_of(self.faces[i])
        ]
        self.pixels = obfuscated(self.pixels, boxes, method)
        for x0, y0, x1, y1 in boxes:
            self.changed[y0:y1, x0:x1] = True

    @property
    def passed(self) -> bool:
        """Whether the last verdict did."""
        return self.verdict is not None and self.verdict.passed

    @property
    def ground_failed(self) -> bool:
        """Whether the last verdict found something wrong with a ground that is drawn."""
        return self.ground.is_drawn and self.verdict is not None and self.verdict.beyond_faces

    def judge(self, verdict: Verdict) -> None:
        """Take a verdict on `pixels`: faces that did not pass are pending."""
        self.verdict = verdict
        self._tried = self.pending
        self.pending = [i for i, judged in enumerate(verdict.faces) if not judged.passed]
        self.due = self.pending

    def note(
        self, method: AttemptMethod, anonymization_scale: float | None, strength: float | None
    ) -> None:
        """Record what was tried last, and what the audit said."""
        assert self.verdict is not None  # noqa: S101  judge() comes first
        for i in self._tried:
            judged = self.verdict.faces[i]
            self._attempts[i].append(
                Attempt(
                    method=method,
                    anonymization_scale=anonymization_scale,
                    strength=strength,
                    distance=judged.distance,
                    passed=judged.passed,
                )
            )

    def records(self) -> tuple[FaceRecord, ...]:
        """One a face."""
        return tuple(
            FaceRecord(
                box_xyxy=face.box_xyxy,
                score=face.score,
                method="redrawn" if attempts[-1].method == "redrawn" else "obfuscated",
                attempts=tuple(attempts),
            )
            for face, attempts in zip(self.faces, self._attempts, strict=True)
        )


def boxes_of(face: Face) -> tuple[Box, ...]:
    """Its box, and of a given face the boxes of the found ones at its place."""
    also = face.also_xyxy if isinstance(face, GivenFace) else ()
    return (face.box_xyxy, *also)


def paste_order(faces: Sequence[Face]) -> list[int]:
    """Largest first, so that a small face in front of a large one stays on top."""
    return sorted(range(len(faces)), key=lambda i: -faces[i].size_px)
