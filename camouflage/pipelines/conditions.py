"""What steers CAMOUFLaGE-Base besides its numbers: control maps and captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from camouflage.pipelines.arguments import Pictures, as_maps, require_known
from camouflage.pipelines.in_and_out import InAndOut


class Conditions(InAndOut):
    """Of a ``DiffusionPipeline`` with annotators."""

    landmarker: Any

    def annotate(
        self, pictures: Sequence[np.ndarray], names: Sequence[str]
    ) -> Mapping[str, list[np.ndarray]]:
        """The maps ``names`` of pictures ``uint8 (H, W, 3)``, each of its picture's size.

        Raises:
            SettingError: a name without an annotator.
            WeightsError: the annotator's weights are not here.
        """
        if self.config["annotators"] == "scene":
            return self.scene_annotators(pictures, names)
        from camouflage.annotators import annotate

        return annotate(pictures, names, self.landmarker)

    def captions(self, pictures: Sequence[np.ndarray]) -> list[str] | None:
        """A caption a picture, without names; None where nobody makes any."""
        if self.config["annotators"] != "scene" or not self.scene_annotators.has_captioner:
            return None
        return self.scene_annotators.caption(pictures)

    def _maps(
        self,
        pictures: list[np.ndarray],
        control_images: Mapping[str, Pictures] | None,
        names: list[str],
    ) -> dict[str, list[np.ndarray]]:
        """The maps of ``names``: the caller's, or the annotators'."""
        if control_images is None:
            control_images = self.annotate(pictures, names) if names else {}
        require_known("control_images", control_images, self.config["controls"])
        return as_maps(control_images, names, pictures)
