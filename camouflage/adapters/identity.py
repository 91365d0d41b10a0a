"""The identity ControlNet: what makes the UNet predict the picture that it was given."""

from __future__ import annotations

from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel


def identity_controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    """A new identity ControlNet for ``unet``, with the UNet's encoder copied and zeros at its end.

    A stock ``ControlNetModel`` whose conditioning embedding takes the latent z_0 of the picture,
    (B, C, h, w) as :func:`camouflage.denoise.encode` gives it, at its own resolution: 3x3
    convolution, SiLU, zero convolution, no down-sampling. Untrained it adds exactly nothing.

    Source: "an additional ControlNet, taking as input directly the VAE encoding and acting as the
    identity function", Piano et al., arXiv 2403.14790; the embedding's form is ours.
    """
    return ControlNetModel.from_unet(
        unet,
        conditioning_channels=unet.config["in_channels"],
        conditioning_embedding_out_channels=(unet.config["block_out_channels"][0],),
    )
