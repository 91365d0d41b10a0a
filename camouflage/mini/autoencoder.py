"""The small autoencoder of ``mini``: 128 px pictures to 16x16 latents and back, fast on a CPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import BaseOutput
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass
class EncoderOutput(BaseOutput):
    """``latent_dist`` as the autoencoders of diffusers return it."""

    latent_dist: PointDistribution


@dataclass
class DecoderOutput(BaseOutput):
    """``sample`` (B, 3, H, W) as the autoencoders of diffusers return it."""

    sample: Tensor


@dataclass(frozen=True)
class PointDistribution:
    """A distribution with one value, (B, C, h, w): this autoencoder has no variance."""

    value: Tensor

    def mode(self) -> Tensor:
        """The value."""
        return self.value

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """The value too; ``generator`` is there for the interface of diffusers."""
        del generator
        return self.value


class SmallAutoencoder(ModelMixin, ConfigMixin):
    """Plain convolutions on un-shuffled pixels, no attention, no variance.

    ``encode`` takes (B, 3, H, W) in [-1, 1] with sides divisible by 8 and gives
    ``latent_dist`` (B, latent_channels, H/8, W/8); ``decode`` goes back. Un-shuffling by 4 before
    the first convolution is what makes it about thirty times cheaper than an ``AutoencoderTiny``
    of the same size. Sizes are our own choice. ``latent_mean`` and ``latent_std`` (C,) are set
    after training, so that latents have mean 0 and variance 1 in each channel.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 16,
        channels: tuple[int, int] = (64, 128),
        layers: int = 2,
        scaling_factor: float = 1.0,
    ) -> None:
        super().__init__()
        fine, coarse = channels
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, fine, 3, padding=1),
            *(ResidualBlock(fine) for _ in range(layers)),
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * fine, coarse, 3, padding=1),
            *(ResidualBlock(coarse) for _ in range(layers)),
            nn.Conv2d(coarse, latent_channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, coarse, 3, padding=1),
            *(ResidualBlock(coarse) for _ in range(layers)),
            nn.Conv2d(coarse, 4 * fine, 3, padding=1),
            nn.PixelShuffle(2),
            *(ResidualBlock(fine) for _ in range(layers)),
            nn.Conv2d(fine, 48, 3, padding=1),
            nn.PixelShuffle(4),
        )
        self.register_buffer("latent_mean", torch.zeros(latent_channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(latent_channels, 1, 1))

    @apply_forward_hook
    def encode(self, pixels: Tensor, return_dict: bool = True) -> EncoderOutput:
        """Latents of ``pixels`` (B, 3, H, W) in [-1, 1], unscaled."""
        del return_dict
        latents = (self.encoder(pixels) - self.latent_mean) / self.latent_std
        return EncoderOutput(latent_dist=PointDistribution(latents))

    @apply_forward_hook
    def decode(
        self, latents: Tensor, return_dict: bool = True, generator: torch.Generator | None = None
    ) -> DecoderOutput | tuple[Tensor]:
        """Pixels (B, 3, H, W), about [-1, 1], of unscaled ``latents`` (B, C, h, w)."""
        del generator
        pixels = self._decoded(latents)
        return DecoderOutput(sample=pixels) if return_dict else (pixels,)

    def forward(self, pixels: Tensor) -> Tensor:
        """The reconstruction of ``pixels``, same shape."""
        return self._decoded(self.encode(pixels).latent_dist.mode())

    def _decoded(self, latents: Tensor) -> Tensor:
        return self.decoder(latents * self.latent_std + self.latent_mean)


class ResidualBlock(nn.Module):
    """x + conv(silu(conv(silu(x)))) with 3x3 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))
