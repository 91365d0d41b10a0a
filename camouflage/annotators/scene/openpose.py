"""OpenPose (Cao et al. 2019, arXiv 1812.08008) by controlnet_aux: body, hands and face.

The choice that is exact to the paper. **Licence: the code of OpenPose in controlnet_aux, and its
weights, are for non-commercial use only** (Carnegie Mellon University). The default pose annotator
has no such limit. It also draws faces: 70 points that carry identity.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from camouflage.annotators.scene.network import from_controlnet_aux, load_state
from camouflage.annotators.scene.prepare import Picture, as_map, by_size

FILES = {
    "body": "body_pose_model.safetensors",
    "hand": "hand_pose_model.safetensors",
    "face": "face_pose_model.safetensors",
}
"""The three published networks as safetensors, with the published names of weights."""


class OpenposeAnnotator:
    """``detector``: an ``OpenposeDetector`` of controlnet_aux; it takes one picture at a time.

    ``detect_px``: its working size, the short side. Its code computes in float32 only.
    """

    def __init__(self, detector: Any, *, detect_px: int = 512) -> None:
        self.detector = detector
        self.detect_px = detect_px
        _warn_of_licence()

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        *,
        detect_px: int = 512,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> OpenposeAnnotator:
        """From the :data:`FILES` in a local folder; ``dtype`` is there for the others' sake.

        Raises `WeightsError`, `MissingExtra`.
        """
        del dtype
        parts = [_estimator(part, folder, device) for part in FILES]
        kind = from_controlnet_aux("open_pose", "OpenposeDetector")
        return cls(kind(*parts), detect_px=detect_px)

    def to(self, *, device: str | torch.device, dtype: torch.dtype) -> None:
        """Move it to ``device``; it stays in float32 whatever ``dtype`` is."""
        del dtype
        self.detector.to(device)

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Picture]) -> list[Picture]:
        """(H, W, 3) uint8 a picture, of its size: bodies, hands and faces on black."""
        return by_size(pictures, lambda batch: [self._one(picture) for picture in batch])

    def _one(self, picture: Picture) -> Picture:
        drawn = self.detector(
            picture,
            detect_resolution=self.detect_px,
            image_resolution=self.detect_px,
            include_hand=True,
            include_face=True,
            output_type="np",
        )
        return as_map(drawn, picture.shape[:2])


def make_network(part: str, *, device: str = "meta") -> nn.Module:
    """The network of "body", "hand" or "face", empty on ``meta``, random on another device."""
    module, name = {
        "body": ("open_pose.model", "bodypose_model"),
        "hand": ("open_pose.model", "handpose_model"),
        "face": ("open_pose.face", "FaceNet"),
    }[part]
    kind = from_controlnet_aux(module, name)
    with torch.device(device):
        return kind()


def _estimator(part: str, folder: Path, device: str | torch.device) -> Any:
    """controlnet_aux's own object around a network.

    Its constructors unpickle weights, so it is made without them and given what they set.
    """
    kind = from_controlnet_aux(f"open_pose.{part}", part.capitalize())
    made = kind.__new__(kind)
    network = load_state(
        make_network(part),
        folder / FILES[part],
        device=device,
        dtype=torch.float32,
        outer=part != "face",
    )
    made.model = network.eval().requires_grad_(False)
    if part == "face":
        settings = from_controlnet_aux("open_pose.face", "params")
        made.inference_size = settings["inference_img_size"]
        made.sigma = settings["gaussian_sigma"]
        made.threshold = settings["heatmap_peak_thresh"]
    return made


@functools.cache
def _warn_of_licence() -> None:
    logging.getLogger(__name__).warning(
        "OpenPose (controlnet_aux, and its weights) is for NON-COMMERCIAL use only; the annotator "
        "vitpose has no such limit"
    )
