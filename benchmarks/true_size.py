"""The published networks at their true sizes, with random weights.

Neither speed nor memory depends on their values.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from camouflage.adapters.fused import fused_controlnet
from camouflage.pipelines.base import BasePipeline
from camouflage.pipelines.light import LightPipeline
from camouflage.pipelines.sd15 import DEFAULT_WEIGHTS

CONTROLS = tuple(DEFAULT_WEIGHTS)


def _tokenizer() -> Any:
    """CLIP's, of an alphabet in the place of its vocabulary, which nothing here depends on."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{one}</w>" for one in letters)]
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = {word: number for number, word in enumerate(words)}
        (Path(folder) / "vocab.json").write_text(json.dumps(vocabulary))
        (Path(folder) / "merges.txt").write_text("#version: 0.2\n")
        return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


NET: dict[str, Any] = {"cross_attention_dim": 768, "attention_head_dim": 8}
"""Of UNet and ControlNets, beside their defaults."""


def base_parts(dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """What both methods stand on: SD 1.5, its autoencoder and its text encoder."""
    from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    blocks: dict[str, Any] = {
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    text = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        max_position_embeddings=77, vocab_size=49408, projection_dim=768,
    )  # fmt: skip
    vae = lambda: AutoencoderKL(latent_channels=4, layers_per_block=2, **blocks)  # noqa: E731
    return {
        "vae": made(vae, dtype, device),
        "unet": made(lambda: UNet2DConditionModel(sample_size=64, **NET), dtype, device),
        "scheduler": DPMSolverMultistepScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
            algorithm_type="sde-dpmsolver++", use_karras_sigmas=True,
        ),
        "text_encoder": frozen(CLIPTextModel(text).to(device, dtype)),  # pyright: ignore
        "tokenizer": _tokenizer(),
        "random_weights": True,
    }  # fmt: skip


def made(make: Callable[[], nn.Module], dtype: torch.dtype, device: torch.device) -> Any:
    """A frozen network of small random numbers, made where it shall be; it must have no buffers."""
    with torch.device("meta"):
        module = make()
    return frozen(_filled(module.to(dtype).to_empty(device=device)))


def frozen(module: nn.Module) -> Any:
    """Ready for use."""
    return module.eval().requires_grad_(False)


def true_size_base(dtype: torch.dtype, device: torch.device, *, fused: bool = True) -> BasePipeline:
    """SD 1.5 with five ControlNets, the identity ControlNet and, if it shall be, the fused one."""
    from diffusers import ControlNetModel, MultiControlNetModel

    nets = [made(lambda: ControlNetModel(**NET), dtype, device) for _ in CONTROLS]
    identity = {"conditioning_channels": 4, "conditioning_embedding_out_channels": (320,)}
    one: Any = fused_controlnet(nets) if fused else None
    pipeline = BasePipeline(
        **base_parts(dtype, device),
        controlnet=MultiControlNetModel(nets),
        identity_controlnet=made(lambda: ControlNetModel(**NET, **identity), dtype, device),
        fused_controlnet=one.to(device).eval().requires_grad_(False) if fused else None,
        fused_weights=DEFAULT_WEIGHTS if fused else None,
        controls=CONTROLS,
        annotators="scene",
        default_weights=DEFAULT_WEIGHTS,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def true_size_light(dtype: torch.dtype, device: torch.device) -> LightPipeline:
    """SD 1.5 with an image prompt of FaRL's size, the attribute adapter and FACER's network."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from camouflage.adapters.attribute_adapter import attribute_adapter
    from camouflage.adapters.image_prompt import attach_image_prompt
    from camouflage.annotators.attributes import AttributeNet
    from camouflage.annotators.landmarks import LandmarkNet

    parts = base_parts(dtype, device)
    attach_image_prompt(parts["unet"], embed_dim=768, width=768, tokens=16)
    farl = CLIPVisionConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        image_size=224, patch_size=16, projection_dim=512,
    )  # fmt: skip
    light = {
        "image_encoder": CLIPVisionModelWithProjection(farl),
        "adapter": attribute_adapter(parts["unet"]),
        "attribute_net": AttributeNet(),
    }
    pipeline = LightPipeline(
        **parts,
        **{name: frozen(module.to(device, dtype)) for name, module in light.items()},
        landmarker=LandmarkNet(),
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.unet.requires_grad_(False)
    return pipeline.to(device)


def _filled(module: nn.Module) -> nn.Module:
    """Small numbers everywhere: zeros would be as fast, but hide what overflows."""
    generator = torch.Generator(next(module.parameters()).device).manual_seed(0)
    for name, weight in module.named_parameters():
        if weight.dim() > 1:
            fan_in = weight[0].numel()
            nn.init.normal_(weight, std=0.5 * fan_in**-0.5, generator=generator)
        else:
            nn.init.constant_(weight, float("norm" in name and name.endswith("weight")))
    return module


def stock_pipeline(ours: BasePipeline) -> Any:
    """diffusers' pipeline of the same modules."""
    from diffusers import StableDiffusionControlNetImg2ImgPipeline

    kept = ("vae", "text_encoder", "tokenizer", "unet", "controlnet", "scheduler")
    left_out = dict.fromkeys(("safety_checker", "feature_extractor"))
    parts: dict[str, Any] = {**{name: getattr(ours, name) for name in kept}, **left_out}
    stock = StableDiffusionControlNetImg2ImgPipeline(**parts, requires_safety_checker=False)
    stock.set_progress_bar_config(disable=True)
    return stock
