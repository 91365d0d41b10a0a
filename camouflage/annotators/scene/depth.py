"""Depth by DPT (Ranftl et al. 2021, arXiv 2103.13413), trained as MiDaS (arXiv 1907.01341)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from camouflage.annotators.scene.network import Held, finite, load_transformers
from camouflage.annotators.scene.prepare import Picture, Preparation, by_size

DEFAULT = Preparation(size_hw=(384, 384), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
"""As published with DPT-Large and DPT-Hybrid."""

_UNUSED = "neck.fusion_stage.layers.0.residual_layer1."
"""The first fusion has nothing to add; transformers makes weights for it that nobody publishes."""

_FLAT = 1e-5
"""Depths that differ by less than this part of the nearest are equal: what differs is rounding."""


class DepthAnnotator(Held):
    """The map that ControlNet 1.1 depth was trained on: near is bright, min to max is 0 to 255.

    ``network``: a ``DPTForDepthEstimation``. transformers' DPT reads its patches as a square, so
    pictures are squeezed into the square of its folder, as its own processor does; the map has the
    aspect of the picture again.
    """

    def __init__(self, network: nn.Module, *, preparation: Preparation = DEFAULT) -> None:
        super().__init__(network)
        self.preparation = preparation

    @classmethod
    def from_folder(
        cls, folder: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> DepthAnnotator:
        """From a local folder of transformers' layout. Raises `WeightsError`, `MissingExtra`."""
        network = load_transformers(
            "DPTForDepthEstimation", folder, device=device, dtype=dtype, may_miss=_UNUSED
        )
        return cls(network, preparation=Preparation.from_folder(folder, DEFAULT))

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Picture]) -> list[Picture]:
        """(H, W, 3) uint8 grey a picture, of its size; one batch a size.

        The network gives inverse depth; it is resized bicubically and then stretched to 0 to 255
        in each picture. Where everything is equally far the map is black. Raises
        `NonFiniteResult`.
        """
        return by_size(pictures, self._run)

    def _run(self, pictures: list[Picture]) -> list[Picture]:
        batch = self.placed(self.preparation(pictures))
        near = finite(self.network(pixel_values=batch).predicted_depth, "the depth network")
        maps = []
        for one in near:  # at full size one at a time: they may be large
            full = F.interpolate(one[None, None], pictures[0].shape[:2], mode="bicubic")[0, 0]
            low, high = full.min(), full.max()
            flat = high - low <= _FLAT * high.abs()
            grey = torch.where(flat, 0, (full - low) / (high - low) * 255).to(torch.uint8)
            maps.append(np.repeat(grey.cpu().numpy()[..., None], 3, axis=2))
        return maps
