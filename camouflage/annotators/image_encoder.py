"""What an image encoder of the CLIP family (FaRL, or the small one of mini-light) sees in pictures.

The preprocessing is that of ``CLIPImageProcessor``: the shorter side is brought to the encoder's by
bicubic interpolation, the middle is cut out, and CLIP's mean and spread are taken out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from camouflage.annotators.attributes import load_farl
from camouflage.annotators.attributes.network import CLIP_MEAN, CLIP_STD
from camouflage.errors import NonFiniteResult, SettingError
from camouflage.mini.image_encoder import SmallImageEncoder
from camouflage.weights import config_of, load_model

ImageEncoder = CLIPVisionModelWithProjection | SmallImageEncoder

AT_ONCE = 32
"""Pictures a batch."""


def load_image_encoder(folder: Path, *, dtype: torch.dtype = torch.float32) -> ImageEncoder:
    """The encoder in a folder, of whichever of the two classes its configuration names.

    Raises:
        WeightsError: it is missing or damaged.
    """
    named = config_of(folder, "config.json", folder.name).get("_class_name")
    if named == SmallImageEncoder.__name__:
        return load_model(SmallImageEncoder, folder, dtype=dtype)
    return load_farl(folder, dtype=dtype)


def side_of(encoder: ImageEncoder) -> int:
    """Side in pixels of what it reads."""
    if isinstance(encoder, SmallImageEncoder):
        return encoder.config["image_size"]
    return int(encoder.config.image_size)  # type: ignore[arg-type]


def token_width(encoder: ImageEncoder) -> int:
    """Width of its tokens."""
    if isinstance(encoder, SmallImageEncoder):
        return encoder.token_width
    return encoder.config.hidden_size


def embedding_width(encoder: ImageEncoder) -> int:
    """Width of its embeddings."""
    if isinstance(encoder, SmallImageEncoder):
        return encoder.config["projection_dim"]
    return encoder.config.projection_dim


def encoder_input(pictures: Sequence[NDArray[np.uint8]], side: int) -> Tensor:
    """(N, 3, side, side) float32, normalised, of pictures (H, W, 3) uint8 of any sizes.

    Raises:
        SettingError: a picture of another shape or type, or without pixels.
    """
    if not pictures:
        return torch.zeros((0, 3, side, side))
    cut = np.stack([_middle(picture, side) for picture in pictures])
    mean, std = torch.tensor(CLIP_MEAN), torch.tensor(CLIP_STD)
    return ((torch.from_numpy(cut) / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()


def _middle(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise SettingError(
            f"expected a picture uint8 (H, W, 3), got {picture.dtype} {picture.shape}"
        )
    height, width = picture.shape[:2]
    wide, high = (side * one // min(height, width) for one in (width, height))
    image = Image.fromarray(picture).resize((wide, high), Image.Resampling.BICUBIC)
    left, top = (wide - side) // 2, (high - side) // 2
    return np.asarray(image)[top : top + side, left : left + side]


@torch.no_grad()
def penultimate(encoder: ImageEncoder, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
    """(N, 1 + patches, width): the tokens before the last layer, which the image prompt is made of.

    On the encoder's device and of its dtype.
    """
    return penultimate_of(encoder, encoder_input(pictures, side_of(encoder)))


def penultimate_of(encoder: ImageEncoder, pixels: Tensor) -> Tensor:
    """`penultimate` of what `encoder_input` gives, (N, 3, side, side); zeros are "no picture"."""
    pixels = pixels.to(encoder.device, encoder.dtype)
    return encoder(pixels, output_hidden_states=True).hidden_states[-2]


@torch.no_grad()
def embed_pictures(
    encoder: ImageEncoder, pictures: Sequence[NDArray[np.uint8]]
) -> NDArray[np.float32]:
    """(N, D) float32 of length 1: the projected embedding, for a search of what looks alike.

    Raises:
        NonFiniteResult: the encoder does not give numbers.
    """
    width = embedding_width(encoder)
    found = np.zeros((len(pictures), width), np.float32)
    for at in range(0, len(pictures), AT_ONCE):
        pixels = encoder_input(pictures[at : at + AT_ONCE], side_of(encoder))
        embeds = encoder(pixels.to(encoder.device, encoder.dtype)).image_embeds.float()
        found[at : at + AT_ONCE] = torch.nn.functional.normalize(embeds, dim=-1).cpu().numpy()
    if not np.isfinite(found).all():
        raise NonFiniteResult("the image encoder returned values that are not finite")
    return found
