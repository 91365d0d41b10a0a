"""Pictures to the samples of the upscaler: the command ``training.prepare upscaling``.

Each face is a ``target`` at twice the model's size, beside how the model's autoencoder draws it at
the model's: what the upscaler will see in use, with its target known to the pixel. What the
denoiser makes of a face is not where the face was, and teaches blur.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
import webdataset as wds
from numpy.typing import NDArray
from rich.progress import track

from camouflage.subjects.crops import align

FACTOR = 2
MOST_ENLARGED = 1.3
"""So many pixels of a target one of its picture may give: more is no detail. Our choice."""
MOST_NOISE = 0.12
"""Latents get noise of up to so much of their spread, as a denoiser's are not exact; those of
held-out faces get none. Our choice."""
BATCH = 16
SHARD = 200


def upscaling(
    faces: Annotated[
        list[Path], typer.Argument(help="folders of pictures; faces.csv is used if there")
    ],
    crops: Annotated[Path, typer.Option(help="shards of crops, which say what is held out")],
    output: Annotated[Path, typer.Option(help="folder for the shards")],
    model: Annotated[str, typer.Option(help="whose autoencoder draws them")] = "mini",
) -> None:
    """Faces at twice the model's size, and as its autoencoder draws them at its own."""
    from camouflage.pipelines import BasePipeline
    from training.prepare import find_faces, read_shards

    output.mkdir(parents=True, exist_ok=True)
    pipeline = BasePipeline.from_pretrained(model)
    splits = {key: split for split in ("heldout", "train") for key, _ in read_shards(crops, split)}
    named = [
        (f"{folder.name}-{face.path.stem}".replace(".", "_"), face)
        for folder in faces
        for face in find_faces(folder)
    ]
    for split in ("heldout", "train"):
        chosen = [(key, face) for key, face in named if splits.get(key) == split]
        noise = MOST_NOISE if split == "train" else 0.0
        targets = _targets(track(chosen, description=split), side=pipeline.config["size_px"])
        with wds.ShardWriter(f"{output / split}-%06d.tar", maxcount=SHARD, verbose=False) as sink:
            for sample in samples(
                pipeline.vae, targets, side=pipeline.config["size_px"], noise=noise
            ):
                sink.write(sample)


def _targets(faces: Any, *, side: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Key and target of every face that is large enough, at twice the model's ``side``."""
    from training.prepare import read

    for key, face in faces:
        crop = align(face.points_xy, side=FACTOR * side)
        if crop.scale <= MOST_ENLARGED:
            yield key, crop.cut(read(face.path))


@torch.no_grad()
def samples(
    vae: Any, targets: Iterator[tuple[str, NDArray[np.uint8]]], *, side: int, noise: float
) -> Iterator[dict[str, str | bytes]]:
    """``target.png`` and ``drawn.png`` of every target (2 side, 2 side, 3), in batches."""
    generator = torch.Generator().manual_seed(0)
    batch: list[tuple[str, NDArray[np.uint8]]] = []
    for target in targets:
        batch.append(target)
        if len(batch) == BATCH:
            yield from _drawn(vae, batch, side, noise, generator)
            batch = []
    if batch:
        yield from _drawn(vae, batch, side, noise, generator)


def _drawn(
    vae: Any,
    batch: list[tuple[str, NDArray[np.uint8]]],
    side: int,
    noise: float,
    generator: torch.Generator,
) -> Iterator[dict[str, str | bytes]]:
    small = [cv2.resize(t, (side, side), interpolation=cv2.INTER_AREA) for _, t in batch]
    pixels = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents = vae.encode(pixels.to(vae.dtype)).latent_dist.mode()
    amounts = noise * torch.rand(len(batch), 1, 1, 1, generator=generator)
    latents = latents + amounts * latents.std() * torch.randn(latents.shape, generator=generator)
    made = vae.decode(latents.to(vae.dtype)).sample.float()
    bytes_ = ((made + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    for (key, target), drawn in zip(batch, bytes_.permute(0, 2, 3, 1).numpy(), strict=True):
        yield {"__key__": key, "target.png": _png(target), "drawn.png": _png(drawn)}


def _png(pixels: NDArray[np.uint8]) -> bytes:
    ok, data = cv2.imencode(".png", pixels[..., ::-1])
    if not ok:
        raise RuntimeError("cannot encode a crop")
    return data.tobytes()
