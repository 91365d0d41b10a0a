"""``mini-light``: CAMOUFLaGE-Light on the UNet and the autoencoder of ``mini``, offline.

Only what is Light's own lies beside mini's weights: the image encoder, the image prompt, the
adapter, the attribute network and a pool of faces that mini drew.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.models.adapter import T2IAdapter

from camouflage import weights
from camouflage.adapters.image_prompt import load_image_prompt
from camouflage.mini.attributes import SmallAttributeNet
from camouflage.mini.image_encoder import SmallImageEncoder
from camouflage.pipelines.base import BasePipeline
from camouflage.pipelines.light import IMAGE_PROMPT, POOL, LightPipeline
from camouflage.pipelines.light_encoder import sha256_of
from camouflage.swap import FacePool
from camouflage.weights import load_model


def mini_light_pipeline(
    *, dtype: torch.dtype | None = None, folder: Path | str | None = None
) -> LightPipeline:
    """The pipeline, on the CPU.

    Args:
        dtype: of all weights; float32 if not given.
        folder: what `training.export` wrote, in the place of the weights in this package.

    Raises:
        WeightsError: weights that are missing, damaged or not what their checksums say.
    """
    dtype = dtype or torch.float32
    base = BasePipeline.from_pretrained("mini", dtype=dtype)
    light = weights.mini_light_folder() if folder is None else Path(folder)
    weights.check_sums(light)
    load_image_prompt(base.unet, light / IMAGE_PROMPT)
    pipeline = LightPipeline(
        vae=base.vae,
        unet=base.unet,
        scheduler=base.scheduler,
        image_encoder=load_model(SmallImageEncoder, light / "image_encoder", dtype=dtype),
        adapter=load_model(T2IAdapter, light / "adapter", dtype=dtype),
        attribute_net=load_model(SmallAttributeNet, light / "attribute_net", dtype=dtype),
        landmarker=base.landmarker,
        null_context=base.null_context,
        annotators="aligned_face",
        size_px=base.config["size_px"],
        default_guidance_scale=1.0,
        default_strength=0.8,
        default_steps=16,
        default_original_share=0.0,
        default_swap_side=base.config["size_px"],
        default_swap_alignment="mesh",
        encoder_sha256=sha256_of(light / "image_encoder"),
    )
    if (light / POOL).is_dir():
        pipeline.pool = FacePool.load(light / POOL)
    return pipeline
