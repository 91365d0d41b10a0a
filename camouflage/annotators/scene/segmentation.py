"""Semantic segmentation by UperNet (Xiao et al. 2018, arXiv 1807.10221) on ConvNeXt, ADE20K."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from camouflage.annotators.scene.network import Held, finite, load_transformers
from camouflage.annotators.scene.palette import ADE20K
from camouflage.annotators.scene.prepare import Picture, Preparation, by_size, working_size
from camouflage.errors import WeightsError

DEFAULT = Preparation(size_hw=(512, 512))
MULTIPLE_PX = 32  # the backbone halves five times

_ROOM = 32 << 20
"""Values that are interpolated to full size at once: 128 MiB of float32. Our choice."""


class SegmentationAnnotator(Held):
    """``network``: a ``UperNetForSemanticSegmentation`` of the 150 classes of ADE20K.

    ``detect_px``: its working size, the short side; the aspect is kept, as in mmsegmentation. By
    default the short side of the size in the folder.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        preparation: Preparation = DEFAULT,
        detect_px: int | None = None,
    ) -> None:
        super().__init__(network)
        self.preparation = preparation
        self.detect_px = detect_px or min(preparation.size_hw)

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        *,
        detect_px: int | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> SegmentationAnnotator:
        """From a local folder of transformers' layout. Raises `WeightsError`, `MissingExtra`."""
        network = load_transformers(
            "UperNetForSemanticSegmentation",
            folder,
            device=device,
            dtype=dtype,
            may_miss="auxiliary_head.",
        )
        if network.config.num_labels != len(ADE20K):
            raise WeightsError(
                f"{folder.name}: expected {len(ADE20K)} classes, got {network.config.num_labels}"
            )
        preparation = Preparation.from_folder(folder, DEFAULT)
        return cls(network, preparation=preparation, detect_px=detect_px)

    def __call__(self, pictures: Sequence[Picture]) -> list[Picture]:
        """(H, W, 3) uint8 a picture, of its size: the colour of each pixel's class."""
        return [ADE20K[classes] for classes in self.classes(pictures)]

    @torch.no_grad()
    def classes(self, pictures: Sequence[Picture]) -> list[NDArray[np.uint8]]:
        """(H, W) uint8 a picture, the class 0 to 149 of each pixel; one batch a size.

        The scores are interpolated linearly to the picture's size, then the best is taken. Raises
        `NonFiniteResult`.
        """
        return by_size(pictures, self._run)

    def _run(self, pictures: list[Picture]) -> list[NDArray[np.uint8]]:
        height, width = pictures[0].shape[:2]
        size_hw = working_size((height, width), short_px=self.detect_px, multiple=MULTIPLE_PX)
        batch = self.placed(self.preparation(pictures, size_hw=size_hw))
        scores = finite(self.network(pixel_values=batch).logits, "the segmentation network")
        return [best_class(one, (height, width)).cpu().numpy() for one in scores]


def best_class(scores: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """(H, W) uint8: where (C, h, w) scores, resized linearly to ``size_hw``, are highest.

    A few classes at a time: all 150 of a 12 megapixel picture would be 7 GiB. Of equals the first
    wins.
    """
    step = max(_ROOM // (size_hw[0] * size_hw[1]), 1)
    best = torch.full(size_hw, -torch.inf, device=scores.device)
    index = torch.zeros(size_hw, dtype=torch.uint8, device=scores.device)
    for first in range(0, len(scores), step):
        part = F.interpolate(scores[None, first : first + step], size_hw, mode="bilinear")[0]
        value, where = part.max(0)
        better = value > best
        best = torch.where(better, value, best)
        index = torch.where(better, (where + first).to(torch.uint8), index)
    return index
