"""Shards of latents to batches."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import lightning as L
import torch
import webdataset as wds
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

from training.frozen import weights_folder
from training.shards import Prepared, read_blob, shard_paths

TrainRead = Callable[[dict[str, Any], random.Random], dict[str, Any]]
"""A sample of webdataset and what is left to chance, to a row of a batch."""
Collate = Callable[[list[dict[str, Any]]], dict[str, Any]]


class ShardData(L.LightningDataModule):
    """Batches of the shards that a command of `training.prepare` wrote.

    ``vae`` is the autoencoder, a name in the table of weights or a folder: shards of another one
    are refused. ``batch_size`` and ``epoch_samples`` are of one process; the shards are resampled
    for ever. ``shuffle`` is how many samples a worker holds to choose from. The order follows from
    ``seed``, the process, the worker and the step at which the run begins: one that goes on does
    not see again what it saw at its start.

    Raises:
        ValueError: the shards are of another command or autoencoder, or not complete.
    """

    prepared_by: type[Prepared] = Prepared

    def __init__(
        self,
        folder: str,
        vae: str,
        batch_size: int = 8,
        epoch_samples: int = 32000,
        workers: int = 4,
        shuffle: int = 2000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.folder, self.batch_size, self.epoch_samples = Path(folder), batch_size, epoch_samples
        self.workers, self.shuffle, self.seed = workers, shuffle, seed
        self.prepared = self.prepared_by.read(self.folder)
        self.prepared.require(weights_folder(vae))

    def train_loader(self, read: TrainRead, collate: Collate | None = None) -> DataLoader:
        """What ``read`` makes of training samples; ``collate`` None is torch's own."""
        shards = shard_paths(self.folder, "train")
        stream = resampled(shards, self.trainer, read, seed=self.seed, shuffle=self.shuffle)
        return DataLoader(
            stream.with_epoch(self.epoch_samples // max(self.workers, 1)),  # type: ignore[arg-type]
            batch_size=self.batch_size,
            num_workers=self.workers,
            drop_last=True,
            collate_fn=collate,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def heldout_loader(
        self, read: Callable[[dict[str, Any]], dict[str, Any]], collate: Collate | None = None
    ) -> DataLoader | list:
        """All held-out samples in order, the same in every process."""
        if not (shards := shard_paths(self.folder, "heldout")):
            return []
        stream = in_order(shards, read)
        return DataLoader(stream, batch_size=self.batch_size, collate_fn=collate)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """What the data were, for the checkpoint and the card of what is exported from it."""
        return {"prepared": asdict(self.prepared)}


class LatentData(ShardData):
    """Batches of ``z_0`` (B, C, h, w) float32, from `training.prepare latents`.

    Of a training sample that has a mirror image, one of the two is taken at random.
    """

    def train_dataloader(self) -> DataLoader:
        return self.train_loader(one_of_both)

    def val_dataloader(self) -> DataLoader | list:
        return self.heldout_loader(lambda sample: {"z_0": read_blob(sample)["z_0"].float()})


def one_of_both(sample: dict[str, Any], rng: random.Random) -> dict[str, Tensor]:
    """``z_0`` of the picture or of its mirror image."""
    found = read_blob(sample)
    return {"z_0": found[rng.choice(sorted(found))].float()}  # a blob has no order


def resampled(
    shards: list[str],
    trainer: L.Trainer | None,
    read: TrainRead,
    *,
    seed: int,
    shuffle: int,
) -> wds.DataPipeline:
    """What ``read`` makes of the samples in ``shards``, for ever, as `ShardData` says.

    ``trainer`` knows the process and the step at which the run begins.
    """
    rank, world, step = 0, 1, 0
    if trainer is not None:
        rank, world, step = trainer.global_rank, trainer.world_size, trainer.global_step
    begin = f"{seed} {step}"
    return wds.DataPipeline(
        wds.ResampledShards(
            shards,
            seed=random.Random(begin).randrange(2**31),
            worker_seed=one_stream,
            deterministic=True,
        ),
        SplitByNode(rank, world),
        wds.split_by_worker,
        wds.tarfile_to_samples(),
        Order(f"{begin} {rank}", shuffle, read),
    )


def in_order(
    shards: list[str], read: Callable[[dict[str, Any]], dict[str, Any]]
) -> wds.DataPipeline:
    """What ``read`` makes of every sample in ``shards``, once, the same in every process."""
    return wds.DataPipeline(wds.SimpleShardList(shards), wds.tarfile_to_samples(), wds.map(read))


def one_stream() -> int:
    """Every process and worker draws the same shards in the same order, and takes its share."""
    return 0


class SplitByNode:
    """Of a stream of shards, those of one process: every ``world``-th.

    webdataset's own asks torch.distributed, which a worker process knows only if it was forked.
    """

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world

    def __call__(self, shards: Iterator[dict]) -> Iterator[dict]:
        return islice(shards, self.rank, None, self.world)


class Order:
    """What ``read`` makes of samples, in an order of their own for each seed, worker and epoch."""

    def __init__(
        self,
        seed: str,
        size: int,
        read: Callable[[dict[str, Any], random.Random], dict[str, Any]],
    ) -> None:
        self.seed, self.size, self.read, self.epoch = seed, size, read, -1

    def __call__(self, samples: Iterator[dict]) -> Iterator[dict[str, Any]]:
        self.epoch += 1
        worker = get_worker_info()
        rng = random.Random(f"{self.seed} {worker.id if worker else 0} {self.epoch}")
        for sample in wds.shuffle(self.size, rng=rng)(samples):
            yield self.read(sample, rng)


def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor | list[str]]:
    """Tensors are stacked, captions listed."""
    batch: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    return batch | {n: torch.stack(v) for n, v in batch.items() if isinstance(v[0], Tensor)}
