"""What a recipe of CAMOUFLaGE-Base means for its pipeline: starts, control maps, guidance."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.annotators import draw_maps
from camouflage.annotators.hair import hair_in
from camouflage.annotators.skin import oval
from camouflage.attempts import Subject
from camouflage.errors import SettingError
from camouflage.recipe import BaseRecipe, BaseRung, Rung
from camouflage.redraw import Redrawer
from camouflage.subjects.crops import detailed
from camouflage.subjects.faces import Face

if TYPE_CHECKING:
    from camouflage.pipelines.base import BasePipeline
    from camouflage.pipelines.starts import Starts
    from camouflage.swap.pool import PoolFace


INSIDE, SOFT = 0.85, 0.024
"""Of a face: up to where in its oval, by radius, the detail of a start is better than what the
model draws, and over how much, in sides, one goes over into the other. Our choice, by eye."""

MIDDLE, OVER, AT_EDGE = 0.9, 0.06, 0.5
"""So far in the oval, by radius, all counts that the model draws; over so much, in sides, it comes
to count `AT_EDGE`: brows, eyes, nose and mouth say who somebody is, and at jaw and hairline what
pushes away from the original draws outlines. Our choice, by eye and by figures."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Steering:
    """What a model of scenes is steered by, the same in every attempt: ``maps`` by control,
    (H, W, 3) uint8, and a ``prompt``, None where there is no text.
    """

    maps: dict[str, NDArray[np.uint8]]
    prompt: str | None


@dataclass(frozen=True, kw_only=True, eq=False)
class BaseRedrawer(Redrawer):
    """Of a `BasePipeline`.

    A pipeline of aligned faces (``mini``) gets its maps drawn here, from landmarks that are shifted
    at random, and a face of the recipe's pool to start from; one of scenes (``sd15``) annotates by
    itself and starts from the original.
    """

    recipe: BaseRecipe
    pipeline: BasePipeline
    _steering: dict[str, Steering] = field(init=False, default_factory=dict, repr=False)

    def _check(self) -> None:
        recipe = self.recipe
        weights = self.pipeline.weights_in_use(recipe.control_weights)
        if self.aligned and recipe.text_guidance != 1:
            raise SettingError(f"{recipe.model} has no text encoder: text_guidance must be 1")
        if recipe.negative_prompt is not None and recipe.text_guidance == 1:
            raise SettingError("negative_prompt: it acts only with a text_guidance other than 1")
        if recipe.fused_controls:
            self.pipeline.require_fused(weights)
        if recipe.start_pool is not None and not self.aligned:
            raise SettingError(
                "start_pool: this pipeline draws scenes, which start from the original; set it to "
                "null"
            )
        _ = self.start_pool  # or what is missing of it
        scales = [self.numbers(rung)[0] for rung in recipe.ladder]
        has_net = getattr(self.pipeline, "identity_controlnet", True) is not None
        if recipe.identity == "learned" and not has_net and any(scale != 1 for scale in scales):
            raise SettingError(
                f"identity: {recipe.model} has no identity ControlNet, which every "
                "anonymization_scale but 1 needs; use identity: analytic"
            )

    @property
    def control_weights(self) -> dict[str, float]:
        """The weight of each control that this recipe computes."""
        return self.pipeline.weights_in_use(self.recipe.control_weights)

    def numbers(self, rung: Rung) -> tuple[float, float]:
        """Anonymization scale and strength of an attempt."""
        added = rung.anonymization_scale if isinstance(rung, BaseRung) else 0.0
        return self.recipe.anonymization_scale + added, self.strength(rung)

    def _drawn(self, batch: Sequence[Subject], key: str, attempt: int) -> list[NDArray[np.uint8]]:
        pictures, names = [subject.pixels for subject in batch], [subject.name for subject in batch]
        if not self.aligned:
            return self._run_steered(pictures, names, key, attempt)
        fakes = self.fakes(batch, key, attempt)
        shapes = self.shapes(batch, key, attempt, fakes)
        maps, starts = self._maps(batch, shapes), self._starts(batch, shapes, fakes)
        drawn = self._run(pictures, maps, self.recipe.prompt, names, key, attempt, starts=starts)
        scale, _ = self.numbers(self.recipe.ladder[attempt])
        amount = self.recipe.start_share * min(scale, 1.0)  # a_s = 0 leads back to the original
        if starts is None or amount == 0:
            return drawn
        return [on_start(*three, amount) for three in zip(batch, drawn, starts, strict=True)]

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
            maps = self.pipeline.annotate(some, list(self.control_weights))
            prompts = self.recipe.prompt
            texts = self.pipeline.captions(some) if prompts is None else [prompts] * len(new)
            for k, i in enumerate(new):
                self._steering[names[i]] = Steering(
                    maps={name: several[k] for name, several in maps.items()},
                    prompt=None if texts is None else texts[k],
                )
        return [self._steering[name] for name in names]

    def _drawn_frame(
        self,
        view: NDArray[np.uint8],
        faces: Sequence[Face],
        name: str,
        key: str,
        attempt: int,
    ) -> NDArray[np.uint8]:
        del faces  # the maps steer the whole picture
        return self._run_steered([view], [name], key, attempt)[0]

    def _frame_steering(
        self, view: NDArray[np.uint8], faces: Sequence[Face]
    ) -> list[NDArray[np.uint8]]:
        """Its control maps."""
        del faces  # they steer the whole picture
        maps = self.pipeline.annotate([view], list(self.control_weights))
        return [several[0] for several in maps.values()]

    def shown(self, subject: Subject, key: str) -> list[NDArray[np.uint8]]:
        """Its crop, what the noise of the first attempt is laid over, and its control maps."""
        maps = self.maps([subject], key)
        starts = self.starts([subject], key) or []
        return [subject.pixels, *starts, *(several[0] for several in maps.values())]

    def starts(
        self, subjects: Sequence[Subject], key: str, attempt: int = 0
    ) -> list[NDArray[np.uint8]] | None:
        """The crops with a face of the pool, another in each attempt; None: the crops themselves.

        Its shape is that of the control maps.
        """
        if self.start_pool is None:
            return None
        fakes = self.fakes(subjects, key, attempt)
        return self._starts(subjects, self.shapes(subjects, key, attempt, fakes), fakes)

    def _starts(
        self,
        subjects: Sequence[Subject],
        shapes: Sequence[NDArray[np.float64]],
        fakes: Sequence[PoolFace | None],
    ) -> list[NDArray[np.uint8]] | None:
        pool = self.start_pool
        if pool is None:
            return None
        return [
            pool.start(subject, shape_xy, fake)
            for subject, shape_xy, fake in zip(subjects, shapes, fakes, strict=True)
            if fake is not None
        ]

    @functools.cached_property
    def start_pool(self) -> Starts | None:
        """Of the recipe."""
        from camouflage.pipelines.starts import Starts

        pool = self.recipe.start_pool
        return None if pool is None else Starts.load(pool)

    def maps(
        self, subjects: Sequence[Subject], key: str, attempt: int = 0
    ) -> dict[str, list[NDArray[np.uint8]]]:
        """The control maps of an attempt, by control.

        Those of aligned faces change with the attempt, as the shape of the face does.
        """
        names = list(self.control_weights)
        if not self.aligned:
            return dict(self.pipeline.annotate([subject.pixels for subject in subjects], names))
        fakes = self.fakes(subjects, key, attempt)
        return self._maps(subjects, self.shapes(subjects, key, attempt, fakes))

    def _maps(
        self, subjects: Sequence[Subject], shapes: Sequence[NDArray[np.float64]]
    ) -> dict[str, list[NDArray[np.uint8]]]:
        return draw_maps(
            [subject.pixels for subject in subjects],
            np.stack(shapes),
            list(self.control_weights),
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
        *,
        starts: list[NDArray[np.uint8]] | None = None,
    ) -> list[NDArray[np.uint8]]:
        from camouflage.denoise.seeds import generator_for

        recipe = self.recipe
        anonymization_scale, strength = self.numbers(recipe.ladder[attempt])
        output: Any = self.pipeline(
            pictures,
            start_images=starts,
            control_images=maps,
            control_weights=self.recipe.control_weights,
            control_end=recipe.control_end,
            control_every=recipe.control_every,
            fused_controls=recipe.fused_controls,
            control_guidance=recipe.control_guidance,
            prompt=prompt,
            negative_prompt=recipe.negative_prompt,
            text_guidance=recipe.text_guidance,
            anonymization_scale=anonymization_scale,
            guidance_rescale=recipe.guidance_rescale,
            low_frequency_guidance=recipe.low_frequency_guidance,
            strength=strength,
            num_inference_steps=recipe.steps,
            identity=recipe.identity,
            guidance_start=recipe.guidance_start,
            guidance_end=recipe.guidance_end,
            generator=[generator_for(key, name, attempt) for name in names],
            output_type="pil",
        )
        return [np.asarray(image) for image in output.images]


def on_start(
    subject: Subject, drawn: NDArray[np.uint8], start: NDArray[np.uint8], amount: float
) -> NDArray[np.uint8]:
    """A crop (side, side, 3) as the model drew it, with the colours of the ``start`` (side, side,
    3), its finest detail inside the face (in hair it has none), and towards the face's edge most of
    the start itself: by an ``amount`` from 0 to 1.
    """
    points_xy, side = subject.points_xy, start.shape[0]
    assert points_xy is not None  # noqa: S101  an aligned face has landmarks
    fine = np.float32(amount) * _soft_oval(points_xy, side, INSIDE, SOFT)
    hair = hair_in(subject.pixels, subject.region, points_xy, visible=subject.visible)
    if hair is not None:
        fine = fine * (1 - hair.opacity)
    shown = detailed(drawn, start, np.asarray(fine[..., None], np.float32))
    lab, start_lab = (cv2.cvtColor(x, cv2.COLOR_RGB2LAB) for x in map(_unit, (shown, start)))
    lab[..., 1:] += amount * (start_lab - lab)[..., 1:]
    coloured = 255 * np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1)
    edge = 1 - _soft_oval(points_xy, side, MIDDLE, OVER)[..., None]
    share = amount * (1 - AT_EDGE) * edge
    return np.round(coloured + share * (start - coloured)).astype(np.uint8)


def _soft_oval(
    points_xy: NDArray[np.float64], side: int, size: float, soft: float
) -> NDArray[np.float32]:
    """(side, side) in [0, 1], 1 in the oval of ``size``; ``soft`` in sides."""
    inside = oval(points_xy, side, size).astype(np.float32)
    return cv2.GaussianBlur(inside, (0, 0), soft * side)  # type: ignore[return-value]


def _unit(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.divide(pixels, 255, dtype=np.float32)
