"""Batches of latents with their control maps, for the fused ControlNet."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

from torch.utils.data import DataLoader

from training.encode_controls import read_maps
from training.latents import ShardData, collate
from training.shards import CAPTION, ControlsPrepared, read_blob


class ControlData(ShardData):
    """Batches of ``z_0`` (B, C, h, w) float32, for every control its map (B, 3, H, W) uint8, and
    ``caption``, a text a row, from `training.prepare controls`. No sample is mirrored.
    """

    prepared_by = ControlsPrepared

    def train_dataloader(self) -> DataLoader:
        return self.train_loader(partial(read_training, names=self.prepared.controls), collate)

    def val_dataloader(self) -> DataLoader | list:
        return self.heldout_loader(partial(control_sample, names=self.prepared.controls), collate)


def read_training(
    sample: dict[str, Any], generator: random.Random, *, names: list[str]
) -> dict[str, Any]:
    """As :func:`control_sample`; nothing of it is left to chance."""
    del generator
    return control_sample(sample, names=names)


def control_sample(sample: dict[str, Any], *, names: list[str]) -> dict[str, Any]:
    """A stored sample as a row of a batch."""
    z_0 = read_blob(sample)["z_0"].float()
    return {"z_0": z_0, **read_maps(sample, names), "caption": sample[CAPTION].decode()}
