"""``sd15``: CAMOUFLaGE-Base at the paper's scale, put together from published weights.

Stable Diffusion 1.5 (Realistic Vision 5.1 unless another is named), an autoencoder that is better
at faces, five ControlNets 1.1. The paper names none of them; all of it is our choice. Its identity
ControlNet was not published: without one of one's own, ``identity="analytic"`` is the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from transformers import CLIPTextModel, CLIPTokenizer

from camouflage import weights
from camouflage.adapters.fused import read_fused_weights
from camouflage.errors import SettingError, WeightsError
from camouflage.pipelines.base import BasePipeline
from camouflage.pipelines.single_file import load_single_file, unet_config
from camouflage.weights import CONTROLS, TABLE, load_model

DEFAULT_WEIGHTS = {"depth": 0.5, "normals": 0.5, "segmentation": 0.5, "pose": 1.0, "lineart": 0.5}
"""Ours, not the paper's, which prints none: five nets of weight 1 leave nothing to redraw."""

_TOKENIZER = "tokenizer-clip"

Source = Path | str


@dataclass(frozen=True, kw_only=True)
class Base:
    """What a checkpoint of Stable Diffusion gives, its autoencoder left out."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: dict[str, Any]


def sd15_pipeline(
    *,
    base: Source | None = None,
    vae: Source | None = None,
    controlnets: Mapping[str, Source] | None = None,
    identity_controlnet: Source | None = None,
    fused_controlnet: Source | None = None,
    dtype: torch.dtype | None = None,
) -> BasePipeline:
    """The pipeline, on the CPU, ready to be moved to a GPU.

    Everything is found and checked before anything is loaded; what is not here is fetched.

    Args:
        base: a name of the table, a repository ``owner/name``, a folder of diffusers' layout, or
            one ``.safetensors`` file in the layout of the original code; any of Stable Diffusion
            1.5's architecture. Beside a file, ``tokenizer`` and ``scheduler`` folders of its own
            may lie.
        vae: in the place of ``sd-vae-ft-mse``: a repository or a folder.
        controlnets: the name of a control to a repository or folder, for those that shall not be
            the published ones.
        identity_controlnet: a folder that our training exported; None: the pipeline has none.
        fused_controlnet: likewise, one net that was distilled from the five.
        dtype: of all weights; float32 if not given.

    Raises:
        SettingError: a control that there is not, or a base that is something else.
        WeightsError: one line for each part that is missing, damaged or of another architecture.
    """
    given = _given(controlnets or {})
    base_name = _named(base) or "realistic-vision-5.1"
    names = [base_name, "sd-vae-ft-mse", *(f"controlnet-{name}" for name in CONTROLS)]
    if _lacks_tokenizer(base):
        names.append(_TOKENIZER)
    own_base = None if base == base_name else base
    found = weights.require(names, at={base_name: own_base, "sd-vae-ft-mse": vae, **given})
    nets = {name: found[f"controlnet-{name}"] for name in CONTROLS}
    own = {
        name: _checked(name, source)
        for name, source in (("identity", identity_controlnet), ("fused", fused_controlnet))
        if source is not None
    }
    _check_fits(found[base_name], {**nets, **own})

    dtype = dtype or torch.float32
    parts = load_base(found[base_name], found.get(_TOKENIZER), dtype)
    controlnet = MultiControlNetModel(
        [
            load_model(ControlNetModel, nets[n], dtype=dtype, name=f"controlnet-{n}")
            for n in CONTROLS
        ]
    )
    own_nets = {
        name: load_model(ControlNetModel, folder, dtype=dtype, name=f"{name}_controlnet")
        for name, folder in own.items()
    }
    return BasePipeline(
        vae=load_model(AutoencoderKL, found["sd-vae-ft-mse"], dtype=dtype, name="sd-vae-ft-mse"),
        unet=parts.unet,
        controlnet=controlnet.eval(),
        scheduler=sampler(parts.scheduler),
        identity_controlnet=own_nets.get("identity"),
        fused_controlnet=own_nets.get("fused"),
        fused_weights=read_fused_weights(own["fused"], CONTROLS) if "fused" in own else None,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        controls=CONTROLS,
        annotators="scene",
        size_px=512,
        default_weights=DEFAULT_WEIGHTS,
        default_strength=0.75,
        default_steps=20,
        default_anonymization_scale=1.25,
    )


def _named(base: Source | None) -> str:
    """The entry of the table that ``base`` names, empty if it is none."""
    if not isinstance(base, str) or base not in TABLE:
        return ""
    if TABLE[base].role != "base":
        raise SettingError(f"base: {base} is the {TABLE[base].role} of others")
    return base


def _lacks_tokenizer(base: Source | None) -> bool:
    """Whether ``base`` is one file that has no tokenizer beside it."""
    return base is not None and Path(base).is_file() and not _own_tokenizer(Path(base)).is_dir()


def _own_tokenizer(file: Path) -> Path:
    return file.parent / "tokenizer"


def _given(controlnets: Mapping[str, Source]) -> dict[str, Source]:
    if unknown := sorted(set(controlnets) - set(CONTROLS)):
        raise SettingError(f"controlnets: expected {', '.join(CONTROLS)}, got {unknown}")
    return {f"controlnet-{name}": source for name, source in controlnets.items()}


def _checked(name: str, source: Source) -> Path:
    """The folder of one of our own nets, "identity" or "fused"."""
    folder = Path(source)
    if not folder.is_dir():
        raise WeightsError(f"{name}_controlnet: {folder.name} is no folder")
    weights.check_folder_is(name, folder, f"{name}_controlnet")
    weights.check_sums(folder)
    return folder


def _check_fits(base: Path, nets: Mapping[str, Path]) -> None:
    """Whether the nets are of the UNet's width, before any of them is loaded."""
    unet = (
        unet_config(weights.shapes_of(base))
        if base.is_file()
        else weights.config_of(base, "unet/config.json", "base")
    )
    for name, folder in nets.items():
        label = f"controlnet-{name}" if name in CONTROLS else f"{name}_controlnet"
        weights.check_fits(weights.config_of(folder, "config.json", label), unet, label)


def load_base(path: Path, tokenizer: Path | None, dtype: torch.dtype) -> Base:
    """UNet, text encoder and tokenizer of a checkpoint; ``tokenizer``: for a file that has none."""
    if path.is_file():
        own = path.parent / "scheduler" / "scheduler_config.json"
        scheduler = _scheduler_config(path.parent if own.is_file() else None)
        tokenizer = tokenizer or _own_tokenizer(path)
        unet, text_encoder = load_single_file(path, dtype)
    else:
        tokenizer, scheduler = path / "tokenizer", _scheduler_config(path)
        unet = load_model(UNet2DConditionModel, path / "unet", dtype=dtype)
        text_encoder = load_model(CLIPTextModel, path / "text_encoder", dtype=dtype)
    return Base(
        unet=unet,
        text_encoder=text_encoder,
        tokenizer=_tokenizer(tokenizer),
        scheduler=scheduler,
    )


def _scheduler_config(folder: Path | None) -> dict[str, Any]:
    """The noise of a checkpoint; None: of Stable Diffusion 1.5 itself (Rombach et al. 2022)."""
    if folder is not None:
        return weights.config_of(folder, "scheduler/scheduler_config.json", "base")
    return {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": "epsilon",
        "steps_offset": 1,
    }


def sampler(config: dict[str, Any]) -> Any:
    """DPM++ 2M SDE with Karras' spacing, on the noise of ``config``."""
    return DPMSolverMultistepScheduler.from_config(
        config, algorithm_type="sde-dpmsolver++", solver_type="midpoint", use_karras_sigmas=True
    )


def _tokenizer(folder: Path) -> CLIPTokenizer:
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(
            "base: expected a tokenizer folder with vocab.json and merges.txt, or tokenizer.json"
        ) from error
