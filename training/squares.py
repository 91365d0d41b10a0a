"""Squares of pictures, and their latents in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from camouflage.denoise.latents import Autoencoder, encode, pixels_from_pictures
from camouflage.errors import MissingExtra, PictureError
from camouflage.picture import Picture
from training.shards import Files, blob
from training.survey import Seen, why


class Squares(Dataset[NDArray[np.uint8] | str]):
    """Pictures by number; an item is its squares (N, side, side, 3), or why there are none."""

    def __init__(self, pictures: Sequence[tuple[Seen, Path]], side: int, crops: int) -> None:
        self.pictures, self.side, self.crops = pictures, side, crops

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> NDArray[np.uint8] | str:
        seen, path = self.pictures[index]
        try:
            picture = Picture.open(path)
        except (PictureError, MissingExtra, OSError) as error:
            return f"unreadable: {why(error)}"
        if picture.sha256 != seen.sha256:
            return "changed: since it was looked at"
        return squares_of(picture.pixels, self.side, self.crops)


def squares_of(pixels: NDArray[np.uint8], side: int, crops: int) -> NDArray[np.uint8]:
    """(N, side, side, 3): the shorter side resized to ``side``, squares evenly along the longer.

    One is the middle; more reach from end to end; those that would coincide are taken once.
    """
    height, width = pixels.shape[:2]
    scale = side / min(height, width)
    size = max(round(width * scale), side), max(round(height * scale), side)
    resized = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    spare = max(size) - side
    starts = [spare // 2] if crops == 1 else np.unique(np.linspace(0, spare, crops).round())
    windows = [slice(int(start), int(start) + side) for start in starts]
    cut = [resized[:, w] if size[0] >= size[1] else resized[w] for w in windows]
    return np.stack(cut)


def keyed_squares(
    squares: Squares, first: int, workers: int, on_loss: Callable[[dict[str, str]], None]
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Key and square of every picture, ``first`` being the number of the first one.

    ``on_loss`` gets the name of a picture that is gone or changed since it was looked at, and why.
    """
    loader = DataLoader(squares, batch_size=None, num_workers=workers, collate_fn=as_it_is)
    for place, item in enumerate(loader):
        if isinstance(item, str):
            on_loss({squares.pictures[place][0].name: item})
        else:
            yield from ((key_of(first + place, i), square) for i, square in enumerate(item))


def key_of(number: int, square: int = 0) -> str:
    """Of the sample of a square of picture ``number`` of a split."""
    return f"{number:08d}-{square}"


def as_it_is(item: NDArray[np.uint8] | str) -> NDArray[np.uint8] | str:
    """Arrays stay arrays."""
    return item


def encoded(
    stream: Iterator[tuple[str, NDArray[np.uint8]]], model: Autoencoder, *, batch: int, mirror: bool
) -> Iterator[tuple[str, Files]]:
    """Key and latents of every square, from batches of them."""
    while chunk := list(islice(stream, batch)):
        squares = [square for _, square in chunk]
        parts = {"z_0": half_latents(model, squares)}
        if mirror:
            parts["mirrored"] = half_latents(model, [square[:, ::-1] for square in squares])
        for row, (key, _) in enumerate(chunk):
            yield key, blob({name: z[row].clone() for name, z in parts.items()})


@torch.no_grad()
def half_latents(model: Autoencoder, squares: Sequence[NDArray[np.uint8]]) -> Tensor:
    """z_0 (B, C, h, w), float16, on the CPU.

    Raises:
        ValueError: a latent is not finite, or too large for float16.
    """
    pixels = pixels_from_pictures(squares).to(next(model.parameters()).device)
    z_0 = encode(model, pixels).half().cpu().contiguous()
    if not torch.isfinite(z_0).all():
        raise ValueError("the autoencoder's latents are not finite in float16")
    return z_0
