"""The attribute adapter: a T2I-Adapter that reads where in the picture which face is how.

Source: Mou et al. 2023, T2I-Adapter, arXiv 2302.08453, on the spatial encoding of CAMOUFLaGE-Light
(Piano et al., arXiv 2403.14790): 41 channels at the latent's own resolution, no pixel unshuffle.
"""

from __future__ import annotations

from diffusers.models.adapter import T2IAdapter
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from torch.nn import functional as F

from camouflage.annotators.attributes.spatial import CHANNELS


def attribute_adapter(unet: UNet2DConditionModel, *, blocks: int = 2) -> T2IAdapter:
    """A new adapter for ``unet``, of its widths, at random (nothing in it starts at zero).

    ``blocks``: residual blocks a level, 2 in CAMOUFLaGE-Light. Its first convolution is 3x3, the
    authors' 1x1 is its middle.
    """
    return T2IAdapter(
        in_channels=CHANNELS,
        channels=list(unet.config["block_out_channels"]),
        num_res_blocks=blocks,
        downscale_factor=1,
    )


def adapter_features(
    adapter: T2IAdapter, unet: UNet2DConditionModel, maps: Tensor, *, scale: float = 1.0
) -> list[Tensor]:
    """What the adapter adds in each block on the way down, for ``maps`` (B, 41, h, w).

    A block with cross-attention adds before it halves, one without after it: there the feature is
    averaged to the smaller size. The UNet empties the list that it is given, so give it a copy at
    each step; the released code does not, and its adapter acts at the first step only.
    """
    features = adapter(maps.to(adapter.dtype))
    return [
        scale
        * (F.avg_pool2d(feature, 2, ceil_mode=True) if _adds_after_halving(block) else feature)
        for feature, block in zip(features, unet.down_blocks, strict=True)
    ]


def _adds_after_halving(block: object) -> bool:
    has_attention = bool(getattr(block, "has_cross_attention", False))
    return not has_attention and getattr(block, "downsamplers", None) is not None
