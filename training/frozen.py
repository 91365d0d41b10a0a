"""The parts of a base model that do not learn: where they are, and what they are."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from camouflage.mini.autoencoder import SmallAutoencoder
from camouflage.mini.context import NullContext
from camouflage.weights import check_sums, file_sha256, find, load_model

WEIGHTS = "diffusion_pytorch_model"


class Frozen(list[nn.Module]):
    """Networks that a LightningModule uses and that are none of its children.

    So they are not in checkpoints, not in the buckets of DDP, not in the optimizer; and a copy of
    the module, as the weight average makes one, shares them.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> Frozen:
        return copy.copy(self)


def frozen_dtype(precision: object) -> torch.dtype:
    """In which frozen networks are held, by a trainer's ``precision``."""
    halves = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    return halves.get(str(precision), torch.float32)


def weights_folder(name: str) -> Path:
    """A folder as it is given, or that of a name in the table of weights, fetched if need be.

    Raises:
        SettingError: it is neither.
        WeightsError: it is missing, or not what its checksums say.
    """
    folder = Path(name)
    if not folder.is_dir():
        return find(name)
    check_sums(folder)
    return folder


def load_autoencoder(folder: str) -> AutoencoderKL | SmallAutoencoder:
    """A frozen autoencoder: ours, or any ``AutoencoderKL``."""
    model = load_model(_autoencoder_class(folder), Path(folder), dtype=torch.float32)
    return model.requires_grad_(False).to(memory_format=torch.channels_last)


def autoencoder_config(folder: Path) -> Mapping[str, Any]:
    """The settings of the autoencoder in ``folder``, with the class' defaults for those not named.

    The published ones are of an age that had no ``scaling_factor``.
    """
    kind = _autoencoder_class(folder)
    with torch.device("meta"):
        return kind.from_config(kind.load_config(folder)).config


def _autoencoder_class(folder: Path | str) -> type[AutoencoderKL] | type[SmallAutoencoder]:
    config = SmallAutoencoder.load_config(folder)
    return AutoencoderKL if config["_class_name"] == "AutoencoderKL" else SmallAutoencoder


def load_unet(base: Path) -> UNet2DConditionModel:
    """The frozen UNet of the pipeline in ``base``, float32."""
    unet = load_model(UNet2DConditionModel, base / "unet", dtype=torch.float32)
    return unet.requires_grad_(False).to(memory_format=torch.channels_last)


@torch.no_grad()
def null_text(base: Path) -> Tensor:
    """What the UNet of ``base`` attends to without a text, (1, tokens, dim), float32.

    It is the encoding of "", or the ``null_context`` of a model without a text encoder; the same
    as `BasePipeline.null_text`.
    """
    if not (base / "text_encoder").is_dir():
        context = load_model(NullContext, base / "null_context", dtype=torch.float32)
        return context(1).clone()
    tokenizer = CLIPTokenizer.from_pretrained(base, subfolder="tokenizer")
    encoder = load_model(CLIPTextModel, base / "text_encoder", dtype=torch.float32)
    tokens = tokenizer(
        [""], padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt"
    )
    return encoder(tokens.input_ids)[0]


def noise_schedule(base: Path) -> DDPMScheduler:
    """The schedule that ``base`` was trained with; its sampler does not matter here."""
    config = DDPMScheduler.load_config(base, subfolder="scheduler")
    return DDPMScheduler.from_config(config)


def weights_sha256(folder: Path) -> str:
    """One hash over the bytes of a model's weights, whole or in numbered parts.

    Raises:
        FileNotFoundError: there is no safetensors file of diffusers' name in ``folder``.
    """
    whole = folder / f"{WEIGHTS}.safetensors"
    files = [whole] if whole.is_file() else sorted(folder.glob(f"{WEIGHTS}-*-of-*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{folder.name}: expected {whole.name} in it")
    digests = "\n".join(file_sha256(file) for file in files)
    return hashlib.sha256(digests.encode()).hexdigest()


def state_sha256(modules: Iterable[nn.Module]) -> str:
    """One hash over the numbers of loaded networks, in their order, as they are in memory."""
    digest = hashlib.sha256()
    for module in modules:
        for name, value in module.state_dict().items():
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(
                value.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().tobytes()
            )
    return digest.hexdigest()
