"""What every pipeline takes and gives: pictures in, texts as contexts, pictures out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from camouflage.annotators.scene import SceneAnnotators
from camouflage.denoise import latents as to_latents
from camouflage.denoise.loop import StepEnd
from camouflage.errors import SettingError, WeightsError
from camouflage.pipelines.arguments import OutputType, Pictures, as_pictures, require_divisible

Callback = Callable[[Any, int, Tensor, dict[str, Tensor]], dict[str, Tensor]]
"""``(pipeline, step, timestep, {"latents": ...}) -> dict``, as in diffusers."""


class InAndOut:
    """Of a ``DiffusionPipeline`` with ``unet``, ``vae``, and a text encoder or a null context."""

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    null_context: Any
    config: Any
    maybe_convert_prompt: Any
    _execution_device: Any
    _callback_tensor_inputs: Any
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

    def null_text(self, pictures: int) -> Tensor:
        """The context of no text, (pictures, tokens, dim): of ``null_context`` or of ``""``."""
        if self.null_context is not None:
            return self.null_context(pictures)
        return self.encode_texts([""] * pictures)

    def encode_texts(self, texts: list[str]) -> Tensor:
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

    def _step_end(self, callback: Callback | None, inputs: Sequence[str]) -> StepEnd | None:
        if unknown := sorted(set(inputs) - set(self._callback_tensor_inputs)):
            raise SettingError(
                f"callback_on_step_end_tensor_inputs: expected {self._callback_tensor_inputs}, "
                f"got {unknown}"
            )
        if callback is None:
            return None

        def on_step_end(step: int, t: Tensor, latents: Tensor) -> Tensor:
            shown = {"latents": latents} if "latents" in inputs else {}
            return callback(self, step, t, shown).get("latents", latents)

        return on_step_end

    def _result(self, latents: Tensor, output_type: OutputType) -> Any:
        if output_type == "latent":
            return latents
        pixels = to_latents.decode(self.vae, latents)
        if output_type == "pil":
            return [Image.fromarray(one) for one in to_latents.pictures_from_pixels(pixels)]
        unit = (pixels / 2 + 0.5).clamp(0, 1)
        return unit if output_type == "pt" else unit.permute(0, 2, 3, 1).cpu().numpy()


def require_text_or_null(text_encoder: object, tokenizer: object, null_context: object) -> None:
    """Raise `WeightsError` unless there is a way to say a text, or one to say none."""
    has_text = text_encoder is not None and tokenizer is not None
    if has_text == (null_context is not None):
        raise WeightsError(
            "expected a text_encoder with its tokenizer, or else a null_context, and not both"
        )
