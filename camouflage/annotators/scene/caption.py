"""A picture in words: BLIP (Li et al. 2022, arXiv 2201.12086) or BLIP-2 (arXiv 2301.12597)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from camouflage.annotators.scene.clean_caption import without_names_and_text
from camouflage.annotators.scene.network import Held, from_transformers, load_transformers
from camouflage.annotators.scene.prepare import Picture, Preparation, by_size
from camouflage.errors import WeightsError

_CLIP: dict[str, Any] = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
    "resample": "bicubic",
}

CAPTIONERS = {
    "blip": ("BlipForConditionalGeneration", Preparation(size_hw=(384, 384), **_CLIP)),
    "blip2": ("Blip2ForConditionalGeneration", Preparation(size_hw=(224, 224), **_CLIP)),
}
"""By name: the class of transformers, and how it is published to take pictures."""

BEAMS, MOST_TOKENS = 3, 30
"""The search of BLIP's paper; the length is our choice. Nothing is drawn at random."""


class Captioner(Held):
    """``network``: a model of :data:`CAPTIONERS`; ``tokenizer``: its own. Pictures are squeezed."""

    def __init__(self, network: nn.Module, tokenizer: Any, *, preparation: Preparation) -> None:
        super().__init__(network)
        self.tokenizer = tokenizer
        self.preparation = preparation

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        *,
        kind: Literal["blip", "blip2"] = "blip",
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Captioner:
        """From a local folder of transformers' layout. Raises `WeightsError`, `MissingExtra`."""
        name, preparation = CAPTIONERS[kind]
        network = load_transformers(name, folder, device=device, dtype=dtype)
        auto = from_transformers("AutoTokenizer")
        try:
            tokenizer = auto.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                f"{folder.name}: the tokenizer is missing or damaged ({type(error).__name__})"
            ) from error
        preparation = Preparation.from_folder(folder, preparation)
        return cls(network, tokenizer, preparation=preparation)

    def __call__(self, pictures: Sequence[Picture]) -> list[str]:
        """A caption a picture, without names and text: `without_names_and_text`; may be empty."""
        return [without_names_and_text(caption) for caption in self.raw(pictures)]

    @torch.no_grad()
    def raw(self, pictures: Sequence[Picture]) -> list[str]:
        """What the network says. It may name people and repeat text: for tests only."""
        return by_size(pictures, self._run)

    def _run(self, pictures: list[Picture]) -> list[str]:
        network: Any = self.network
        tokens = network.generate(
            pixel_values=self.placed(self.preparation(pictures)),
            num_beams=BEAMS,
            max_new_tokens=MOST_TOKENS,
            do_sample=False,
        )
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [text.strip() for text in texts]
