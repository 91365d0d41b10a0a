"""A checkpoint of Stable Diffusion 1.5 in one safetensors file, with the original code's names.

diffusers converts the names; the configurations it wants beside them are made here, from the
shapes in the file, so that nothing is fetched.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from safetensors import SafetensorError
from transformers import CLIPTextModel

from camouflage.errors import WeightsError
from camouflage.weights import check_loaded, shapes_of

Shapes = Mapping[str, tuple[int, ...]]

_UNET = "model.diffusion_model."
_TEXT = "cond_stage_model.transformer.text_model."
_FIRST_OF_LEVEL = (1, 4, 7, 10)
"""The input block that begins each of the four levels: three blocks a level, after the first."""


def load_single_file(path: Path, dtype: torch.dtype) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """The UNet and the text encoder of a file; its autoencoder is not read.

    Raises:
        WeightsError: tensors are missing or have other shapes than the others ask for.
    """
    shapes = shapes_of(path)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name, config in _configs(shapes).items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(json.dumps(config), encoding="utf-8")
        try:
            pipeline: Any = StableDiffusionPipeline.from_single_file(
                str(path),
                config=str(folder),
                local_files_only=True,
                dtype=dtype,
                vae=None,
                tokenizer=None,
                safety_checker=None,
                feature_extractor=None,
            )
        except (OSError, SafetensorError, RuntimeError, ValueError, KeyError) as error:
            raise WeightsError(
                f"{path.name}: no whole checkpoint of Stable Diffusion 1.5 ({type(error).__name__})"
            ) from error
    for part in (pipeline.unet, pipeline.text_encoder):
        check_loaded(part, f"{path.name}: no whole checkpoint of Stable Diffusion 1.5")
    return pipeline.unet.eval(), pipeline.text_encoder.eval()


def unet_config(shapes: Shapes) -> dict[str, Any]:
    """The configuration of the UNet in a file: Stable Diffusion 1.5's, at the width it has."""
    with_attention = ["CrossAttnDownBlock2D"] * 3
    return {
        "_class_name": "UNet2DConditionModel",
        "sample_size": 64,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": [
            _shape(shapes, f"{_UNET}input_blocks.{block}.0.out_layers.3.weight")[0]
            for block in _FIRST_OF_LEVEL
        ],
        "down_block_types": [*with_attention, "DownBlock2D"],
        "up_block_types": ["UpBlock2D", *(["CrossAttnUpBlock2D"] * 3)],
        "layers_per_block": 2,
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
    }


def _text_config(shapes: Shapes) -> dict[str, Any]:
    vocabulary, width = _shape(shapes, f"{_TEXT}embeddings.token_embedding.weight")
    layers = {name.split(".")[5] for name in shapes if name.startswith(f"{_TEXT}encoder.layers.")}
    return {
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": _shape(shapes, f"{_TEXT}encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": 12,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
    }


def _configs(shapes: Shapes) -> dict[str, dict[str, Any]]:
    """By file name, what diffusers wants to know."""
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "vae": [None, None],
        "tokenizer": [None, None],
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
    }
    scheduler = {"_class_name": "DDIMScheduler", "steps_offset": 1, "clip_sample": False}
    return {
        "model_index.json": index,
        "unet/config.json": unet_config(shapes),
        "text_encoder/config.json": _text_config(shapes),
        "scheduler/scheduler_config.json": scheduler,
    }


def _shape(shapes: Shapes, name: str) -> tuple[int, ...]:
    if name not in shapes:
        raise WeightsError(f"no whole checkpoint of Stable Diffusion 1.5 (no {name})")
    return shapes[name]
