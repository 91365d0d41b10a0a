"""The attribute network of mini-light: small, convolutional, and honest about what it knows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F

from camouflage.annotators.attributes.names import CELEBA_ATTRIBUTES
from camouflage.errors import SettingError
from camouflage.subjects.crops import template


class SmallAttributeNet(ModelMixin, ConfigMixin):
    """Probabilities of the 40 attributes: (N, 3, 128, 128) in [0, 1] to (N, 40) float32.

    In the place of FACER's network where nothing can be downloaded; it reads this package's own
    aligned crops. A transformer of FACER's kind learns nothing from two thousand faces.

    Args:
        channels: of the levels, each half as large as the one before. Our choice.
        live: the attributes that the weights know. The channels of all others are exactly 0.

    Raises `SettingError` for an attribute that is none.
    """

    side = 128

    @register_to_config
    def __init__(
        self, channels: Sequence[int] = (24, 48, 96, 128), live: Sequence[str] = CELEBA_ATTRIBUTES
    ) -> None:
        super().__init__()
        if unknown := sorted(set(live) - set(CELEBA_ATTRIBUTES)):
            raise SettingError(f"live: expected names of CELEBA_ATTRIBUTES, got {unknown}")
        layers: list[nn.Module] = []
        for before, after in zip((3, *channels), channels, strict=False):
            layers += [
                nn.Conv2d(before, after, 3, stride=2, padding=1),
                nn.GroupNorm(8, after),
                nn.SiLU(),
                nn.Conv2d(after, after, 3, padding=1),
                nn.GroupNorm(8, after),
                nn.SiLU(),
            ]
        self.body = nn.Sequential(*layers)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(4 * channels[-1], len(CELEBA_ATTRIBUTES))
        is_live = torch.tensor([name in live for name in CELEBA_ATTRIBUTES])
        self.register_buffer("is_live", is_live, persistent=False)
        self.template = template(self.side) + 0.5  # from the pixels' edges

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 40) float32 in [0, 1]; exactly 0 in the channels that are not live."""
        features = F.adaptive_avg_pool2d(self.body(2 * pixels - 1), 2).flatten(1)
        probabilities = self.head(self.drop(features)).float().sigmoid()
        return torch.where(self.is_live, probabilities, torch.zeros_like(probabilities))
