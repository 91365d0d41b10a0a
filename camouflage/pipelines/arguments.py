"""What a caller may pass to a pipeline, checked once, before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import numpy as np
from PIL import Image, ImageOps

from camouflage.denoise.guidance import RowWeights, row_weights
from camouflage.errors import SettingError
from camouflage.windows import holds_a_step

Picture: TypeAlias = "Image.Image | np.ndarray"
Pictures: TypeAlias = "Picture | Sequence[Picture]"
Texts: TypeAlias = "str | Sequence[str] | None"
ByControl: TypeAlias = "float | Mapping[str, float] | None"
Annotators = Literal["aligned_face", "scene"]
Identity = Literal["learned", "analytic"]
AttributesOf = Literal["swapped", "original"]
OutputType = Literal["pil", "np", "pt", "latent"]


@dataclass(frozen=True, kw_only=True)
class Strengths:
    """The numbers of one run.

    Attributes:
        anonymization_scale: a_s, any number >= 0.
        text_guidance: g, any number; 1 is no text guidance.
        control_guidance: c, any number >= 0; 1 is no guidance by the controls.
        guidance_rescale: phi in [0, 1]; 0 is no rescale.
        low_frequency_guidance: kappa in [0, 1]; 1 is no correction.
        strength: the part of the way from noise that is gone, in (0, 1].
        steps: of the whole way, >= 1.
        guidance_start, guidance_end: the part of the run in which guidance acts, in [0, 1].
    """

    anonymization_scale: float
    text_guidance: float
    control_guidance: float
    guidance_rescale: float
    low_frequency_guidance: float
    strength: float
    steps: int
    guidance_start: float = 0.0
    guidance_end: float = 1.0

    def __post_init__(self) -> None:
        for name in ("anonymization_scale", "text_guidance", "control_guidance"):
            _require(math.isfinite(getattr(self, name)), name, "a finite number", self)
        _require(self.anonymization_scale >= 0, "anonymization_scale", "a number >= 0", self)
        _require(self.control_guidance >= 0, "control_guidance", "a number >= 0", self)
        for name in ("guidance_rescale", "low_frequency_guidance"):
            _require(0 <= getattr(self, name) <= 1, name, "a number in [0, 1]", self)
        _require(0 < self.strength <= 1, "strength", "a number in (0, 1]", self)
        require_whole("num_inference_steps", self.steps)
        in_order = 0 <= self.guidance_start < self.guidance_end <= 1
        expected = "0 <= guidance_start < guidance_end <= 1"
        _require(in_order, "guidance_start", expected, self)

    @property
    def weights(self) -> RowWeights:
        """Of the rows of the UNet call."""
        return row_weights(self.anonymization_scale, self.text_guidance, self.control_guidance)

    @property
    def unguided(self) -> Strengths:
        """Those of a step outside the interval of guidance: nothing is extrapolated."""
        scale = min(self.anonymization_scale, 1.0)
        return replace(self, anonymization_scale=scale, text_guidance=1.0, control_guidance=1.0)


@dataclass(frozen=True, kw_only=True)
class ControlUse:
    """How one ControlNet is used: weight, on from start to end in [0, 1], and computed at every
    n-th step."""

    weight: float
    start: float
    end: float
    every: int = 1


def _require(holds: bool, name: str, expected: str, owner: object) -> None:
    if not holds:
        raise SettingError(f"{name}: expected {expected}, got {getattr(owner, name)!r} in {owner}")


def require_whole(argument: str, number: float, *, least: int = 1) -> int:
    """``number``, or ``SettingError`` unless it is whole and at least ``least``."""
    if not (math.isfinite(number) and number == int(number) >= least):
        raise SettingError(f"{argument}: expected a whole number >= {least}, got {number!r}")
    return int(number)


def controls_in_use(
    weights: Mapping[str, float],
    start: ByControl,
    end: ByControl,
    *,
    names: Sequence[str],
    every: int = 1,
) -> dict[str, ControlUse]:
    """How the nets of ``weights`` are used; ``names`` are those that the pipeline has.

    Raises:
        SettingError: a name that is not in ``names``, or a value out of range.
    """
    every = require_whole("control_every", every)
    starts, ends = _each("control_start", start, names, 0.0), _each("control_end", end, names, 1.0)
    for name in names:
        if not 0 <= starts[name] < ends[name] <= 1:
            raise SettingError(
                f"control_start, control_end of {name!r}: expected 0 <= start < end <= 1, got "
                f"{starts[name]} and {ends[name]}"
            )
    return {
        name: ControlUse(weight=weight, start=starts[name], end=ends[name], every=every)
        for name, weight in weights.items()
    }


def _each(
    argument: str, given: ByControl, names: Sequence[str], default: float
) -> dict[str, float]:
    """One number for each of ``names``."""
    if given is None:
        return dict.fromkeys(names, default)
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, given)
    require_known(argument, given, names)
    return dict.fromkeys(names, default) | dict(given)


def require_interval(numbers: Strengths, steps: int) -> None:
    """Raise ``SettingError`` for an interval of guidance that none of ``steps`` steps lies in."""
    start, end = numbers.guidance_start, numbers.guidance_end
    if not holds_a_step(steps, start, end):
        raise SettingError(
            f"guidance_start, guidance_end: none of {steps} steps lies wholly in {start:g} to "
            f"{end:g} of the run; widen it or take more steps"
        )


def require_a_step(uses: Mapping[str, ControlUse], steps: int) -> None:
    """Raise ``SettingError`` for a net that none of ``steps`` steps would have."""
    for name, use in uses.items():
        if not holds_a_step(steps, use.start, use.end):
            raise SettingError(
                f"control_start, control_end: none of {steps} steps lies wholly in {use.start:g} "
                f"to {use.end:g} of the run, so that {name!r} does nothing; widen it, take more "
                "steps, or set its weight to 0"
            )


def require_known(argument: str, given: Mapping[str, object], names: Sequence[str]) -> None:
    """Raise ``SettingError`` for a key of ``given`` that is not one of ``names``."""
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise SettingError(f"{argument}: unknown control {unknown}; this pipeline has {names}")


def require_choice(argument: str, value: object, choices: object) -> None:
    """Raise ``SettingError`` unless ``value`` is one of the literal type ``choices``."""
    if value not in get_args(choices):
        raise SettingError(f"{argument}: expected one of {get_args(choices)}, got {value!r}")


def as_pictures(argument: str, image: Pictures) -> list[np.ndarray]:
    """A list of ``uint8 (H, W, 3)`` arrays of one size, from one picture or several.

    A PIL picture is turned upright as its EXIF orientation says.

    Raises:
        SettingError: no picture, another type or shape, or different sizes.
    """
    several = image if isinstance(image, Sequence) else [image]
    pictures = [_as_array(argument, one) for one in several]
    sizes_hw = sorted({picture.shape[:2] for picture in pictures})
    if len(sizes_hw) != 1:
        raise SettingError(
            f"{argument}: expected at least one picture and all of one size, got the sizes (H, W) "
            f"{sizes_hw}; call the pipeline once for each size"
        )
    return pictures


def as_pictures_like(
    argument: str, image: Pictures, pictures: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """As `as_pictures`, as many and as large as ``pictures``.

    Raises `SettingError`.
    """
    several = as_pictures(argument, image)
    expected, got = (
        (len(some), some[0].shape[0], some[0].shape[1]) for some in (pictures, several)
    )
    if got != expected:
        raise SettingError(
            f"{argument}: expected as many pictures as image and their size, (B, H, W) {expected}, "
            f"got {got}"
        )
    return several


def _as_array(argument: str, picture: Picture) -> np.ndarray:
    if isinstance(picture, Image.Image) and picture.mode in ("RGB", "L"):
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and _is_hwc(picture.shape):
        return picture
    raise SettingError(
        f"{argument}: expected an RGB PIL picture or a uint8 array (H, W, 3), got "
        f"{_described(picture)}; camouflage.picture reads any file to that form"
    )


def _is_hwc(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[2] == 3 and min(shape) > 0


def _described(picture: object) -> str:
    if isinstance(picture, np.ndarray):
        return f"an array {picture.dtype} {picture.shape}"
    if isinstance(picture, Image.Image):
        return f"a PIL picture of mode {picture.mode}"
    return f"a {type(picture).__name__}"


def require_divisible(pictures: Sequence[np.ndarray], multiple: int) -> None:
    """Raise ``SettingError`` unless both sides are divisible by ``multiple``, in pixels."""
    height, width = pictures[0].shape[:2]
    if height % multiple or width % multiple:
        nearest = [max(multiple, round(side / multiple) * multiple) for side in (height, width)]
        raise SettingError(
            f"image: expected sides divisible by {multiple} px, got (H, W) = ({height}, {width}); "
            f"resize it to ({nearest[0]}, {nearest[1]}) first"
        )


def as_maps(
    control_images: Mapping[str, Pictures], names: Sequence[str], pictures: Sequence[np.ndarray]
) -> dict[str, list[np.ndarray]]:
    """One map a picture for each of ``names``, ``uint8 (H, W, 3)`` of the pictures' size.

    Raises:
        SettingError: a map is missing, or there are too few, or it has another size.
    """
    missing = [name for name in names if name not in control_images]
    if missing:
        raise SettingError(f"control_images: no map for {missing}; give it, or set its weight to 0")
    maps = {name: as_pictures(f"control_images[{name!r}]", control_images[name]) for name in names}
    expected = (len(pictures), *pictures[0].shape)
    for name, several in maps.items():
        if (got := (len(several), *several[0].shape)) != expected:
            raise SettingError(
                f"control_images[{name!r}]: expected maps of (pictures, H, W, 3) = {expected}, "
                f"got {got}"
            )
    return maps


def as_texts(argument: str, text: Texts, pictures: int) -> list[str] | None:
    """One text a picture, or None.

    Raises:
        SettingError: their number is not the number of pictures.
    """
    if text is None:
        return None
    texts = [text] * pictures if isinstance(text, str) else list(text)
    if len(texts) != pictures:
        raise SettingError(f"{argument}: expected {pictures} texts, got {len(texts)}")
    return texts


def require_effect(numbers: Strengths, prompt: Texts, negative_prompt: Texts) -> None:
    """Raise ``SettingError`` for a text setting that would silently do nothing."""
    if numbers.text_guidance != 1 and prompt is None and negative_prompt is None:
        raise SettingError(
            f"text_guidance: {numbers.text_guidance} between two null texts does nothing; "
            "give a prompt or a negative_prompt, or leave it 1"
        )
    if numbers.text_guidance == 1 and negative_prompt is not None:
        raise SettingError("negative_prompt: it acts only with a text_guidance other than 1")
