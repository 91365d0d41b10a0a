"""Where people are: boxes by RT-DETR (Lv et al. 2023, arXiv 2304.08069), masks by ADE20K."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from camouflage.annotators.scene.network import Held, finite, load_transformers
from camouflage.annotators.scene.palette import PERSON
from camouflage.annotators.scene.prepare import Picture, Preparation, by_size
from camouflage.errors import SettingError, WeightsError

DEFAULT = Preparation(size_hw=(640, 640), mean=(0, 0, 0), std=(1, 1, 1))

SCORE = 0.3
"""The least score of a person. Lower than the usual 0.5: a box too many redraws a place where
nobody is, a box too few leaves somebody as they are. Our choice."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """``box_xyxy``: half-open, in pixels of the picture, in it and not empty; ``score`` 0 to 1."""

    box_xyxy: tuple[int, int, int, int]
    score: float

    def __post_init__(self) -> None:
        left, top, right, bottom = self.box_xyxy
        if not (0 <= left < right and 0 <= top < bottom and 0 <= self.score <= 1):
            raise SettingError(f"expected a box that is not empty, got {self.box_xyxy}")


class PersonDetector(Held):
    """``network``: an ``RTDetrForObjectDetection`` of COCO; it takes squares, not the aspect."""

    def __init__(self, network: nn.Module, *, preparation: Preparation = DEFAULT) -> None:
        super().__init__(network)
        self.preparation = preparation

    @classmethod
    def from_folder(
        cls, folder: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> PersonDetector:
        """From a local folder of transformers' layout.

        Raises `WeightsError`, also if none of its classes is "person"; `MissingExtra`.
        """
        network = load_transformers("RTDetrForObjectDetection", folder, device=device, dtype=dtype)
        if "person" not in network.config.id2label.values():
            raise WeightsError(f"{folder.name}: expected a detector with a class person")
        return cls(network, preparation=Preparation.from_folder(folder, DEFAULT))

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Picture], *, score: float = SCORE) -> list[list[Person]]:
        """The people of each picture with more than ``score``, best first; one batch a size.

        Raises `NonFiniteResult`.
        """
        return by_size(pictures, lambda batch: self._run(batch, score))

    def _run(self, pictures: list[Picture], least: float) -> list[list[Person]]:
        height, width = pictures[0].shape[:2]
        output = self.network(pixel_values=self.placed(self.preparation(pictures)))
        labels = self.network.config.id2label  # type: ignore[union-attr]
        person = next(i for i, name in labels.items() if name == "person")  # type: ignore[union-attr]
        scores = finite(output.logits[..., person], "the person detector").sigmoid().cpu().numpy()
        boxes = finite(output.pred_boxes, "the person detector").cpu().numpy()
        return [
            _people(one, sure, (height, width), least)
            for one, sure in zip(boxes, scores, strict=True)
        ]


def _people(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], size_hw: tuple[int, int], least: float
) -> list[Person]:
    """From (Q, 4) centre and size as fractions, grown to whole pixels; empty ones are left out."""
    size_wh = np.array(size_hw[::-1] * 2)
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    xyxy = np.concatenate([centre - half, centre + half], axis=1) * size_wh
    low, high = np.floor(xyxy[:, :2]), np.ceil(xyxy[:, 2:])
    whole = np.clip(np.concatenate([low, high], axis=1), 0, size_wh).astype(int)
    found = []
    for index in np.argsort(-scores, kind="stable"):
        left, top, right, bottom = whole[index].tolist()
        if scores[index] > least and left < right and top < bottom:
            person = Person(box_xyxy=(left, top, right, bottom), score=float(scores[index]))
            found.append(person)
    return found


def person_mask(classes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(H, W) bool of (H, W) classes of ADE20K: True where the pixel is a person's."""
    return classes == PERSON
