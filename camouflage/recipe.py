"""Every setting of a run in one flat, frozen value with strict YAML in and out.

A recipe is complete: a missing key is an error as an unknown one is, nothing is inherited, no value
is interpolated. Each method has settings of its own: `BaseRecipe`, `LightRecipe`, told apart by
``method``. Presets are files of this package, under ``camouflage/recipes``.
"""

from __future__ import annotations

import hashlib
import json
import os
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self

from camouflage.errors import SettingError
from camouflage.windows import holds_a_step, steps_run

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Rung(_Strict):
    """One attempt at a picture, always with new noise: what it adds to the recipe's own numbers."""

    strength: Annotated[float, Field(ge=0, le=1)]
    """The sum stops at 1."""


class BaseRung(Rung):
    """Of `BaseRecipe`."""

    anonymization_scale: Weight


class LightRung(Rung):
    """Of `LightRecipe`. Each attempt also swaps for another face of the pool."""

    original_share: Annotated[float, Field(ge=-1, le=0)]
    """The sum stops at 0."""


class Recipe(_Strict):
    """The settings of a run, those that every method has. Equal recipes have equal :attr:`sha256`.

    Raises:
        SettingError: from :meth:`load` and :meth:`changed`, for a value that cannot be.
    """

    method: str
    """"base" or "light": which of the two methods, and so which settings beside these."""
    model: Annotated[str, Field(min_length=1)]
    """A size ("mini", "mini-light", "sd15", "sd15-light", "tiny"), a folder in ``save_pretrained``
    layout or a repository of the hub."""
    scope: Literal["faces", "people", "scene"]
    """What is redrawn: faces, bodies with or without a visible face, or the whole picture."""
    scene_px: Annotated[int, Field(ge=64, le=4096)]
    """A whole picture is drawn at an area of this side, whatever its own size (scope scene)."""
    small_face_px: Annotated[int, Field(ge=0)]
    """Faces that are smaller in what the model drew are redrawn again, as crops (people, scene)."""
    prompt: str | None
    """What the text encoder reads; null = the caption of the picture (method base), or nothing."""
    negative_prompt: str | None
    """The text of the other row of guidance; null = no text."""
    strength: Annotated[float, Field(gt=0, le=1)]
    """How much of the noise schedule is run, 1 = from pure noise."""
    steps: Annotated[int, Field(ge=1, le=1000)]
    """Denoising steps of the whole schedule."""
    shape_jitter: Annotated[float, Field(ge=0, le=0.3)]
    """Spread of the random shifts of an aligned face's contours, in eye distances."""
    upscaler: Annotated[str, Field(min_length=1)] | None
    """What draws the detail of aligned faces that are larger than their crop, at twice its side:
    "mini", or a folder; null = nothing, they become soft."""
    sharpen: Annotated[float, Field(ge=0, le=2)]
    """How much of what is finer than 1/128 of a crop is added to it; 0 = as the model drew it."""
    contrast_match: Annotated[float, Field(ge=0, le=1)]
    """How far the contrast of an aligned face is brought down to the original's, 0 = not at all."""
    threshold: Annotated[float, Field(gt=0, le=2)]
    """dlib distance (Euclidean) that original and result must exceed; unit vectors: at most 2."""
    ladder: Annotated[tuple[Rung, ...], Field(strict=False, min_length=1, max_length=100)]
    """The attempts in order; faces that passed keep their attempt, the others go on."""
    on_refusal: Literal["refuse", "obfuscate"]
    """A face fails every attempt: write nothing, or cover that face as `obfuscation` says."""
    obfuscation: Literal["solid", "pixelate", "blur"]
    """How a face is covered: black, a mosaic of 8 x 8, or a blur of 0.15 of its side."""
    on_nobody: Literal["refuse", "copy"]
    """No person found: write nothing, or a clean copy without metadata."""
    detection_score: Annotated[float, Field(ge=0.1, le=1)]
    """The floor of what counts as a face."""
    face_batch: Annotated[int, Field(ge=1)]
    """Faces redrawn at once."""
    max_megapixels: Annotated[float, Field(gt=0, le=178)]
    """Larger pictures are not decoded."""
    jpeg_quality: Annotated[int, Field(ge=1, le=100)]
    """Of written JPEG and WebP files."""

    @model_validator(mode="after")
    def _leaves_a_step(self) -> Recipe:
        if steps_run(self.steps, self.strength) < 1:
            raise ValueError(
                f"strength {self.strength} leaves none of {self.steps} steps; raise one of them"
            )
        return self

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str]) -> Recipe:
        """Read a preset by its name ("mini") or a YAML file by its path."""
        return cls.parse(_read(name_or_path))

    @classmethod
    def parse(cls, text: str) -> Recipe:
        """Read a recipe from YAML text."""
        try:
            values = yaml.load(text, Loader=_NoDoubles)
        except yaml.YAMLError as error:
            raise SettingError(f"a recipe must be YAML: {error}") from error
        if not isinstance(values, dict):
            raise SettingError("expected a recipe: one `key: value` a line")
        return _checked(values)

    def changed(self, settings: dict[str, object]) -> Self:
        """A copy with some settings changed, checked as a whole; the method stays."""
        return _checked_as(type(self), {**self.model_dump(), **settings})

    def dump(self) -> str:
        """The recipe as YAML that :meth:`parse` takes back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    @property
    def pool(self) -> str | None:
        """Whose pool of faces it needs beside its model."""
        return None

    @property
    def sha256(self) -> str:
        """Of the settings, whatever the order or the comments in the file."""
        settings = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(settings.encode()).hexdigest()


class BaseRecipe(Recipe):
    """The settings of CAMOUFLaGE-Base, for `BasePipeline`."""

    method: Literal["base"]
    text_guidance: Annotated[float, Field(allow_inf_nan=False)]
    """g: how far the prompt is followed away from the negative one, 1 = no text guidance."""
    anonymization_scale: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """a_s: 0 gives the original back, 1 is the positive controls alone, above 1 pushes away."""
    control_guidance: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """c: how far the control maps are followed away from an unsteered face, 1 = no guidance."""
    guidance_rescale: Annotated[float, Field(ge=0, le=1)]
    """phi: how much of the contrast that an a_s above 1 adds is taken out again, 0 = none."""
    low_frequency_guidance: Annotated[float, Field(ge=0, le=1)]
    """kappa: how much of what an a_s above 1 adds may be coarse: colour and light, 1 = all."""
    start_pool: Annotated[str, Field(min_length=1)] | None
    """Whose pool of synthetic faces gives the face that the noise is laid over ("mini-light", or a
    folder with ``pool``, ``image_encoder`` and ``attribute_net`` as it has them). null = the
    original, as published; then only a ``strength`` of 1 starts from noise, below it what is drawn
    keeps something of it.
    """
    start_share: Annotated[float, Field(ge=0, le=1)]
    """How much a redrawn crop has of the start's colours, of its finest detail and, towards the
    face's edge, of the start itself (`camouflage.redraw_base.on_start`), 1 = all; the less the
    nearer a_s is to 0. Without a ``start_pool`` nothing is, whatever this says."""
    identity: Literal["learned", "analytic"]
    """The identity function: the identity ControlNet, or its closed form."""
    control_weights: dict[str, Weight]
    """Weight of each control by name, 0 = not computed; one that is not named keeps the model's."""
    control_end: Annotated[float, Field(gt=0, le=1)]
    """The part of the run after which the controls are off, 1 = never. Below 1: faster."""
    control_every: Annotated[int, Field(ge=1)]
    """The controls are computed at every n-th step and used again in between. Above 1: faster."""
    fused_controls: bool
    """The one net that was distilled from all controls, in their place: faster."""
    guidance_start: Annotated[float, Field(ge=0, lt=1)]
    """The part of the run before which nothing is pushed away (an a_s above 1 counts as 1, and the
    guidances are off), 0 = none. Above 0: faster."""
    guidance_end: Annotated[float, Field(gt=0, le=1)]
    """The part of the run after which nothing is pushed away, 1 = none. Below 1: faster."""
    colour_coarseness: Annotated[float, Field(ge=0.02, le=0.5)]
    """Blur of the colours inside a face, as a fraction of the crop's side."""
    ladder: Annotated[  # type: ignore[assignment]  # a narrower kind of rung
        tuple[BaseRung, ...], Field(strict=False, min_length=1, max_length=100)
    ]

    @property
    def pool(self) -> str | None:
        """That of the start."""
        return self.start_pool

    @model_validator(mode="after")
    def _guides_somewhere(self) -> BaseRecipe:
        if self.guidance_start >= self.guidance_end:
            raise ValueError(
                f"guidance_start {self.guidance_start} must be below guidance_end "
                f"{self.guidance_end}"
            )
        runs = [steps_run(self.steps, min(self.strength + r.strength, 1.0)) for r in self.ladder]
        windows = {
            "control_end": (0.0, self.control_end),
            "guidance_start and guidance_end": (self.guidance_start, self.guidance_end),
        }
        for name, window in windows.items():
            if empty := [steps for steps in runs if not holds_a_step(steps, *window)]:
                raise ValueError(
                    f"{name}: none of {min(empty)} steps lies wholly in {window[0]:g} to "
                    f"{window[1]:g} of the run; widen it or take more steps"
                )
        return self


class LightRecipe(Recipe):
    """The settings of CAMOUFLaGE-Light, for `LightPipeline`."""

    method: Literal["light"]
    guidance_scale: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """g: how far image and prompt are followed away from neither, 1 = no guidance."""
    image_prompt_scale: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """How much the image prompt counts, 0 = not at all."""
    adapter_scale: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """How much the attribute adapter counts, 0 = not computed."""
    adapter_steps: Literal["all", "first"]
    """The steps in which the adapter acts; the released code's acts in the first alone."""
    original_share: Annotated[float, Field(ge=0, le=1)]
    """alpha: how much of the original is in the picture from which the noise starts."""
    attributes_of: Literal["swapped", "original"]
    """Whose attributes are kept: the swapped face's, as in the released code, or the original's."""
    swap_alignment: Literal["similarity", "mesh"]
    """The fake as it is, turned and scaled, or pulled onto the original's landmarks."""
    swap_blend: Literal["seamless", "alpha", "whole"]
    """How its edge is hidden: gradients, or opacity alone; whole = it takes all that is redrawn, in
    the original's coarse colours. Ours, for models of aligned faces, with the mesh."""
    swap_threshold: Annotated[float, Field(ge=0, le=2)]
    """Angular distance that a fake's embedding must exceed, sqrt(2 - 2 cos)."""
    ladder: Annotated[  # type: ignore[assignment]  # a narrower kind of rung
        tuple[LightRung, ...], Field(strict=False, min_length=1, max_length=100)
    ]


METHODS: dict[str, type[Recipe]] = {"base": BaseRecipe, "light": LightRecipe}


def _checked(values: dict[str, object]) -> Recipe:
    method = values.get("method")
    if not isinstance(method, str) or method not in METHODS:
        raise SettingError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    return _checked_as(METHODS[method], values)


_Kind = TypeVar("_Kind", bound=Recipe)


def _require_of_method(kind: type[Recipe], values: dict[str, object]) -> None:
    """Raise `SettingError` for a setting that only another method has."""
    known = set().union(*(other.model_fields for other in METHODS.values()))
    if others := sorted((set(values) & known) - set(kind.model_fields)):
        raise SettingError(
            f"{', '.join(others)}: method {values.get('method')} has no such setting"
        )


def _checked_as(kind: type[_Kind], values: dict[str, object]) -> _Kind:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        _require_of_method(kind, values)
        problems = (
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        )
        raise SettingError(f"the recipe cannot be used: {'; '.join(problems)}") from error


class _NoDoubles(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        doubles = sorted({str(key) for key in keys if keys.count(key) > 1})
        if doubles:
            raise SettingError(f"the recipe gives a key twice: {', '.join(doubles)}")
        return super().construct_mapping(node, deep=deep)


def preset_names() -> list[str]:
    """The recipes that come with this package."""
    folder = resources.files("camouflage") / "recipes"
    return sorted(
        f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")
    )


def _read(name_or_path: str | os.PathLike[str]) -> str:
    if isinstance(name_or_path, str) and name_or_path in preset_names():
        preset = resources.files("camouflage") / "recipes" / f"{name_or_path}.yaml"
        return preset.read_text(encoding="utf-8")
    path = Path(name_or_path)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(
            f"{path.name}: expected one of the presets {', '.join(preset_names())}, "
            "or the path of a readable YAML file"
        ) from error
