"""A small CAMOUFLaGE-Light of random weights, made in memory, and a pool of drawn faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler
from torch import nn

from camouflage.adapters.attribute_adapter import attribute_adapter
from camouflage.adapters.image_prompt import attach_image_prompt, image_attentions_of
from camouflage.annotators.landmarks import LandmarkNet
from camouflage.mini.attributes import SmallAttributeNet
from camouflage.mini.context import NullContext
from camouflage.mini.image_encoder import SmallImageEncoder
from camouflage.pipelines.light import LightPipeline
from camouflage.pipelines.light_faces import LightFace
from camouflage.pipelines.tiny import tiny_autoencoder, tiny_unet
from camouflage.swap import EmbeddedFace, FacePool, write_pool

from .swap.conftest import fake, mean_xy, noise, shape

FAKES = 6
POOL_SIDE = 32
EMBEDDING = 8


def small_encoder() -> SmallImageEncoder:
    return SmallImageEncoder(
        channels=(8, 8, 16, 16), feature_width=16, projection_dim=EMBEDDING, image_size=32
    )


def small_light(*, seed: int = 0, pool: Path | None = None, **changed: Any) -> LightPipeline:
    """Of latents 8 x 8 for pictures of 64 px; ``changed`` goes to the pipeline, parts as well."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = tiny_unet()
        encoder = small_encoder()
        attach_image_prompt(unet, embed_dim=encoder.token_width, width=64, tokens=4)
        lively_image_prompt(unet)
        parts: dict[str, Any] = {
            "vae": tiny_autoencoder(),
            "unet": unet,
            "scheduler": DPMSolverMultistepScheduler(prediction_type="v_prediction"),
            "image_encoder": encoder,
            "adapter": attribute_adapter(unet, blocks=1),
            "attribute_net": SmallAttributeNet(channels=(8, 8, 8, 8)),
            "landmarker": small_landmarker(),
            "null_context": NullContext(n_tokens=4, dim=unet.config["cross_attention_dim"]),
        }
        settings = {
            "annotators": "aligned_face",
            "size_px": 64,
            "default_guidance_scale": 1.5,
            "default_strength": 0.75,
            "default_steps": 4,
            "default_original_share": 0.0,
            "default_swap_side": 64,
            "default_swap_alignment": "mesh",
            "random_weights": True,
        }
        pipeline = LightPipeline(**{**parts, **settings, **changed})
    for module in pipeline.components.values():
        if isinstance(module, nn.Module):
            module.eval()
    pipeline.pool = None if pool is None else FacePool.load(pool)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def lively_image_prompt(unet: Any) -> None:
    """Keys and values of the image that are not the text's, as after a training."""
    for processor in image_attentions_of(unet).values():
        for layer in (*processor.to_k_ip, *processor.to_v_ip):
            nn.init.normal_(layer.weight, std=0.3)


def small_landmarker() -> LandmarkNet:
    """Says of every face that it is nearly the mean one."""
    net = LandmarkNet(channels=(8, 8, 8), features=8)
    net.mean_xy.copy_(torch.from_numpy(mean_xy()))
    return net


def write_small_pool(folder: Path, *, fakes: int = FAKES) -> Path:
    """Faces of different textures, with embeddings that have nothing to do with them."""
    rows = np.random.default_rng(0).normal(size=(fakes, EMBEDDING))
    faces = [
        EmbeddedFace(face=fake(noise(POOL_SIDE, POOL_SIDE, seed=i)), embedding=row)
        for i, row in enumerate(rows)
    ]
    write_pool(
        folder, faces, side=POOL_SIDE, encoder_name="tests", encoder_sha256="ab" * 32, suffix=".png"
    )
    return folder


def light_face(*, side: float = 56, at_xy: tuple[float, float] = (4, 4)) -> LightFace:
    """A frontal face whose aligned crop has ``side`` px and its corner at ``at_xy``."""
    found = shape(side=side, at_xy=at_xy)
    low, high = found.points_xy.min(0), found.points_xy.max(0)
    x0, y0, x1, y1 = (float(v) for v in (*low, *high))
    return LightFace(box_xyxy=(x0, y0, x1, y1), shape=found)
