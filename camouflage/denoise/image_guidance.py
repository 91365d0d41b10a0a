"""Classifier-free guidance by an image prompt, a text and an attribute map: CAMOUFLaGE-Light's.

With g the guidance scale::

    eps = g eps(text, image; map) + (1 - g) eps(negative text, no image; map)

The map steers both rows, as in the released code of Piano et al., arXiv 2403.14790; the form is
that of Ho and Salimans 2022, arXiv 2207.12598. A row of weight 0 is never computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

AdapterSteps = Literal["all", "first"]


@dataclass(frozen=True, kw_only=True)
class PromptRow:
    """One row of the UNet call: its weight, its text (B, tokens, dim), its image (B, 16, dim)."""

    weight: float
    context: Tensor
    image: Tensor


@dataclass(frozen=True, kw_only=True)
class ImageGuidance:
    """The predictor, for :func:`camouflage.denoise.loop.denoise`.

    Used inside :func:`camouflage.adapters.image_prompt.tokens_computed` only. ``features`` is what
    the attribute adapter adds in each block on the way down, (B, channels, h, w) each, None
    without a map. ``adapter_steps`` "first" gives it to the first step alone.
    """

    unet: UNet2DConditionModel
    rows: tuple[PromptRow, ...]
    features: Sequence[Tensor] | None
    adapter_steps: AdapterSteps = "all"

    def __call__(self, z_t: Tensor, t: Tensor, step: int) -> Tensor:
        """The model output (B, C, h, w), float32."""
        unet, dtype, count = self.unet, self.unet.dtype, len(self.rows)
        images = torch.cat([row.image for row in self.rows])[:, None]
        output = unet(
            z_t.to(dtype).repeat(count, 1, 1, 1),
            t,
            encoder_hidden_states=torch.cat([row.context for row in self.rows]).to(dtype),
            added_cond_kwargs={"image_embeds": [images.to(dtype)]},
            down_intrablock_additional_residuals=self._added(step, dtype),
            return_dict=False,
        )[0]
        parts = zip(self.rows, output.float().chunk(count), strict=True)
        return torch.stack([row.weight * part for row, part in parts]).sum(0)

    def _added(self, step: int, dtype: torch.dtype) -> list[Tensor] | None:
        """A fresh list, which the UNet empties: (rows * B, channels, h, w) each."""
        if self.features is None or (self.adapter_steps == "first" and step > 0):
            return None
        return [feature.to(dtype).repeat(len(self.rows), 1, 1, 1) for feature in self.features]
