"""Shards of CAMOUFLaGE-Light's samples to batches."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from camouflage.annotators.attributes.spatial import spatial_encoding
from camouflage.annotators.image_encoder import encoder_input
from training.latents import ShardData, collate
from training.shards import CAPTION, LightPrepared, read_blob


class LightData(ShardData):
    """Batches of ``z_0`` (B, C, h, w) and ``encoder_pixels`` (B, 3, S, S), normalised, both
    float32, ``maps`` (B, 41, h, w), the spatial encoding of the faces, and ``caption``, a text a
    row, from `training.prepare light`. No sample is mirrored.
    """

    prepared_by = LightPrepared

    def train_dataloader(self) -> DataLoader:
        return self.train_loader(partial(read_in_order, side_px=self.prepared.side_px), collate)

    def val_dataloader(self) -> DataLoader | list:
        return self.heldout_loader(partial(light_sample, side_px=self.prepared.side_px), collate)


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
