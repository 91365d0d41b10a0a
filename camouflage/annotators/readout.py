"""Sex, age, skin, origin and beard, as straight lines read them out of the recogniser's embedding.

The audit embeds every original anyway, and its network (dlib) has seen three million photographs of
faces, where ours have seen two thousand drawn ones: what a line reads there, with no more labels,
is right more often than what a network of our own learns. For choosing who replaces whom, and for
nothing else: the numbers are guesses, and say nothing about a person. A line in years cannot bend
enough for children, so that one of its own tells them from everybody else. How dark a skin is can
hardly be measured in a picture, where the light is unknown; the embedding hardly changes with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from camouflage.errors import SettingError, WeightsError
from camouflage.weights import check_sums, readout_folder

FILE = "readout.safetensors"
WIDTH = 128
"""Of an embedding of dlib."""
LINES = 6
"""What is read: see `Guess`."""
SKIN_RANGE = (1.0, 3.0)
"""Light and dark. Our choice."""


class Guess(NamedTuple):
    """Of N embeddings: the probability of male (N,), the age (N,) in years, the probability of a
    child (N,), how dark the skin is (N,), in `SKIN_RANGE`, and the probabilities that the face
    looks East Asian (N,) and that it has a beard or a moustache (N,), float32; NaN where there is
    no embedding.
    """

    male: NDArray[np.float32]
    age: NDArray[np.float32]
    child: NDArray[np.float32]
    skin: NDArray[np.float32]
    east_asian: NDArray[np.float32]
    beard: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Readout:
    """``weights`` (6, 128) and ``bias`` (6,) float32: the logit of male, the age in years, the
    logit of a child, of at most some twelve years, how dark the skin is, and the logits of East
    Asian and of bearded.
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __post_init__(self) -> None:
        if (self.weights.shape, self.bias.shape) != ((LINES, WIDTH), (LINES,)):
            raise SettingError(
                f"expected weights ({LINES}, {WIDTH}) and bias ({LINES},), got "
                f"{self.weights.shape} and {self.bias.shape}"
            )
        if not (np.isfinite(self.weights).all() and np.isfinite(self.bias).all()):
            raise SettingError("expected finite weights")

    @classmethod
    def load(cls, folder: Path | None = None) -> Readout:
        """Of a folder that `save` made; None: the one of this package.

        Raises `WeightsError` for a folder without them or with other bytes than its hashes say.
        """
        folder = readout_folder() if folder is None else folder
        check_sums(folder)
        try:
            tensors = load_file(folder / FILE)
            return cls(weights=tensors["weights"], bias=tensors["bias"])
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise WeightsError(f"{folder.name}: expected {FILE} with weights and bias") from error

    def save(self, folder: Path) -> None:
        """As ``folder / FILE``."""
        folder.mkdir(parents=True, exist_ok=True)
        # safetensors writes the memory of an array, whatever its strides.
        made = {"weights": self.weights, "bias": self.bias}
        save_file({k: np.ascontiguousarray(v) for k, v in made.items()}, folder / FILE)

    def __call__(self, embeddings: NDArray[np.floating]) -> Guess:
        """For ``embeddings`` (N, 128) of dlib; NaN for a row of NaN: a face that is too small to
        have one.

        Raises `SettingError` for another shape.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != WIDTH:
            raise SettingError(f"expected embeddings (N, {WIDTH}), got {embeddings.shape}")
        lines = self.weights @ embeddings.T.astype(np.float32) + self.bias[:, None]
        male, age, child, skin, east_asian, beard = lines
        return Guess(
            male=_probability(male),
            age=age,
            child=_probability(child),
            skin=np.clip(skin, *SKIN_RANGE),
            east_asian=_probability(east_asian),
            beard=_probability(beard),
        )


def _probability(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return (1 / (1 + np.exp(-logits))).astype(np.float32)
