"""Shards of CAMOUFLaGE-Light's samples to batches."""

from __future__ import annotations

import random
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from camouflage.annotators.attributes.spatial import spatial_encoding
from camouflage.annotators.image_encoder import encoder_input
from training.frozen import weights_folder
from training.latents import in_order, resampled
from training.shards import CAPTION, LightPrepared, read_blob, shard_paths


class LightData(L.LightningDataModule):
    """Batches of ``z_0`` (B, C, h, w) and ``encoder_pixels`` (B, 3, S, S), normalised, both
    float32, ``maps`` (B, 41, h, w), the spatial encoding of the faces, and ``caption``, a text a
    row, from `training.prepare light`.

    All else is as in `training.latents.LatentData`; no sample is mirrored.

    Raises:
        ValueError: the shards are of another autoencoder than ``vae``, or not complete.
    """

    def __init__(
        self,
        folder: str,
        vae: str,
        batch_size: int = 8,
        epoch_samples: int = 32000,
        workers: int = 4,
        shuffle: int = 500,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.folder, self.batch_size, self.epoch_samples = Path(folder), batch_size, epoch_samples
        self.workers, self.shuffle, self.seed = workers, shuffle, seed
        self.prepared = LightPrepared.read(self.folder)
        self.prepared.require(weights_folder(vae))

    def train_dataloader(self) -> DataLoader:
        stream = resampled(
            shard_paths(self.folder, "train"),
            self.trainer,
            partial(read_in_order, side_px=self.prepared.side_px),
            seed=self.seed,
            shuffle=self.shuffle,
        )
        return DataLoader(
            stream.with_epoch(self.epoch_samples // max(self.workers, 1)),  # type: ignore[arg-type]
            batch_size=self.batch_size,
            num_workers=self.workers,
            drop_last=True,
            collate_fn=collate,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader | list:
        """All held-out samples in order, the same in every process."""
        if not (shards := shard_paths(self.folder, "heldout")):
            return []
        stream = in_order(shards, partial(light_sample, side_px=self.prepared.side_px))
        return DataLoader(stream, batch_size=self.batch_size, collate_fn=collate)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """What the data were, for the checkpoint."""
        return {"prepared": asdict(self.prepared)}


def read_in_order(
    sample: dict[str, Any], rng: random.Random, *, side_px: int
) -> dict[str, Tensor | str]:
    """`light_sample`, in which nothing is left to chance."""
    return light_sample(sample, side_px=side_px)


def light_sample(sample: dict[str, Any], *, side_px: int) -> dict[str, Tensor | str]:
    """A row of a batch, of a sample of webdataset whose faces are in pixels of ``side_px``."""
    found = read_blob(sample)
    picture = found["encoder_picture"].numpy()
    maps = spatial_encoding(
        found["boxes_xyxy"].tolist(),
        list(found["points_xy"].numpy()),
        found["attributes"].numpy(),
        size_hw=(side_px, side_px),
        latent_hw=(found["z_0"].shape[-2], found["z_0"].shape[-1]),
    )
    return {
        "z_0": found["z_0"].float(),
        "encoder_pixels": encoder_input([picture], len(picture))[0],
        "maps": torch.from_numpy(maps),
        "caption": sample[CAPTION].decode(),
    }


def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor | list[str]]:
    """Tensors are stacked, captions listed."""
    batch: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    return batch | {n: torch.stack(v) for n, v in batch.items() if isinstance(v[0], Tensor)}
