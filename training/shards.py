"""Shards of samples: tar files of a safetensors blob each, and what they were made with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import safetensors.torch
import webdataset as wds
from torch import Tensor

from training.frozen import autoencoder_config, weights_sha256

PREPARED = "prepared.json"
BLOB = "safetensors"
CAPTION = "txt"

Latents = dict[str, Tensor]
"""``z_0`` (C, h, w) float16 of one square of a picture, and ``mirrored``, of its mirror image."""
Files = dict[str, bytes]
"""A sample in a shard: the bytes of its files by their endings, :data:`BLOB` and others."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What the shards in a folder hold, as `training.prepare latents` wrote it beside them.

    ``z_0`` is ``(mode - shift_factor) * scaling_factor`` of the autoencoder whose weights have
    ``vae_sha256``. ``plan_sha256`` stands for the pictures, their order and their split. The
    counts are there, and ``complete`` is true, once every shard is written.
    """

    command: ClassVar[str] = "training.prepare latents"

    vae_sha256: str
    scaling_factor: float
    shift_factor: float
    side_px: int
    crops: int
    mirror: bool
    shard_pictures: int
    seed: int
    plan_sha256: str
    pictures: dict[str, int]
    samples: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    complete: bool = False

    @classmethod
    def read(cls, folder: Path) -> Prepared:
        """Of the shards in ``folder``.

        Raises:
            FileNotFoundError: there are none.
            ValueError: they are of another command.
        """
        path = folder / PREPARED
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder.name}: expected {PREPARED}; make the shards by {cls.command}"
            )
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.keys() != {entry.name for entry in fields(cls)}:
            raise ValueError(f"{folder.name}: expected shards that were made by {cls.command}")
        return cls(**found)

    def write(self, folder: Path) -> None:
        """Beside the shards, in one piece."""
        partial = folder / f".{PREPARED}.part"
        partial.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        os.replace(partial, folder / PREPARED)

    def require(self, vae: Path) -> None:
        """Refuse unfinished shards, and those of another autoencoder than that in ``vae``.

        Raises:
            ValueError: the latents are not those of this autoencoder, or not all there.
        """
        if not self.complete:
            raise ValueError(f"the shards are not complete: run {self.command} again")
        for name, value in vae_facts(vae).items():
            expected = getattr(self, name)
            if value != expected:
                raise ValueError(
                    f"these latents are of another autoencoder: their {name} is {expected}, that "
                    f"of {vae.name} is {value}; prepare them anew"
                )


@dataclass(frozen=True, kw_only=True)
class LightPrepared(Prepared):
    """Likewise, as `training.prepare light` wrote it.

    ``encoder_side_px`` is of the image encoder's pictures; ``attributes_sha256`` of the weights
    that told the attributes; ``captions`` the sha256 of the table that they are of, the name of the
    captioner, or empty if there are none.
    """

    encoder_side_px: int
    attributes_sha256: str
    captions: str

    command: ClassVar[str] = "training.prepare light"


@dataclass(frozen=True, kw_only=True)
class ControlsPrepared(Prepared):
    """Likewise, as `training.prepare controls` wrote it: the maps that each sample has, and the
    name of the captioner, empty if there are no captions.
    """

    controls: list[str]
    captions: str

    command: ClassVar[str] = "training.prepare controls"


def map_ending(control: str) -> str:
    """Of the file in which a sample has its map of ``control``."""
    return f"{control}.webp"


def vae_facts(vae: Path) -> dict[str, Any]:
    """By what the latents of the autoencoder in ``vae`` are known."""
    config = autoencoder_config(vae)
    return {
        "vae_sha256": weights_sha256(vae),
        "scaling_factor": config["scaling_factor"],
        "shift_factor": config.get("shift_factor") or 0.0,
    }


def shard_paths(folder: Path, split: str) -> list[str]:
    """Of ``split``, "train" or "heldout", in order."""
    return sorted(str(path) for path in folder.glob(f"{split}-*.tar"))


def write_shard(path: Path, samples: Iterable[tuple[str, Files]]) -> int:
    """Write ``path`` in one piece and return how many samples it has.

    A run that is killed leaves a hidden ``.part`` file, which the next one writes over.
    """
    partial = path.with_name(f".{path.name}.part")
    count = 0
    with partial.open("wb") as file:
        with wds.TarWriter(file, mtime=0) as sink:
            for key, files in samples:
                sink.write({"__key__": key, **files})
                count += 1
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    return count


def blob(tensors: dict[str, Tensor]) -> Files:
    """The file in which a sample's tensors are."""
    return {BLOB: safetensors.torch.save(tensors)}


def read_blob(sample: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of a sample of webdataset, without its key."""
    return safetensors.torch.load(sample[BLOB])


def read_latents(folder: Path, split: str) -> Iterator[tuple[str, Latents]]:
    """Key and latents of every sample of ``split``, in order."""
    for sample in read_samples(folder, split):
        yield sample["__key__"], read_blob(sample)


def read_samples(folder: Path, split: str) -> Iterator[dict[str, Any]]:
    """Every sample of ``split``, in order: its ``__key__``, and its files by their endings."""
    yield from wds.WebDataset(
        shard_paths(folder, split), shardshuffle=False, empty_check=False, nodesplitter=None
    )
