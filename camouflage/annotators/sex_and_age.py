"""Sex and age of a face, as a straight line reads them out of the recogniser's embedding.

The audit embeds every original anyway, and its network (dlib) has seen three million photographs of
faces, where ours have seen two thousand drawn ones: what a line reads there, with no more labels,
is right more often than what a network of our own learns. For choosing who replaces whom, and for
nothing else: the two numbers are guesses, and say nothing about a person.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from camouflage.errors import SettingError, WeightsError
from camouflage.weights import check_sums, sex_and_age_folder

FILE = "readout.safetensors"
WIDTH = 128
"""Of an embedding of dlib."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SexAndAge:
    """``weights`` (2, 128) and ``bias`` (2,) float32: the logit of male, and the age in years."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __post_init__(self) -> None:
        if (self.weights.shape, self.bias.shape) != ((2, WIDTH), (2,)):
            raise SettingError(
                f"expected weights (2, {WIDTH}) and bias (2,), got {self.weights.shape} and "
                f"{self.bias.shape}"
            )
        if not (np.isfinite(self.weights).all() and np.isfinite(self.bias).all()):
            raise SettingError("expected finite weights")

    @classmethod
    def load(cls, folder: Path | None = None) -> SexAndAge:
        """Of a folder that `save` made; None: the one of this package.

        Raises `WeightsError` for a folder without them or with other bytes than its hashes say.
        """
        folder = sex_and_age_folder() if folder is None else folder
        check_sums(folder)
        try:
            tensors = load_file(folder / FILE)
            return cls(weights=tensors["weights"], bias=tensors["bias"])
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise WeightsError(f"{folder.name}: expected {FILE} with weights and bias") from error

    def save(self, folder: Path) -> None:
        """As ``folder / FILE``."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"weights": self.weights, "bias": self.bias}, folder / FILE)

    def __call__(
        self, embeddings: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The probability of male (N,) and the age (N,) for ``embeddings`` (N, 128) of dlib; NaN
        for a row of NaN: a face that is too small to have one.

        Raises `SettingError` for another shape.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != WIDTH:
            raise SettingError(f"expected embeddings (N, {WIDTH}), got {embeddings.shape}")
        logit, age = self.weights @ embeddings.T.astype(np.float32) + self.bias[:, None]
        return 1 / (1 + np.exp(-logit)), age
