"""Line art by the informative drawings of Chan et al. 2022, arXiv 2203.12691."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from camouflage.annotators.scene.network import Held, finite, from_controlnet_aux, load_state
from camouflage.annotators.scene.prepare import Picture, as_map, by_size, resized, working_size

MULTIPLE_PX = 64  # as controlnet_aux

FILES = {"coarse": "sk_model2.safetensors", "fine": "sk_model.safetensors"}
"""Coarse lines are the default: fine ones trace a face, and with it who it is."""


def make_network(*, device: str = "meta") -> nn.Module:
    """controlnet_aux's generator with three residual blocks, as published.

    With no weights on the device ``meta``, random ones on another. Raises `MissingExtra`.
    """
    kind = from_controlnet_aux("lineart", "Generator")
    with torch.device(device):
        return kind(3, 1, 3)


class LineartAnnotator(Held):
    """``network``: as `make_network` gives it. ``detect_px``: its working size, the short side."""

    def __init__(self, network: nn.Module, *, detect_px: int = 512) -> None:
        super().__init__(network)
        self.detect_px = detect_px

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        *,
        lines: Literal["coarse", "fine"] = "coarse",
        detect_px: int = 512,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> LineartAnnotator:
        """From the file of :data:`FILES` in a local folder.

        Raises `WeightsError`, `MissingExtra`.
        """
        network = load_state(make_network(), folder / FILES[lines], device=device, dtype=dtype)
        return cls(network, detect_px=detect_px)

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Picture]) -> list[Picture]:
        """(H, W, 3) uint8 grey a picture, of its size: white lines on black; one batch a size.

        Raises `NonFiniteResult`.
        """
        return by_size(pictures, self._run)

    def _run(self, pictures: list[Picture]) -> list[Picture]:
        height, width = pictures[0].shape[:2]
        size_hw = working_size((height, width), short_px=self.detect_px, multiple=MULTIPLE_PX)
        pixels = torch.from_numpy(np.stack([resized(p, size_hw) for p in pictures]))
        batch = self.placed(pixels.permute(0, 3, 1, 2).float() / 255)
        paper = finite(self.network(batch)[:, 0], "the line art network")  # black lines on white
        maps = (paper * 255).clamp(0, 255).to(torch.uint8).cpu().numpy()
        return [255 - as_map(one, (height, width)) for one in maps]
