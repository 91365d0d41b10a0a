"""The upscaler of ``mini``: a face as the model draws it, at twice its size and with its detail."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F

RESIDUAL = 0.2
"""By what a block's share is multiplied, as in networks that enlarge pictures without norms (Lim et
al. 2017, arXiv 1707.02921, have 0.1): with all of it features grow until the last ones are dead."""


class SmallUpscaler(ModelMixin, ConfigMixin):
    """Plain convolutions at a half and a quarter of the crop's scale; they add to it, enlarged.

    Args:
        channels: of the crop's scale, of its half and of its quarter.
        layers: residual blocks at each of them; of the middle one as many on the way down as up.
        side: of the crops, in pixels, that it was trained on.

    Faces are aligned, so where a pixel lies says whether it is of an eye or of a cheek: its place
    is an input. Freshly made the network enlarges and does nothing else. Un-shuffled pixels make it
    cheap on a CPU. Sizes are our choice.
    """

    @register_to_config
    def __init__(
        self,
        channels: tuple[int, int, int] = (32, 64, 128),
        layers: tuple[int, int, int] = (1, 3, 2),
        side: int = 128,
    ) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.first = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(20, middle, 3, padding=1), _blocks(middle, layers[1])
        )
        self.coarse = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * middle, coarse, 3, padding=1),
            _blocks(coarse, layers[2]),
            nn.Conv2d(coarse, 4 * middle, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.last = nn.Sequential(
            _blocks(middle, layers[1]),
            nn.Conv2d(middle, 4 * fine, 3, padding=1),
            nn.PixelShuffle(2),
            _blocks(fine, layers[0]),
        )
        self.difference = nn.Conv2d(fine, 12, 3, padding=1)
        nn.init.zeros_(self.difference.weight)
        nn.init.zeros_(self.difference.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, pixels: Tensor, places: Tensor | None = None) -> Tensor:
        """(B, 3, 2 H, 2 W), about [-1, 1], of ``pixels`` (B, 3, H, W) in [-1, 1].

        ``places`` (B, 2, H, W) in [-1, 1]: where in its crop each pixel lies, as `places_of` says;
        None: ``pixels`` are whole crops. Sides divisible by 4.
        """
        if places is None:
            places = places_of(pixels.shape[-1]).to(pixels).expand(len(pixels), -1, -1, -1)
        x = self.first(torch.cat([pixels, places], 1))
        x = self.last(x + self.coarse(x))
        return enlarged(pixels) + F.pixel_shuffle(self.difference(x), 2)


def places_of(side: int) -> Tensor:
    """(2, side, side) in [-1, 1]: x and y of every pixel of a crop."""
    line = (torch.arange(side) + 0.5) / side * 2 - 1
    return torch.stack([line.expand(side, side), line[:, None].expand(side, side)])


def enlarged(pixels: Tensor) -> Tensor:
    """(B, C, 2 H, 2 W) of (B, C, H, W): what the upscaler adds to."""
    return F.interpolate(pixels, scale_factor=2, mode="bicubic", align_corners=False)


class ScaledBlock(nn.Module):
    """x + 0.2 conv(leaky(conv(x))) with 3x3 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W), as it came."""
        return x + RESIDUAL * self.second(F.leaky_relu(self.first(x), 0.2))


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ScaledBlock(channels) for _ in range(count)))
