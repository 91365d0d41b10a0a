"""Pose by ViTPose (Xu et al. 2022, arXiv 2204.12484) of the people that are found, as OpenPose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from camouflage.annotators.scene.keypoints import crop_region, cut, keypoints
from camouflage.annotators.scene.network import Held, finite, load_transformers
from camouflage.annotators.scene.people import Person, PersonDetector
from camouflage.annotators.scene.prepare import Picture, Preparation
from camouflage.annotators.scene.skeleton import draw_skeletons, openpose_points
from camouflage.errors import WeightsError

DEFAULT = Preparation(size_hw=(256, 192))
POINTS = 17  # of COCO

SCORE = 0.3
"""The least height of a keypoint's peak to be drawn, as in mmpose's drawings."""

CROPS = 32
"""So many people go through the network at once. Our choice."""


class PoseAnnotator(Held):
    """Body skeletons; hands and faces are not drawn, and a face's shape is not passed on.

    ``network``: a ``VitPoseForPoseEstimation`` of COCO's 17 points. ``detector`` finds the people;
    it is moved by whoever owns it.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        detector: PersonDetector,
        preparation: Preparation = DEFAULT,
        score: float = SCORE,
    ) -> None:
        super().__init__(network)
        self.detector = detector
        self.preparation = preparation
        self.score = score

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        *,
        detector: PersonDetector,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> PoseAnnotator:
        """From a local folder of transformers' layout. Raises `WeightsError`, `MissingExtra`."""
        network = load_transformers("VitPoseForPoseEstimation", folder, device=device, dtype=dtype)
        if network.config.num_labels != POINTS:
            raise WeightsError(
                f"{folder.name}: expected {POINTS} keypoints, got {network.config.num_labels}"
            )
        preparation = Preparation.from_folder(folder, DEFAULT)
        return cls(network, detector=detector, preparation=preparation)

    def __call__(self, pictures: Sequence[Picture]) -> list[Picture]:
        """(H, W, 3) uint8 a picture, of its size: the skeletons of its people on black.

        Raises `NonFiniteResult`.
        """
        people = self.keypoints(pictures, self.detector(pictures))
        return [
            draw_skeletons(
                [openpose_points(one, score=self.score) for one in found], picture.shape[:2]
            )
            for picture, found in zip(pictures, people, strict=True)
        ]

    @torch.no_grad()
    def keypoints(
        self, pictures: Sequence[Picture], people: Sequence[Sequence[Person]]
    ) -> list[NDArray[np.float64]]:
        """(P, 17, 3) a picture: x, y in its pixels and the score of each keypoint of its people.

        All people of all pictures are one batch, up to :data:`CROPS`.
        """
        size_hw = self.preparation.size_hw
        owners = [i for i, found in enumerate(people) for _ in found]
        regions = [crop_region(one.box_xyxy, size_hw) for found in people for one in found]
        parts = [np.zeros((0, POINTS, 3))]
        for first in range(0, len(owners), CROPS):
            chosen = slice(first, first + CROPS)
            crops = [
                cut(pictures[i], region, size_hw)
                for i, region in zip(owners[chosen], regions[chosen], strict=True)
            ]
            parts.append(keypoints(self._heatmaps(crops), np.stack(regions[chosen])))
        found = np.concatenate(parts)
        return [found[np.array(owners, int) == i] for i in range(len(pictures))]

    def _heatmaps(self, crops: list[Picture]) -> NDArray[np.float32]:
        config: Any = self.network.config
        experts: dict[str, Any] = {}
        if config.backbone_config.num_experts > 1:  # ViTPose+: the first expert is COCO's
            experts["dataset_index"] = torch.zeros(len(crops), dtype=torch.long, device=self.device)
        batch = self.placed(self.preparation(crops))
        heatmaps = self.network(pixel_values=batch, **experts).heatmaps
        return finite(heatmaps, "the pose network").cpu().numpy()
