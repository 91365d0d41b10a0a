"""Redrawn crops at twice their size, with the detail of a face. Ours.

A small model draws a face at 128 px; one that was larger in its photograph would be a blurred one
among sharp hair and clothes. A network that saw what faces at 256 px look like at 128 adds what is
missing. It sees nothing of the original: only what the model drew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from camouflage.denoise.latents import require_finite
from camouflage.errors import SettingError
from camouflage.mini.upscaling import SmallUpscaler
from camouflage.weights import load_model, upscaler_folder


@dataclass(frozen=True, kw_only=True, eq=False)
class Upscaler:
    """The network that enlarges the crops of a model, on its device."""

    net: SmallUpscaler
    factor: ClassVar[int] = 2
    """A side of what it makes, in sides of what it is given."""

    @classmethod
    def load(cls, name_or_path: str, *, side: int, device: torch.device | str = "cpu") -> Upscaler:
        """What a recipe's ``upscaler`` names, in float32, for crops of ``side`` px.

        Raises:
            SettingError: it was trained on crops of another side.
            WeightsError: what is missing, damaged, or other than its hashes say.
        """
        folder = upscaler_folder(name_or_path)
        net = load_model(SmallUpscaler, folder, dtype=torch.float32, name=f"upscaler {folder.name}")
        if net.config["side"] != side:
            raise SettingError(
                f"upscaler {name_or_path!r} is for crops of {net.config['side']} px, and the model "
                f"draws {side} px; set it to null, or train one on such crops"
            )
        return cls(net=net.to(device=device, memory_format=torch.channels_last))

    @torch.inference_mode()
    def __call__(self, crops: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        """(2 side, 2 side, 3) uint8 of each crop (side, side, 3) uint8.

        Raises `NonFiniteResult` for values that are no colours.
        """
        if not crops:
            return []
        device = next(self.net.parameters()).device
        pixels = torch.from_numpy(np.stack(crops)).to(device).permute(0, 3, 1, 2) / 127.5 - 1
        made = self.net(pixels.contiguous(memory_format=torch.channels_last))
        require_finite(made, "the upscaled crop", "set upscaler to null, or use other weights")
        bytes_ = ((made + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return list(bytes_.permute(0, 2, 3, 1).contiguous().cpu().numpy())
