"""The null context: what the UNet of a model without a text encoder attends to."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn


class NullContext(ModelMixin, ConfigMixin):
    """Learned tokens in the place of an empty text, the same for every picture.

    Args:
        n_tokens: how many tokens.
        dim: width of a token, the UNet's ``cross_attention_dim``.

    ``tokens`` (n_tokens, dim) starts normal with standard deviation 0.02 (our choice, the usual one
    of token embeddings).
    """

    @register_to_config
    def __init__(self, n_tokens: int = 4, dim: int = 128) -> None:
        super().__init__()
        self.tokens = nn.Parameter(0.02 * torch.randn(n_tokens, dim))

    def forward(self, batch: int) -> Tensor:
        """The tokens ``batch`` times, (batch, n_tokens, dim)."""
        return self.tokens.expand(batch, -1, -1)
