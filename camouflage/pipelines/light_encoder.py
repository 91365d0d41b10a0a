"""Who embeds faces for a pool: an image encoder by its name, with a hash of what it is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from camouflage import weights
from camouflage.annotators.image_encoder import (
    ImageEncoder,
    embed_pictures,
    embedding_width,
    load_image_encoder,
)
from camouflage.errors import SettingError
from camouflage.swap import FacePool

MINI = "mini-light"


@dataclass(frozen=True, kw_only=True, eq=False)
class FaceEmbedder:
    """An image encoder with the name and the hash that a pool keeps of it."""

    name: str
    sha256: str
    encoder: ImageEncoder = field(repr=False)

    def __call__(self, faces: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """(N, D) float32 of length 1, of the pixels in the boxes of faces, (h, w, 3) uint8 each."""
        return embed_pictures(self.encoder, faces)


def face_embedder(name: str) -> FaceEmbedder:
    """By a name: "mini-light", "farl" of the table of weights, or the folder of an encoder.

    Raises:
        SettingError: there is no such name.
        WeightsError: the weights are missing or damaged.
    """
    if name == MINI:
        folder = weights.mini_light_folder() / "image_encoder"
    elif name in weights.TABLE and weights.TABLE[name].role == "image encoder":
        folder = weights.find(name)
    elif Path(name).is_dir():
        folder = Path(name)
    else:
        raise SettingError(f"encoder: expected {MINI}, farl or an encoder's folder, got {name!r}")
    return FaceEmbedder(
        name=Path(name).name, sha256=sha256_of(folder), encoder=load_image_encoder(folder)
    )


def sha256_of(folder: Path) -> str:
    """One hash over the weights of the encoder in ``folder``."""
    files = sorted(folder.glob("*.safetensors"))
    digests = "\n".join(weights.file_sha256(file) for file in files)
    return hashlib.sha256(digests.encode()).hexdigest()


def require_own_pool(pool: FacePool, encoder: ImageEncoder, *, sha256: str | None) -> None:
    """Raise `SettingError` for a pool of another encoder, by the width of its embeddings or the
    ``sha256`` of the encoder's weights (None is not compared): its distances would mean nothing.
    """
    width, own = pool.embeddings.shape[1], embedding_width(encoder)
    if width != own:
        raise SettingError(
            f"pool: its embeddings are {width} wide, by {pool.encoder_name}, and this "
            f"model's {own}: build it again with `camouflage pool build --encoder`"
        )
    if sha256 is not None and pool.encoder_sha256 != sha256:
        raise SettingError(
            f"pool: its embeddings are another encoder's, {pool.encoder_name} of sha256 "
            f"{pool.encoder_sha256[:12]}..., and this model's is {sha256[:12]}...: "
            "build it again with `camouflage pool build --encoder`"
        )
