"""The image encoder of mini-light: what of a face can be described, in tokens and as an embedding.

It stands where FaRL stands in CAMOUFLaGE-Light, and gives what a vision transformer of the CLIP
family gives. It is convolutional: a transformer learns too slowly from two thousand faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F

from camouflage.annotators.landmarks import residual_stages

TOKEN_LAYERS = 7
"""Of the body, up to its third level: where the tokens are."""


class Encoded(NamedTuple):
    """As the output of ``CLIPVisionModelWithProjection``, as far as it is used."""

    image_embeds: Tensor
    hidden_states: tuple[Tensor, Tensor]


class SmallImageEncoder(ModelMixin, ConfigMixin):
    """(B, 3, 128, 128), normalised as for CLIP, to tokens and an embedding of the whole.

    Args:
        channels: of the four levels; the third is the width of a token.
        feature_width: of the layer before the embedding.
        projection_dim: of the embedding.
        image_size: side of the pictures.

    The body and the first layer of the embedding are those of `LandmarkNet`, so that their weights
    can start from that network's. Sizes are our choice.
    """

    @register_to_config
    def __init__(
        self,
        channels: Sequence[int] = (48, 96, 160, 160),
        feature_width: int = 256,
        projection_dim: int = 64,
        image_size: int = 128,
    ) -> None:
        super().__init__()
        self.body = residual_stages(channels)
        self.norm = nn.LayerNorm(channels[2])
        self.features = nn.Linear(channels[-1] * (image_size // 32) ** 2, feature_width)
        width = feature_width + 4 * channels[2]
        self.register_buffer("described_mean", torch.zeros(width))
        self.register_buffer("described_std", torch.ones(width))
        self.visual_projection = nn.Linear(width, projection_dim)

    @property
    def token_width(self) -> int:
        """Width of a token."""
        return self.config["channels"][2]

    def forward(self, pixels: Tensor, output_hidden_states: bool = False) -> Encoded:
        """``image_embeds`` (B, projection_dim); ``hidden_states[-2]`` (B, 64, width), row by row.

        The two hidden states are the same, as there is one kind of token.
        """
        del output_hidden_states  # they are there in any case
        grid = self.body[:TOKEN_LAYERS](pixels)
        tokens = self.norm(grid.flatten(2).transpose(1, 2))
        embeds = self.visual_projection(self.described(grid))
        return Encoded(image_embeds=embeds, hidden_states=(tokens, tokens))

    def described(self, grid: Tensor) -> Tensor:
        """(B, feature_width + 4 width): features of the whole, and means over its four quarters,
        each brought to mean 0 and spread 1 over the faces it was made for.

        ``grid``: what the body gives at its third level.
        """
        features = F.silu(self.features(self.body[TOKEN_LAYERS:](grid).flatten(1)))
        described = torch.cat([features, F.adaptive_avg_pool2d(grid, 2).flatten(1)], 1)
        return (described - self.described_mean) / self.described_std
