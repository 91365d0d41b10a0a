"""Surface normals by Bae et al. 2021, arXiv 2109.09881 (the "BAE protocol" of ControlNet 1.1).

ControlNet's normal map takes normals of this network only: others have other axes and colours.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from camouflage.annotators.scene.network import Held, finite, from_controlnet_aux, load_state
from camouflage.annotators.scene.prepare import (
    Picture,
    Preparation,
    as_map,
    by_size,
    resized,
    working_size,
)

MULTIPLE_PX = 64  # as controlnet_aux: the encoder halves five times

# of the published network; the two ratios choose points in training only
_ARGUMENTS = {
    "mode": "client",
    "architecture": "BN",
    "pretrained": "scannet",
    "sampling_ratio": 0.4,
    "importance_ratio": 0.7,
}


def make_network(*, device: str = "meta") -> nn.Module:
    """controlnet_aux's network, with no weights on the device ``meta``, random ones on another.

    Raises `MissingExtra`.
    """
    kind = from_controlnet_aux("normalbae.nets.NNET", "NNET")
    with torch.device(device), contextlib.redirect_stdout(io.StringIO()):  # it prints
        return kind(SimpleNamespace(**_ARGUMENTS))


class NormalsAnnotator(Held):
    """``network``: as `make_network` gives it. ``detect_px``: its working size, the short side."""

    def __init__(self, network: nn.Module, *, detect_px: int = 512) -> None:
        super().__init__(network)
        self.detect_px = detect_px
        self.preparation = Preparation(size_hw=(detect_px, detect_px))

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        *,
        detect_px: int = 512,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> NormalsAnnotator:
        """From ``model.safetensors`` in a local folder. Raises `WeightsError`, `MissingExtra`."""
        file = folder / "model.safetensors"
        network = load_state(make_network(), file, device=device, dtype=dtype)
        return cls(network, detect_px=detect_px)

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Picture]) -> list[Picture]:
        """(H, W, 3) uint8 a picture, of its size: x, y, z of -1 to 1 as 0 to 255; a batch a size.

        Raises `NonFiniteResult`.
        """
        return by_size(pictures, self._run)

    def _run(self, pictures: list[Picture]) -> list[Picture]:
        height, width = pictures[0].shape[:2]
        size_hw = working_size((height, width), short_px=self.detect_px, multiple=MULTIPLE_PX)
        pixels = torch.from_numpy(np.stack([resized(p, size_hw) for p in pictures]))
        batch = self.placed(self.preparation.normalised(pixels.permute(0, 3, 1, 2)))
        finest = self.network(batch)[0][-1]  # (B, 4, h, w): the normal and its certainty
        normals = finite(finest[:, :3], "the network of surface normals")
        maps = (((normals + 1) * 0.5).clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1)
        return [as_map(one, (height, width)) for one in maps.cpu().numpy()]
