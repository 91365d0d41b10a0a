"""Are these weights of the network that they are to be loaded into? Their configurations say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camouflage.errors import WeightsError
from camouflage.weights.header import shapes_of

CONTEXT = 768
"""Width of the text encoder of Stable Diffusion 1.5, and of what its networks attend to."""

LATENTS = 4
"""Channels of its latents."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What one key of a configuration must say.

    Attributes:
        key: in the file.
        allowed: any of these.
        default: what a configuration without the key means.
        counted: it is the number of entries of the value that is compared.
        file: inside the folder.
        section: of the file, where the key is; the whole file if it has no such section.
    """

    key: str
    allowed: tuple[Any, ...]
    default: Any = None
    counted: bool = False
    file: str = "config.json"
    section: str = ""

    def problem(self, config: Mapping[str, Any]) -> str:
        """What is wrong with ``config``, empty if nothing is."""
        section = config.get(self.section)
        value = (section if isinstance(section, dict) else config).get(self.key, self.default)
        if self.counted and isinstance(value, (list, tuple)):
            value = len(value)
        if value in self.allowed:
            return ""
        expected = " or ".join(str(one) for one in self.allowed)
        number = "number of " if self.counted else ""
        return f"{self.file}: {number}{self.key} is {value}, expected {expected}"


def _denoiser(class_name: str, file: str) -> tuple[Setting, ...]:
    """What makes a UNet, or a ControlNet, one of Stable Diffusion 1.5, at whatever width."""
    return (
        Setting(file=file, key="_class_name", allowed=(class_name,), default=class_name),
        Setting(file=file, key="in_channels", allowed=(LATENTS,), default=LATENTS),
        Setting(file=file, key="cross_attention_dim", allowed=(CONTEXT,), default=1280),
        Setting(file=file, key="use_linear_projection", allowed=(False,), default=False),
        Setting(file=file, key="addition_embed_type", allowed=(None,)),
        Setting(file=file, key="class_embed_type", allowed=(None,)),
    )


def _model_type(name: str) -> tuple[Setting, ...]:
    return (Setting(key="model_type", allowed=(name,)),)


def _vision(key: str, allowed: int, *, default: int) -> Setting:
    """Of a vision transformer of CLIP, alone or as a part of a whole CLIP."""
    return Setting(key=key, allowed=(allowed,), default=default, section="vision_config")


NEEDS: dict[str, tuple[Setting, ...]] = {
    "base": (
        *_denoiser("UNet2DConditionModel", "unet/config.json"),
        Setting(file="unet/config.json", key="out_channels", allowed=(LATENTS,), default=LATENTS),
        Setting(file="text_encoder/config.json", key="model_type", allowed=("clip_text_model",)),
        Setting(file="text_encoder/config.json", key="hidden_size", allowed=(CONTEXT,)),
        Setting(
            file="scheduler/scheduler_config.json",
            key="prediction_type",
            allowed=("epsilon", "v_prediction"),
            default="epsilon",
        ),
    ),
    "autoencoder": (
        Setting(key="_class_name", allowed=("AutoencoderKL",)),
        Setting(key="latent_channels", allowed=(LATENTS,), default=LATENTS),
        Setting(key="in_channels", allowed=(3,), default=3),
        Setting(key="out_channels", allowed=(3,), default=3),
        Setting(key="scaling_factor", allowed=(0.18215,), default=0.18215),  # SDXL's is another
    ),
    "controlnet": (
        *_denoiser("ControlNetModel", "config.json"),
        Setting(key="conditioning_channels", allowed=(3,), default=3),
    ),
    "identity": (
        *_denoiser("ControlNetModel", "config.json"),
        Setting(key="conditioning_channels", allowed=(LATENTS,), default=3),
        Setting(key="conditioning_embedding_out_channels", allowed=(1,), default=4, counted=True),
    ),
    "fused": _denoiser("ControlNetModel", "config.json"),
    "dpt": _model_type("dpt"),
    "upernet": _model_type("upernet"),
    "vitpose": _model_type("vitpose"),
    "rt_detr": _model_type("rt_detr"),
    "blip": _model_type("blip"),
    "blip-2": _model_type("blip-2"),
    "farl": (
        Setting(key="model_type", allowed=("clip", "clip_vision_model")),
        _vision("hidden_size", 768, default=768),
        _vision("num_hidden_layers", 12, default=12),
        _vision("image_size", 224, default=224),
        _vision("patch_size", 16, default=32),
    ),
    "attributes": (Setting(key="_class_name", allowed=("AttributeNet",)),),
    "files": (),
}
"""What the configurations of a folder must say, by architecture; "files" has none."""

_UNET = "model.diffusion_model."
_TEXT = "cond_stage_model.transformer.text_model."
_IN_A_FILE = {
    f"{_UNET}input_blocks.0.0.weight": (1, LATENTS, "channels of the latents"),
    f"{_UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (1, CONTEXT, "context"),
    f"{_UNET}input_blocks.1.1.proj_in.weight": (3, 1, "projection by convolution"),
    f"{_UNET}out.2.weight": (0, LATENTS, "channels of the prediction"),
    f"{_TEXT}embeddings.position_embedding.weight": (1, CONTEXT, "width of the text encoder"),
}
"""Tensors of a checkpoint in one file, LDM's names: which of its sizes must be what."""


def check_folder_is(needs: str, folder: Path, name: str) -> None:
    """Raise `WeightsError` unless the configurations in ``folder`` are those of ``needs``.

    ``name`` is what the weights are called in the message.
    """
    problems = [s.problem(config_of(folder, s.file, name)) for s in NEEDS[needs]]
    if problems := [problem for problem in problems if problem]:
        raise WeightsError(f"{name}: another architecture ({'; '.join(problems)})")


def check_file_is_base(path: Path, name: str) -> None:
    """Raise `WeightsError` unless the file is a checkpoint of Stable Diffusion 1.5, LDM's names."""
    shapes = shapes_of(path)
    for tensor, (axis, expected, what) in _IN_A_FILE.items():
        shape = shapes.get(tensor)
        if shape is None:
            raise WeightsError(
                f"{name}: {path.name} is no checkpoint of Stable Diffusion 1.5 in one file "
                f"(expected {tensor} in it)"
            )
        found = shape[axis] if axis < len(shape) else "none"
        if found != expected:
            raise WeightsError(
                f"{name}: another architecture ({path.name}: {what} is {found}, "
                f"expected {expected})"
            )


def check_fits(net: Mapping[str, Any], unet: Mapping[str, Any], name: str) -> None:
    """Raise `WeightsError` unless a ControlNet's residuals have the shapes that a UNet adds.

    ``net`` and ``unet`` are their configurations.
    """
    for key in ("block_out_channels", "layers_per_block", "down_block_types"):
        got, expected = _plain(net.get(key)), _plain(unet.get(key))
        if got != expected:
            raise WeightsError(
                f"{name}: made for another UNet ({key} is {got}, the base has {expected})"
            )


def config_of(folder: Path, file: str, name: str) -> dict[str, Any]:
    """A configuration as it is written. Raises `WeightsError` if it cannot be read."""
    try:
        config = json.loads((folder / file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{name}: expected {file}, as JSON, in {folder.name}") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{name}: expected settings in {file}, got a {type(config).__name__}")
    return config


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value
