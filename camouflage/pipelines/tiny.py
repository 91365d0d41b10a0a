"""``tiny``: a whole pipeline of random weights, made in memory in about a second.

For tests of mechanics; what it draws is noise, and passes no audit, also once it was saved and
loaded again. Same seed, same weights.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import nn

from camouflage.adapters.identity import identity_controlnet
from camouflage.annotators.landmarks import LandmarkNet
from camouflage.mini.context import NullContext
from camouflage.pipelines.base import BasePipeline

PredictionType = Literal["epsilon", "v_prediction", "sample"]

CONTROLS = ("landmarks", "lineart", "colour")
"""The controls of ``mini``, in its order."""


def tiny_pipeline(
    *, seed: int = 0, prediction_type: PredictionType = "v_prediction"
) -> BasePipeline:
    """A pipeline for pictures with sides divisible by 16 px, on the CPU in float32.

    The global random state is left as it was. A fresh ControlNet adds exactly nothing, so its zero
    convolutions are filled with noise too.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = tiny_unet()
        nets = [tiny_controlnet(unet) for _ in CONTROLS]
        pipeline = BasePipeline(
            vae=tiny_autoencoder(),
            unet=unet,
            controlnet=MultiControlNetModel(nets),
            scheduler=DPMSolverMultistepScheduler(prediction_type=prediction_type),
            identity_controlnet=with_noise(identity_controlnet(unet)),
            landmarker=LandmarkNet(channels=(8, 8, 8), features=8),
            null_context=NullContext(n_tokens=4, dim=unet.config["cross_attention_dim"]),
            controls=CONTROLS,
            size_px=64,
            default_steps=4,
            random_weights=True,
        )
    for module in pipeline.components.values():
        if isinstance(module, nn.Module):
            module.eval()
    return pipeline


def tiny_unet() -> UNet2DConditionModel:
    """One level down, latents (B, 4, h, w), context (B, tokens, 16)."""
    return UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=8,
    )


def tiny_autoencoder() -> AutoencoderKL:
    """Three halvings: 64 px become latents of 8x8."""
    blocks: dict[str, Any] = {  # diffusers types these as tuples of one
        "block_out_channels": (8, 8, 8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    return AutoencoderKL(latent_channels=4, norm_num_groups=4, **blocks)


def tiny_controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    """A ControlNet for ``unet`` and maps of three colours."""
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8, 8, 16))
    return with_noise(net)


def with_noise(net: ControlNetModel) -> ControlNetModel:
    """``net``, its zero convolutions filled with noise of deviation 0.1."""
    zero = (net.controlnet_cond_embedding.conv_out, net.controlnet_mid_block)
    for convolution in (*zero, *net.controlnet_down_blocks):
        nn.init.normal_(next(convolution.parameters()), std=0.1)
    return net
