"""Shards to batches. Every sample is jittered anew, so that a small set of faces goes further."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, default_collate
from webdataset.compat import WebDataset
from webdataset.shardlists import split_by_node

from camouflage.annotators import draw_maps
from camouflage.annotators.attributes.spatial import spatial_encoding
from camouflage.annotators.colour import COARSENESS
from camouflage.annotators.landmarks import (
    MESH_INDICES,
    face_region,
    five_points,
    inner_box,
)
from training.augment import (
    bend,
    bent,
    bent_points,
    degraded,
    mirrored,
    no_jitter,
    random_jitter,
    relit,
    warp,
)
from training.prepare import SIDE, decode


class CropData(L.LightningDataModule):
    """Batches of aligned crops: ``pixels`` (B, 3, 128, 128) in [-1, 1], and with ``landmarks`` a
    file of `training.label_landmarks`, ``points_xy`` (B, P, 2) in crop pixels and, for every name
    in ``controls``, its control map (B, 3, 128, 128) uint8. With ``attributes``, a file of
    `training.label_attributes`, also ``attributes`` (B, 40), NaN where nobody knows; and with
    ``map_side``, the latent's side, also ``maps`` (B, 41, map_side, map_side), their spatial
    encoding, in which what nobody knows is 0.

    ``coarseness`` is the range from which each training sample's colour map takes its own, evenly
    in its logarithm: one model then serves every coarseness in it. ``lift_px`` is the range from
    which each training sample takes by how much its crop is moved up, evenly: as far as a face's
    region reaches down, the crops of pictures are (`camouflage.subjects.cover`). ``bend_px`` and
    ``relight`` are by how much each training crop is bent and put in another light
    (`training.augment`).
    ``epoch_samples`` is how many samples make an epoch (the shards are resampled for ever).
    """

    def __init__(
        self,
        folder: Path,
        batch_size: int = 16,
        epoch_samples: int = 8000,
        workers: int = 1,
        landmarks: Path | None = None,
        controls: Sequence[str] = (),
        degrade: bool = False,
        coarseness: tuple[float, float] = (COARSENESS, COARSENESS),
        lift_px: tuple[float, float] = (0.0, 0.0),
        bend_px: float = 0.0,
        relight: float = 0.0,
        attributes: Path | None = None,
        map_side: int | None = None,
    ) -> None:
        super().__init__()
        self.map_side = map_side
        if map_side is not None and (attributes is None or landmarks is None):
            raise ValueError("maps are made of attributes and landmarks: give both their files")
        self.attributes = None if attributes is None else read_attributes(attributes)
        self.coarseness, self.lift_px = coarseness, lift_px
        self.bend_px, self.relight = bend_px, relight
        self.folder, self.batch_size, self.epoch_samples = Path(folder), batch_size, epoch_samples
        self.workers, self.degrade, self.controls = workers, degrade, tuple(controls)
        self.labels = None if landmarks is None else read_labels(landmarks)
        if controls and landmarks is None:
            raise ValueError("control maps are drawn from landmarks: give their file too")

    def train_dataloader(self) -> DataLoader:
        shards = sorted(str(p) for p in self.folder.glob("train-*.tar"))
        stream = WebDataset(
            shards, resampled=True, shardshuffle=False, nodesplitter=split_by_node
        ).shuffle(2000)
        stream = stream.select(self._labelled).map(self._train_sample)
        per_worker = self.epoch_samples // max(self.workers, 1)
        return DataLoader(
            stream.with_epoch(per_worker),  # type: ignore[attr-defined]  # typed too narrowly
            batch_size=self.batch_size,
            num_workers=self.workers,
            drop_last=True,
            collate_fn=collate,
            persistent_workers=self.workers > 0,
        )

    def val_dataloader(self) -> DataLoader:
        return self.still_dataloader("heldout")

    def still_dataloader(self, split: str, *, every: int = 1) -> DataLoader:
        """Every so-manieth labelled crop of ``split`` ("train" or "heldout"), varied in no way."""
        shards = sorted(str(p) for p in self.folder.glob(f"{split}-*.tar"))
        # No splitter: each of several processes sees all of these crops.
        stream = WebDataset(shards, shardshuffle=False, empty_check=False, nodesplitter=None)
        stream = stream.select(self._labelled).slice(0, None, every)
        return DataLoader(
            stream.map(self._still_sample),  # type: ignore[arg-type]
            batch_size=self.batch_size,
            collate_fn=collate,
        )

    def _labelled(self, sample: dict) -> bool:
        tables = [table for table in (self.labels, self.attributes) if table is not None]
        return all(sample["__key__"] in table for table in tables)

    def _train_sample(self, sample: dict) -> dict[str, Tensor]:
        generator = np.random.default_rng(int(torch.randint(2**31, ()).item()))
        flip = bool(generator.random() < 0.5)
        lift_px = generator.uniform(*self.lift_px)
        return self._sample(sample, random_jitter(generator), flip, generator, lift_px)

    def _still_sample(self, sample: dict) -> dict[str, Tensor]:
        return self._sample(sample, no_jitter(), False, None, sum(self.lift_px) / 2)

    def _sample(
        self,
        sample: dict,
        matrix: NDArray[np.float64],
        flip: bool,
        generator: np.random.Generator | None,
        lift_px: float,
    ) -> dict[str, Tensor]:
        lift = np.array([[1.0, 0, 0], [0, 1.0, -lift_px]])
        matrix = matrix + np.array([[0, 0, 0], [0, 0, -lift_px]])
        pixels = warp(decode(sample["png"]), matrix, flip)
        field = None
        if generator is not None:
            if self.bend_px:
                field = bend(generator, self.bend_px)
                pixels = bent(pixels, field)
            if self.relight:
                pixels = relit(pixels, generator, self.relight)
            if self.degrade:
                pixels = degraded(pixels, generator)
        batch = {"pixels": to_tensor(pixels)}
        if self.labels is not None:
            points = self.labels[sample["__key__"]] @ matrix[:, :2].T + matrix[:, 2]
            points = mirrored(points) if flip else points
            points = points if field is None else bent_points(points, field)
            batch["points_xy"] = torch.from_numpy(points).float()
            coarseness = COARSENESS if generator is None else self._some_coarseness(generator)
            regions = [face_region(points, SIDE, moved=lift)]
            maps = draw_maps(
                [pixels], points[None], self.controls, regions=regions, coarseness=coarseness
            )
            batch |= {name: torch.from_numpy(m[0]).permute(2, 0, 1) for name, m in maps.items()}
        if self.attributes is not None:
            attributes = self.attributes[sample["__key__"]]
            batch["attributes"] = torch.from_numpy(attributes)
            if self.map_side is not None:
                encoded = self._encoded(batch["points_xy"].double().numpy(), attributes)
                batch["maps"] = torch.from_numpy(encoded)
        return batch

    def _encoded(
        self, points_xy: NDArray[np.float64], attributes: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        assert self.map_side is not None  # noqa: S101  its caller has looked
        return spatial_encoding(
            [inner_box(points_xy)],
            [five_points(points_xy)],
            np.nan_to_num(attributes)[None],
            size_hw=(SIDE, SIDE),
            latent_hw=(self.map_side, self.map_side),
        )

    def _some_coarseness(self, generator: np.random.Generator) -> float:
        low, high = np.log(self.coarseness)
        return float(np.exp(generator.uniform(low, high)))


def collate(samples: list[dict]) -> dict[str, Tensor]:
    """Stacked tensors, without what webdataset notes beside them."""
    return default_collate([{k: v for k, v in s.items() if k[0] != "_"} for s in samples])


def read_labels(path: Path) -> dict[str, NDArray[np.float64]]:
    """Key to (P, 2) float64, the points that this package uses, in pixels of the stored crop."""
    with np.load(path) as labels:
        return {key: labels[key][MESH_INDICES, :2].astype(np.float64) for key in labels.files}


def read_attributes(path: Path) -> dict[str, NDArray[np.float32]]:
    """Key to (40,) float32, probabilities in the order of `CELEBA_ATTRIBUTES`, NaN if unknown."""
    with np.load(path) as labels:
        return {key: labels[key] for key in labels.files}


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) uint8 to (3, H, W) float in [-1, 1]."""
    return torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1).permute(2, 0, 1).contiguous()
