"""New pixels for crops and for whole pictures: a pipeline with the numbers of a recipe."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.annotators import draw_maps, face_region, jittered, predict_landmarks
from camouflage.attempts import Subject
from camouflage.errors import OutOfMemory, SettingError
from camouflage.obfuscate import grown
from camouflage.picture import Picture
from camouflage.recipe import Recipe, Rung
from camouflage.subjects.cover import covered, crop_of
from camouflage.subjects.faces import Face
from camouflage.subjects.given import GivenFace

if TYPE_CHECKING:
    from camouflage.pipelines.base import BasePipeline

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
class Steering:
    """What a model of scenes is steered by, the same in every attempt: ``maps`` by control,
    (H, W, 3) uint8, and a ``prompt``, None where there is no text.
    """

    maps: dict[str, NDArray[np.uint8]]
    prompt: str | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Redrawer:
    """Which crops, which maps, which numbers: what a recipe means for its pipeline.

    A pipeline of aligned faces (``mini``) gets its maps drawn here, from landmarks that are shifted
    at random; one of scenes (``sd15``) annotates by itself.

    Raises:
        SettingError: the recipe has settings that this pipeline cannot follow.
    """

    recipe: Recipe
    pipeline: BasePipeline
    _steering: dict[str, Steering] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        recipe, config = self.recipe, self.pipeline.config
        if unknown := sorted(set(recipe.control_weights) - set(config["controls"])):
            raise SettingError(
                f"control_weights: unknown control {unknown}; this pipeline has "
                f"{config['controls']}"
            )
        if self.aligned:
            _require_aligned(recipe, self.pipeline)
        elif recipe.negative_prompt is not None and recipe.text_guidance == 1:
            raise SettingError("negative_prompt: it acts only with a text_guidance other than 1")
        scales = [self.numbers(rung)[0] for rung in recipe.ladder]
        has_net = getattr(self.pipeline, "identity_controlnet", True) is not None
        if recipe.identity == "learned" and not has_net and any(scale != 1 for scale in scales):
            raise SettingError(
                f"identity: {recipe.model} has no identity ControlNet, which every "
                "anonymization_scale but 1 needs; use identity: analytic"
            )

    @property
    def aligned(self) -> bool:
        """Whether the pipeline is one of aligned faces."""
        return self.pipeline.config.get("annotators", "aligned_face") == "aligned_face"

    @property
    def control_weights(self) -> dict[str, float]:
        """The weight of each control in this recipe."""
        return {**self.pipeline.config["default_weights"], **self.recipe.control_weights}

    def numbers(self, rung: Rung) -> tuple[float, float]:
        """Anonymization scale and strength of an attempt."""
        return (
            self.recipe.anonymization_scale + rung.anonymization_scale,
            min(self.recipe.strength + rung.strength, 1.0),
        )

    def subjects(self, picture: Picture, faces: Sequence[Face]) -> list[Subject]:
        """Every face with its crop, landmarks and region, which covers the face's box or mask."""
        side = self.pipeline.config["size_px"]
        heads = [face if self.aligned else with_head(face, picture.size_hw) for face in faces]
        crops = [crop_of(head, side=side) for head in heads]
        pixels = [crop.cut(picture.pixels) for crop in crops]
        regions = [covered(head, crop) for head, crop in zip(heads, crops, strict=True)]
        points: list[Any] = [None] * len(faces)
        if self.aligned:
            points = list(predict_landmarks(self.pipeline.landmarker, pixels))
            regions = [face_region(p, side) | r for p, r in zip(points, regions, strict=True)]
        return [
            Subject(
                name=f"{picture.sha256}:{face.box_xyxy}",
                crop=crops[i],
                pixels=pixels[i],
                region=regions[i],
                points_xy=points[i],
            )
            for i, face in enumerate(faces)
        ]

    def crops(
        self, subjects: Sequence[Subject], key: str, attempt: int = 0
    ) -> list[NDArray[np.uint8]]:
        """New pixels for each subject, (side, side, 3) uint8, with the numbers of a rung.

        ``attempt`` counts the rungs of the recipe's ladder from 0; each has other noise. Crops go
        through the model in batches, which are halved where the memory does not suffice.

        Raises `OutOfMemory` if one crop alone is too much.
        """
        done: list[NDArray[np.uint8]] = []
        size = self.recipe.face_batch
        while len(done) < len(subjects):
            batch = subjects[len(done) : len(done) + size]
            crops = _unless_out_of_memory(lambda b=batch: self._drawn(b, key, attempt), len(batch))
            if crops is None:
                size = len(batch) // 2
            else:
                done += crops
        return done

    def _drawn(self, batch: Sequence[Subject], key: str, attempt: int) -> list[NDArray[np.uint8]]:
        pictures, names = [subject.pixels for subject in batch], [subject.name for subject in batch]
        if not self.aligned:
            return self._run_steered(pictures, names, key, attempt)
        maps = self.maps(batch, key, attempt)
        return self._run(pictures, maps, self.recipe.prompt, names, key, attempt)

    def _run_steered(
        self, pictures: list[NDArray[np.uint8]], names: list[str], key: str, attempt: int
    ) -> list[NDArray[np.uint8]]:
        steering = self._steered(pictures, names)
        maps = {name: [one.maps[name] for one in steering] for name in steering[0].maps}
        prompts = [one.prompt for one in steering if one.prompt is not None]
        return self._run(pictures, maps, prompts or None, names, key, attempt)

    def _steered(self, pictures: list[NDArray[np.uint8]], names: list[str]) -> list[Steering]:
        """Annotates what was not annotated yet; what belongs to another picture is forgotten."""
        picture = names[0].split(":")[0]
        for old in [name for name in self._steering if not name.startswith(picture)]:
            del self._steering[old]
        new = [i for i, name in enumerate(names) if name not in self._steering]
        if new:
            some = [pictures[i] for i in new]
            maps = self.pipeline.annotate(some, self._maps_in_use)
            prompts = self.recipe.prompt
            texts = self.pipeline.captions(some) if prompts is None else [prompts] * len(new)
            for k, i in enumerate(new):
                self._steering[names[i]] = Steering(
                    maps={name: several[k] for name, several in maps.items()},
                    prompt=None if texts is None else texts[k],
                )
        return [self._steering[name] for name in names]

    @property
    def _maps_in_use(self) -> list[str]:
        return [name for name, weight in self.control_weights.items() if weight > 0]

    def frame(
        self, pixels: NDArray[np.uint8], name: str, key: str, attempt: int = 0
    ) -> NDArray[np.uint8]:
        """A whole picture anew, (H, W, 3) uint8 as it came, drawn at the recipe's ``scene_px``.

        It is scaled to an area of ``scene_px`` x ``scene_px`` with its aspect (sides rounded to
        what the model takes) and the result back, so that detail finer than that is gone; tiles
        would keep it, and with it the seams and the faces between tiles. Our choice.

        Raises `OutOfMemory`.
        """
        view = _resized(pixels, self.frame_size_hw(pixels.shape[:2]))
        drawn = _unless_out_of_memory(lambda: self._run_steered([view], [name], key, attempt), 1)
        assert drawn is not None  # noqa: S101  one picture fits or raises
        return _resized(drawn[0], pixels.shape[:2])

    def frame_size_hw(self, size_hw: Sequence[int]) -> tuple[int, int]:
        """At which size `frame` draws a picture of ``size_hw``; longer than 4:1 it is squeezed."""
        multiple, side = self.pipeline.multiple_px, self.recipe.scene_px
        aspect = min(max(size_hw[0] / size_hw[1], 0.25), 4.0)
        sides = [side * math.sqrt(aspect), side / math.sqrt(aspect)]
        height, width = (max(round(one / multiple), 1) * multiple for one in sides)
        return height, width

    def frame_maps(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """The picture as `frame` shows it to the model, and its control maps."""
        view = _resized(pixels, self.frame_size_hw(pixels.shape[:2]))
        maps = self.pipeline.annotate([view], self._maps_in_use)
        return [view, *(several[0] for several in maps.values())]

    def maps(
        self, subjects: Sequence[Subject], key: str, attempt: int = 0
    ) -> dict[str, list[NDArray[np.uint8]]]:
        """The control maps of an attempt, by control.

        Those of aligned faces change with the attempt, as the shape of the face does.
        """
        names = self._maps_in_use
        if not self.aligned:
            return dict(self.pipeline.annotate([subject.pixels for subject in subjects], names))
        from camouflage.denoise.seeds import generator_for

        side = self.pipeline.config["size_px"]
        points = [
            jittered(
                subject.points_xy,
                side,
                spread=self.recipe.shape_jitter,
                generator=generator_for(key, f"{subject.name}:shape", attempt),
            )
            for subject in subjects
            if subject.points_xy is not None
        ]
        return draw_maps(
            [subject.pixels for subject in subjects],
            np.stack(points),
            names,
            regions=[subject.region for subject in subjects],
            coarseness=self.recipe.colour_coarseness,
        )

    def _run(
        self,
        pictures: list[NDArray[np.uint8]],
        maps: dict[str, list[NDArray[np.uint8]]],
        prompt: str | list[str] | None,
        names: list[str],
        key: str,
        attempt: int,
    ) -> list[NDArray[np.uint8]]:
        from camouflage.denoise.seeds import generator_for

        recipe = self.recipe
        anonymization_scale, strength = self.numbers(recipe.ladder[attempt])
        output: Any = self.pipeline(
            pictures,
            control_images=maps,
            control_weights=self.control_weights,
            control_guidance=recipe.control_guidance,
            prompt=prompt,
            negative_prompt=recipe.negative_prompt,
            text_guidance=recipe.text_guidance,
            anonymization_scale=anonymization_scale,
            guidance_rescale=recipe.guidance_rescale,
            strength=strength,
            num_inference_steps=recipe.steps,
            identity=recipe.identity,
            generator=[generator_for(key, name, attempt) for name in names],
            output_type="pil",
        )
        return [np.asarray(image) for image in output.images]


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
    if recipe.text_guidance != 1:
        raise SettingError(f"{recipe.model} has no text encoder: text_guidance must be 1")


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
