"""Small random weights in exactly the layout in which the hub has them, for tests.

``sd15_folders`` are read only; ``sd15_models`` is a copy of them as a user's folder of models.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WIDTHS = (32, 32, 64, 64)

_ATTENTION = "CrossAttnDownBlock2D"
DENOISER: dict[str, Any] = {
    "in_channels": 4,
    "block_out_channels": WIDTHS,
    "down_block_types": (_ATTENTION, _ATTENTION, _ATTENTION, "DownBlock2D"),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
"""Stable Diffusion 1.5's, but for the widths."""


def small_unet() -> Any:
    from diffusers import UNet2DConditionModel

    up = "CrossAttnUpBlock2D"
    return UNet2DConditionModel(
        sample_size=8, out_channels=4, up_block_types=("UpBlock2D", up, up, up), **DENOISER
    )


def small_text_encoder() -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(_vocabulary()), hidden_size=768, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=12, max_position_embeddings=77, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return CLIPTextModel(config)


def small_controlnet(**changed: Any) -> Any:
    from diffusers import ControlNetModel
    from torch import nn

    settings = {"conditioning_embedding_out_channels": (4, 8, 8, 16), **DENOISER, **changed}
    net = ControlNetModel(**settings)
    zero = (net.controlnet_cond_embedding.conv_out, net.controlnet_mid_block)
    for convolution in (*zero, *net.controlnet_down_blocks):
        nn.init.normal_(next(convolution.parameters()), std=0.05)
    return net


def write_tokenizer(folder: Path) -> None:
    """``vocab.json`` and ``merges.txt`` of an alphabet, as the hub has them."""
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(_vocabulary()))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    settings = {"model_max_length": 77, "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_base(folder: Path, unet: Any, text_encoder: Any) -> None:
    from diffusers import PNDMScheduler

    unet.save_pretrained(folder / "unet")
    write_text_encoder(folder / "text_encoder", text_encoder)
    write_tokenizer(folder / "tokenizer")
    PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True,
        steps_offset=1,
    ).save_pretrained(folder / "scheduler")  # fmt: skip


def write_text_encoder(folder: Path, text_encoder: Any) -> None:
    """With the names, and the buffer, of transformers before 4.31."""
    import torch
    from safetensors.torch import save_file

    text_encoder.save_pretrained(folder)
    state = {f"text_model.{name}": value for name, value in text_encoder.state_dict().items()}
    state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def write_vae(folder: Path, vae: Any) -> None:
    """With the settings and the names of diffusers 0.4.2, as sd-vae-ft-mse is published."""
    from safetensors.torch import save_file

    vae.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    old = {name: config[name] for name in _OLD_SETTINGS} | {"_diffusers_version": "0.4.2"}
    (folder / "config.json").write_text(json.dumps(old, indent=2) + "\n")
    state = {_old_name(name): value for name, value in vae.state_dict().items()}
    weights = folder / "diffusion_pytorch_model.safetensors"
    save_file(state, weights, metadata={"format": "pt"})


_OLD_SETTINGS = (
    "_class_name", "act_fn", "block_out_channels", "down_block_types", "in_channels",
    "latent_channels", "layers_per_block", "norm_num_groups", "out_channels", "sample_size",
    "up_block_types",
)  # fmt: skip
_OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def _old_name(name: str) -> str:
    for new, old in _OLD_NAMES.items():
        name = name.replace(f".{new}.", f".{old}.")
    return name


def _vocabulary() -> dict[str, int]:
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{one}</w>" for one in letters)]
    return {word: number for number, word in enumerate(words)}


@pytest.fixture(scope="session")
def sd15_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder NAME for each entry of the group ``sd15``, of weights of some megabytes.

    And ``tokenizer-clip``.
    """
    import torch
    from diffusers import AutoencoderKL

    from camouflage.weights import CONTROLS

    blocks: dict[str, Any] = {
        "block_out_channels": (8, 8, 8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    root = tmp_path_factory.mktemp("published")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        write_base(root / "realistic-vision-5.1", small_unet(), small_text_encoder())
        write_vae(
            root / "sd-vae-ft-mse", AutoencoderKL(latent_channels=4, norm_num_groups=4, **blocks)
        )
        write_tokenizer(root / "tokenizer-clip")
        for control in CONTROLS:
            small_controlnet().save_pretrained(root / f"controlnet-{control}")
    return root


@pytest.fixture
def sd15_models(
    sd15_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Makes a folder of one's models of the named entries, all if none is named, with lists."""
    from camouflage.weights import MODELS, write_sums

    models = tmp_path / "models"
    models.mkdir()
    monkeypatch.setenv(MODELS, str(models))

    def make(*names: str) -> Path:
        for name in names or [folder.name for folder in sd15_folders.iterdir()]:
            write_sums(Path(shutil.copytree(sd15_folders / name, models / name)))
        return models

    return make
