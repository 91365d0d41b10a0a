"""New pixels for crops and for whole pictures: what is the same for every method.

What a recipe means for its pipeline: `camouflage.redraw_base` and `camouflage.redraw_light`.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.annotators import face_region, predict_landmarks
from camouflage.annotators.landmarks import five_points, jittered, outline
from camouflage.attempts import Subject
from camouflage.compose.contrast import match_contrast
from camouflage.errors import OutOfMemory, SettingError
from camouflage.obfuscate import grown
from camouflage.picture import Picture
from camouflage.recipe import Recipe, Rung
from camouflage.subjects.cover import aligned_crop, covered, crop_of
from camouflage.subjects.crops import EYE_DISTANCE, AlignedCrop, sharpened
from camouflage.subjects.faces import Face
from camouflage.subjects.given import GivenFace
from camouflage.subjects.moved import faces_in, scaling

if TYPE_CHECKING:
    from camouflage.compose.upscaling import Upscaler
    from camouflage.pipelines.starts import Starts
    from camouflage.swap.pool import PoolFace

HEAD_MARGIN = 0.2
"""By how much of its sides a face's box grows where no landmarks say what the face is: CenterFace's
boxes end at the brow. Our choice."""

NO_MEMORY = (
    "DefaultCPUAllocator",
    "could not create a memory object",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""How torch and its libraries say that the memory was too small, but for its own exception."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Redrawer(ABC):
    """Which crops, which maps, which numbers: what a recipe means for its pipeline.

    Raises:
        SettingError: the recipe has settings that this pipeline cannot follow.
    """

    recipe: Recipe
    pipeline: Any

    def __post_init__(self) -> None:
        if self.aligned:
            _require_aligned(self.recipe, self.pipeline)
        elif self.recipe.upscaler is not None:
            raise SettingError(
                f"upscaler {self.recipe.upscaler!r} is for aligned faces, and {self.recipe.model} "
                "draws scenes; set it to null"
            )
        _ = self.upscaler  # or what is wrong with it
        self._check()

    @abstractmethod
    def _check(self) -> None:
        """Raises `SettingError` for what this method or its pipeline cannot do."""

    @property
    def aligned(self) -> bool:
        """Whether the pipeline is one of aligned faces."""
        return self.pipeline.config.get("annotators", "aligned_face") == "aligned_face"

    @functools.cached_property
    def upscaler(self) -> Upscaler | None:
        """Of the recipe, on the device of the pipeline."""
        name = self.recipe.upscaler
        if name is None:
            return None
        from camouflage.compose.upscaling import Upscaler

        return Upscaler.load(
            name, side=self.pipeline.config["size_px"], device=self.pipeline.device
        )

    @abstractmethod
    def numbers(self, rung: Rung) -> tuple[float | None, float]:
        """Anonymization scale (None: the method has none) and strength of an attempt."""

    def strength(self, rung: Rung) -> float:
        """The recipe's and the rung's, at most 1."""
        return min(self.recipe.strength + rung.strength, 1.0)

    def subjects(self, picture: Picture, faces: Sequence[Face]) -> list[Subject]:
        """Every face with its crop, landmarks and region, which covers the face's box or mask."""
        side = self.pipeline.config["size_px"]
        if not self.aligned:
            heads = [with_head(face, picture.size_hw) for face in faces]
            crops = [crop_of(head, side=side) for head in heads]
            regions = [covered(head, crop) for head, crop in zip(heads, crops, strict=True)]
            points: list[Any] = [None] * len(faces)
        else:
            crops, regions, points = self._by_landmarks(picture, faces, side)
        pixels = [crop.cut(picture.pixels) for crop in crops]
        return [
            Subject(
                name=f"{picture.sha256}:{face.box_xyxy}",
                crop=crops[i],
                pixels=pixels[i],
                region=regions[i],
                points_xy=points[i],
                faces=faces_in(crops[i], [face]),
                visible=crops[i].inside(picture.size_hw),
                finer=self._finer(picture, crops[i]),
            )
            for i, face in enumerate(faces)
        ]

    def _finer(self, picture: Picture, crop: AlignedCrop) -> NDArray[np.uint8] | None:
        """The crop as fine as the upscaler draws; None without one, or if the face is small."""
        if self.upscaler is None or crop.scale >= 1:
            return None
        return crop.resized(self.upscaler.factor * crop.side).cut(picture.pixels)

    def _by_landmarks(
        self, picture: Picture, faces: Sequence[Face], side: int
    ) -> tuple[list[AlignedCrop], list[NDArray[np.bool_]], list[NDArray[np.float64]]]:
        """Crop, region and landmarks of every face; the network sees the aligned crops, as it did
        when it learned.
        """
        straight = [aligned_crop(face, side=side) for face in faces]
        found = predict_landmarks(
            self.pipeline.landmarker, [crop.cut(picture.pixels) for crop in straight]
        )
        crops, regions, points = [], [], []
        for face, aligned, points_xy in zip(faces, straight, found, strict=True):
            outline_xy = aligned.to_picture(outline(points_xy))
            crop = crop_of(face, side=side, outline_xy=outline_xy)
            points_xy = crop.to_crop(aligned.to_picture(points_xy))
            region = face_region(points_xy, side, moved=crop.from_crop(aligned))
            crops.append(crop)
            regions.append(region | covered(face, crop))
            points.append(points_xy)
        return crops, regions, points

    @property
    def start_pool(self) -> Starts | None:
        """Whose faces the noise is laid over; None = the original's."""
        return None

    def fakes(
        self, subjects: Sequence[Subject], key: str, attempt: int = 0
    ) -> Sequence[PoolFace | None]:
        """Who is put in the place of each subject before it is redrawn: None without a pool."""
        from camouflage.denoise.seeds import generator_for

        pool = self.start_pool
        if pool is None:
            return [None] * len(subjects)
        return [
            pool.fake(
                subject,
                attempt=attempt,
                generator=generator_for(key, f"{subject.name}:start", attempt),
            )
            for subject in subjects
        ]

    def shapes(
        self,
        subjects: Sequence[Subject],
        key: str,
        attempt: int,
        fakes: Sequence[PoolFace | None],
    ) -> list[NDArray[np.float64]]:
        """The landmarks (P, 2) that each aligned face gets in an attempt: a part of the way to its
        fake's own, then shifted at random, by the spread that the recipe says, in its own eye
        distances.
        """
        from camouflage.denoise.seeds import generator_for
        from camouflage.pipelines.starts import towards

        made = []
        for subject, fake in zip(subjects, fakes, strict=True):
            points_xy = subject.points_xy
            assert points_xy is not None  # noqa: S101  an aligned face has landmarks
            five = five_points(points_xy)
            side = float(np.linalg.norm(five[0] - five[1])) / EYE_DISTANCE
            made.append(
                jittered(
                    points_xy if fake is None else towards(points_xy, fake),
                    max(round(side), 1),
                    spread=self.recipe.shape_jitter,
                    generator=generator_for(key, f"{subject.name}:shape", attempt),
                )
            )
        return made

    def crops(
        self, subjects: Sequence[Subject], key: str, attempt: int = 0
    ) -> list[NDArray[np.uint8]]:
        """New pixels for each subject, (side, side, 3) uint8, with the numbers of a rung; of the
        size of its `finer` crop for a subject that has one.

        ``attempt`` counts the rungs of the recipe's ladder from 0; each has other noise. Crops go
        through the model in batches, which are halved where the memory does not suffice, and are
        finished one by one: a face's last bits are the same, whoever is in its batch.

        Raises `OutOfMemory` if one crop alone is too much.
        """
        done: list[NDArray[np.uint8]] = []
        size = self.recipe.face_batch
        while len(done) < len(subjects):
            batch = subjects[len(done) : len(done) + size]
            drawn = _unless_out_of_memory(lambda b=batch: self._drawn(b, key, attempt), len(batch))
            if drawn is None:
                size = len(batch) // 2
            else:
                done += [self._finished(*pair) for pair in zip(batch, drawn, strict=True)]
        return done

    def _finished(self, subject: Subject, drawn: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A crop as the model drew it, in the size, sharpness and contrast that the recipe says.

        Raises `OutOfMemory`.
        """
        crops = _unless_out_of_memory(lambda: [self._finished_one(subject, drawn)], 1)
        assert crops is not None  # noqa: S101  one crop fits or raises
        return crops[0]

    def _finished_one(self, subject: Subject, drawn: NDArray[np.uint8]) -> NDArray[np.uint8]:
        original, factor = subject.pixels, 1
        if subject.finer is not None and self.upscaler is not None:
            original, factor = subject.finer, self.upscaler.factor
            drawn = self.upscaler([drawn])[0]
        crop = sharpened(drawn, self.recipe.sharpen)
        if subject.points_xy is None:
            return crop
        return match_contrast(
            crop,
            original,
            subject.region_of(factor),
            factor * subject.points_xy + (factor - 1) / 2,
            amount=self.recipe.contrast_match,
        )

    @abstractmethod
    def _drawn(self, batch: Sequence[Subject], key: str, attempt: int) -> list[NDArray[np.uint8]]:
        """`crops` of one batch."""

    def frame(
        self,
        pixels: NDArray[np.uint8],
        name: str,
        key: str,
        attempt: int = 0,
        *,
        faces: Sequence[Face] = (),
    ) -> NDArray[np.uint8]:
        """A whole picture anew, (H, W, 3) uint8 as it came, drawn at the recipe's ``scene_px``.

        ``faces``: those that are known to be in it.

        It is scaled to an area of ``scene_px`` x ``scene_px`` with its aspect (sides rounded to
        what the model takes) and the result back, so that detail finer than that is gone; tiles
        would keep it, and with it the seams and the faces between tiles. Our choice.

        Raises `OutOfMemory`.
        """
        view, known = self._view_of(pixels, faces)
        drawn = _unless_out_of_memory(
            lambda: [self._drawn_frame(view, known, name, key, attempt)], 1
        )
        assert drawn is not None  # noqa: S101  one picture fits or raises
        return _resized(drawn[0], pixels.shape[:2])

    @abstractmethod
    def _drawn_frame(
        self,
        view: NDArray[np.uint8],
        faces: Sequence[Face],
        name: str,
        key: str,
        attempt: int,
    ) -> NDArray[np.uint8]:
        """A picture of the model's size anew; ``faces`` are known to be in it, in its pixels."""

    def frame_size_hw(self, size_hw: Sequence[int]) -> tuple[int, int]:
        """At which size `frame` draws a picture of ``size_hw``; longer than 4:1 it is squeezed."""
        multiple, side = self.pipeline.multiple_px, self.recipe.scene_px
        aspect = min(max(size_hw[0] / size_hw[1], 0.25), 4.0)
        sides = [side * math.sqrt(aspect), side / math.sqrt(aspect)]
        height, width = (max(round(one / multiple), 1) * multiple for one in sides)
        return height, width

    @abstractmethod
    def shown(self, subject: Subject, key: str) -> list[NDArray[np.uint8]]:
        """A subject as the model sees it, and what steers it, (h, w, 3) uint8 each."""

    def shown_frame(
        self, pixels: NDArray[np.uint8], faces: Sequence[Face] = ()
    ) -> list[NDArray[np.uint8]]:
        """A whole picture as `frame` shows it to the model, and what steers the first attempt."""
        view, known = self._view_of(pixels, faces)
        return [view, *self._frame_steering(view, known)]

    @abstractmethod
    def _frame_steering(
        self, view: NDArray[np.uint8], faces: Sequence[Face]
    ) -> list[NDArray[np.uint8]]:
        """What steers a picture of the model's size; ``faces`` as in `_drawn_frame`."""

    def _view_of(
        self, pixels: NDArray[np.uint8], faces: Sequence[Face]
    ) -> tuple[NDArray[np.uint8], list[Face]]:
        """The view, and the faces as they lie in it."""
        view = self.view(pixels)
        return view, list(faces_in(scaling(pixels.shape[:2], view.shape[:2]), faces))

    def view(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A whole picture at the size at which `frame` shows it to the model."""
        return _resized(pixels, self.frame_size_hw(pixels.shape[:2]))


def _require_aligned(recipe: Recipe, pipeline: Any) -> None:
    """Raise `SettingError` for what a model of aligned faces cannot do."""
    if pipeline.landmarker is None:
        raise SettingError("scope 'faces' needs a pipeline with a landmark network")
    if recipe.scope != "faces":
        raise SettingError(
            f"scope {recipe.scope!r} needs a model of whole scenes, as sd15 is: "
            f"{recipe.model} knows aligned faces only; use scope 'faces'"
        )
    if recipe.prompt is not None or recipe.negative_prompt is not None:
        raise SettingError(f"{recipe.model} has no text encoder: prompt must be null")


def with_head(face: Face, size_hw: tuple[int, int]) -> Face:
    """``face`` with a box that holds forehead and chin; one with a mask of its own as it is."""
    if isinstance(face, GivenFace) and face.mask is not None:
        return face
    return replace(face, box_xyxy=grown(face.box_xyxy, margin=HEAD_MARGIN, size_hw=size_hw))


def _resized(pixels: NDArray[np.uint8], size_hw: Sequence[int]) -> NDArray[np.uint8]:
    shrinks = size_hw[0] * size_hw[1] < pixels.shape[0] * pixels.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(pixels, (size_hw[1], size_hw[0]), interpolation=how)  # type: ignore[return-value]


def _unless_out_of_memory(
    draw: Callable[[], list[NDArray[np.uint8]]], pictures: int
) -> list[NDArray[np.uint8]] | None:
    """What ``draw`` gives; None if there was no memory and it drew several pictures."""
    try:
        return draw()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if pictures == 1:
            raise OutOfMemory(
                "the model has no memory for one face or scene; free some, use a smaller model or "
                "a smaller scene_px"
            ) from error
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory was too small, which torch also says by plain RuntimeErrors."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return not isinstance(error, OutOfMemory)
    return any(words in str(error) for words in NO_MEMORY)
