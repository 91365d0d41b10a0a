"""Pictures to latents with their control maps: the command ``training.prepare controls``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import islice
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from PIL import Image

from camouflage import weights
from camouflage.annotators.scene import SceneAnnotators
from camouflage.denoise.latents import Autoencoder
from camouflage.weights import CONTROLS
from training.frozen import load_autoencoder, weights_folder
from training.preparation import (
    MOST_SAMPLES,
    Batch,
    Device,
    HeldOut,
    LeastSide,
    Output,
    Pictures,
    Seed,
    Shard,
    Side,
    Sources,
    Vae,
    Workers,
    device_of,
)
from training.shards import CAPTION, ControlsPrepared, Files, blob, map_ending
from training.squares import half_latents


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotation:
    """The networks that say what is stored of a square."""

    autoencoder: Autoencoder
    annotators: SceneAnnotators
    controls: tuple[str, ...]
    caption: bool


def controls(
    sources: Sources,
    output: Output,
    vae: Vae = "sd-vae-ft-mse",
    caption: Annotated[bool, typer.Option(help="also a caption of each, by BLIP")] = True,
    side: Side = 512,
    least_side: LeastSide = 0,
    heldout: HeldOut = 0.02,
    batch: Batch = 8,
    workers: Workers = 2,
    device: Device = "auto",
    seed: Seed = 0,
    shard: Shard = MOST_SAMPLES // 10,
) -> None:
    """The middle square of pictures: latent, the five control maps, caption.

    As of latents: the same command goes on after a stop, and what is not used is listed.
    """
    place = device_of(device)
    annotators = SceneAnnotators(device=place)
    weights.require(annotators.needed(CONTROLS, caption=caption))
    pictures = Pictures.found(
        sources, output, least=least_side or side, heldout=heldout, seed=seed, workers=workers
    )
    autoencoder = weights_folder(vae)
    annotation = Annotation(
        autoencoder=load_autoencoder(str(autoencoder)).to(place),
        annotators=annotators,
        controls=CONTROLS,
        caption=caption,
    )
    prepared = ControlsPrepared(
        **pictures.facts(autoencoder),
        side_px=side,
        crops=1,
        mirror=False,
        shard_pictures=shard,
        controls=list(CONTROLS),
        captions="captioner-blip" if caption else "",
    )
    encoding = partial(annotated, annotation=annotation, batch=batch)
    pictures.write(output, prepared, lambda _: encoding, workers=workers)


@torch.no_grad()
def annotated(
    stream: Iterator[tuple[str, NDArray[np.uint8]]], annotation: Annotation, *, batch: int
) -> Iterator[tuple[str, Files]]:
    """Key and what is stored of every square."""
    while chunk := list(islice(stream, batch)):
        squares = [np.ascontiguousarray(square) for _, square in chunk]
        latents = half_latents(annotation.autoencoder, squares)
        maps = annotation.annotators(squares, annotation.controls)
        texts = annotation.annotators.caption(squares) if annotation.caption else [""] * len(chunk)
        for row, (key, _) in enumerate(chunk):
            drawn = {name: maps[name][row] for name in annotation.controls}
            files = {map_ending(name): lossless(one) for name, one in drawn.items()}
            yield key, blob({"z_0": latents[row].clone()}) | files | {CAPTION: texts[row].encode()}


def lossless(pixels: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) uint8 as WebP that gives every number back."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, format="WEBP", lossless=True, quality=0, method=0)
    return file.getvalue()


def read_maps(sample: dict[str, bytes], names: Sequence[str]) -> dict[str, torch.Tensor]:
    """(3, H, W) uint8 of each control of a stored sample."""
    found = {}
    for name in names:
        pixels = np.asarray(Image.open(BytesIO(sample[map_ending(name)])).convert("RGB"))
        found[name] = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return found
