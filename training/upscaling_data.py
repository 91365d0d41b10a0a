"""Shards of `training.prepare upscaling` to batches."""

from __future__ import annotations

from pathlib import Path

import cv2
import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from webdataset.compat import WebDataset
from webdataset.shardlists import split_by_node

from camouflage.mini.upscaling import places_of
from camouflage.subjects.crops import sharpened
from training.augment import relit
from training.data import collate, to_tensor
from training.prepare import decode

SHIFT = 0.04
"""Standard deviation of the shift of a sample's places, in half sides: crops of pictures are moved
up as far as a face's region reaches down. Our choice."""


class UpscalingData(L.LightningDataModule):
    """Batches of faces: ``target`` (B, 3, 2 S, 2 S) in [-1, 1], ``drawn`` (B, 3, S, S), how the
    autoencoder draws it at half its size, and ``places`` (B, 2, S, S), as `places_of`.

    Training samples are mirrored, put in another light by ``relight`` (`training.augment.relit`)
    and, a share ``spoil`` of what is drawn, made softer or harder. Of each a square of ``window``
    px is taken at random, of the target one of twice as many; None: all of it.
    """

    def __init__(
        self,
        folder: Path,
        batch_size: int = 8,
        epoch_samples: int = 4000,
        workers: int = 1,
        relight: float = 0.15,
        spoil: float = 0.7,
        window: int | None = None,
    ) -> None:
        super().__init__()
        if window is not None and (window < 4 or window % 4):
            raise ValueError(f"expected a window of a multiple of 4 px, got {window}")
        self.window = window
        self.folder, self.batch_size, self.epoch_samples = Path(folder), batch_size, epoch_samples
        self.workers, self.relight, self.spoil = workers, relight, spoil

    def train_dataloader(self) -> DataLoader:
        shards = sorted(str(p) for p in self.folder.glob("train-*.tar"))
        stream = WebDataset(
            shards, resampled=True, shardshuffle=False, nodesplitter=split_by_node
        ).shuffle(400)
        per_worker = self.epoch_samples // max(self.workers, 1)
        return DataLoader(
            stream.map(self._train_sample).with_epoch(per_worker),  # type: ignore[attr-defined]
            batch_size=self.batch_size,
            num_workers=self.workers,
            drop_last=True,
            collate_fn=collate,
            persistent_workers=self.workers > 0,
        )

    def val_dataloader(self) -> DataLoader:
        shards = sorted(str(p) for p in self.folder.glob("heldout-*.tar"))
        stream = WebDataset(shards, shardshuffle=False, empty_check=False, nodesplitter=None)
        return DataLoader(
            stream.map(self._still_sample),  # type: ignore[arg-type]
            batch_size=self.batch_size,
            collate_fn=collate,
        )

    def _train_sample(self, sample: dict) -> dict[str, Tensor]:
        seed = int(torch.randint(2**31, ()).item())
        generator = np.random.default_rng(seed)
        pictures = [decode(sample[f"{name}.png"]) for name in ("target", "drawn")]
        if generator.random() < 0.5:
            pictures = [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures]
        if self.relight:
            pictures = [
                relit(picture, np.random.default_rng(seed + 1), self.relight)
                for picture in pictures
            ]
        target, drawn = pictures
        if generator.random() < self.spoil:
            drawn = spoiled(drawn, generator)
        made = _sample(target, drawn)
        made["places"] += torch.from_numpy(generator.normal(0, SHIFT, (2, 1, 1)).astype(np.float32))
        return self._cut(made, generator)

    def _cut(self, sample: dict[str, Tensor], generator: np.random.Generator) -> dict[str, Tensor]:
        side = sample["drawn"].shape[-1]
        window = side if self.window is None else min(self.window, side)
        # Even corners: the network halves its input twice, and places are of its whole pixels.
        y, x = (4 * int(n) for n in generator.integers(0, (side - window) // 4 + 1, 2))
        factors = {"target": 2, "drawn": 1, "places": 1}
        return {
            name: sample[name][..., n * y : n * (y + window), n * x : n * (x + window)]
            for name, n in factors.items()
        }

    def _still_sample(self, sample: dict) -> dict[str, Tensor]:
        return _sample(decode(sample["target.png"]), decode(sample["drawn.png"]))


def _sample(target: NDArray[np.uint8], drawn: NDArray[np.uint8]) -> dict[str, Tensor]:
    return {
        "target": to_tensor(target),
        "drawn": to_tensor(drawn),
        "places": places_of(drawn.shape[0]),
    }


def spoiled(pixels: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """A drawn crop (S, S, 3) softer or sharpened, as results of a recipe are. All amounts are our
    choice.
    """
    side = pixels.shape[0]
    if generator.random() < 0.5:
        sigma = generator.uniform(0.25, 0.8) * side / 128
        return cv2.GaussianBlur(pixels, (0, 0), sigma)  # type: ignore[return-value]
    return sharpened(pixels, generator.uniform(0, 0.8))
