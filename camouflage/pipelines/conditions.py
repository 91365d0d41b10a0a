"""What steers a pipeline besides its numbers: pictures checked, texts encoded, maps drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from camouflage.annotators.scene import SceneAnnotators
from camouflage.denoise import latents as to_latents
from camouflage.errors import SettingError
from camouflage.pipelines.arguments import (
    Pictures,
    as_maps,
    as_pictures,
    require_divisible,
    require_known,
)


class Conditions:
    """Of a ``DiffusionPipeline`` with ``unet``, ``vae``, and a text encoder or a null context."""

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    null_context: Any
    landmarker: Any
    config: Any
    maybe_convert_prompt: Any
    _execution_device: Any
    _scene_annotators: SceneAnnotators | None = None

    @property
    def multiple_px(self) -> int:
        """What the sides of a picture must be divisible by, for autoencoder and UNet."""
        halvings = len(self.unet.config.block_out_channels) - 1
        return to_latents.downscale_factor(self.vae) * 2**halvings

    @property
    def scene_annotators(self) -> SceneAnnotators:
        """Of pictures of anything, on the pipeline's device; made when they are first asked for.

        The captioner has the UNet's dtype, the others float32.
        """
        if self._scene_annotators is None:
            self._scene_annotators = SceneAnnotators()
        return self._scene_annotators.to(self._execution_device, self.unet.dtype)

    @scene_annotators.setter
    def scene_annotators(self, annotators: SceneAnnotators) -> None:
        self._scene_annotators = annotators

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

    def null_text(self, pictures: int) -> Tensor:
        """The context of no text, (pictures, tokens, dim): of ``null_context`` or of ``""``."""
        if self.null_context is not None:
            return self.null_context(pictures)
        return self._encoded([""] * pictures)

    def _encoded(self, texts: list[str]) -> Tensor:
        """(texts, tokens, dim); a text beyond the encoder's length is cut, as everywhere."""
        if self.text_encoder is None:
            raise SettingError("prompt: this pipeline has no text encoder; leave the texts out")
        tokens = self.tokenizer(
            self.maybe_convert_prompt(texts, self.tokenizer),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return self.text_encoder(tokens.input_ids.to(self._execution_device))[0]

    def _checked_pictures(self, image: Pictures) -> list[np.ndarray]:
        pictures = as_pictures("image", image)
        require_divisible(pictures, self.multiple_px)
        return pictures

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
