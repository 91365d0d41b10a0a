"""Pictures to latents with their control maps: the command ``training.prepare controls``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
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
from training.encode import MOST_SAMPLES, begin, device_of, finish, write_split
from training.frozen import load_autoencoder, weights_folder
from training.shards import CAPTION, ControlsPrepared, Files, blob, map_ending, vae_facts
from training.squares import half_latents
from training.survey import SEEN, find_pictures, look, make_plan


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotation:
    """The networks that say what is stored of a square."""

    autoencoder: Autoencoder
    annotators: SceneAnnotators
    controls: tuple[str, ...]
    caption: bool


def controls(
    sources: Annotated[
        list[Path], typer.Argument(help="folders of pictures, and those below them")
    ],
    output: Annotated[Path, typer.Option(help="folder for the shards")],
    vae: Annotated[str, typer.Option(help="name or folder of the autoencoder")] = "sd-vae-ft-mse",
    caption: Annotated[bool, typer.Option(help="also a caption of each, by BLIP")] = True,
    side: Annotated[int, typer.Option(help="pixels of the squares")] = 512,
    least_side: Annotated[
        int, typer.Option(help="pixels; pictures with a shorter side are left out; 0: --side")
    ] = 0,
    heldout: Annotated[float, typer.Option(help="part of the pictures that is held out")] = 0.02,
    batch: Annotated[int, typer.Option(help="pictures that are encoded at once")] = 8,
    workers: Annotated[int, typer.Option(help="processes that read; 0: this one")] = 2,
    device: Annotated[str, typer.Option(help="auto, or as torch names it")] = "auto",
    seed: Annotated[int, typer.Option(help="of order and split")] = 0,
    shard: Annotated[int, typer.Option(help="most samples in a shard")] = MOST_SAMPLES // 10,
) -> None:
    """The middle square of pictures: latent, the five control maps, caption.

    As of latents: the same command goes on after a stop, and what is not used is listed.
    """
    output.mkdir(parents=True, exist_ok=True)
    place = device_of(device)
    annotators = SceneAnnotators(device=place)
    weights.require(annotators.needed(CONTROLS, caption=caption))
    files = find_pictures(sources)
    seen = look(files, output / SEEN, workers)
    plan = make_plan(seen, least_side_px=least_side or side, share=heldout, seed=seed)
    autoencoder = weights_folder(vae)
    annotation = Annotation(
        autoencoder=load_autoencoder(str(autoencoder)).to(place),
        annotators=annotators,
        controls=CONTROLS,
        caption=caption,
    )
    prepared = ControlsPrepared(
        **vae_facts(autoencoder),
        side_px=side,
        crops=1,
        mirror=False,
        shard_pictures=shard,
        seed=seed,
        plan_sha256=plan.sha256(),
        pictures={split: len(pictures) for split, pictures in plan.splits.items()},
        controls=list(CONTROLS),
        captions="captioner-blip" if caption else "",
    )
    begin(output, prepared, plan)
    encoding = partial(annotated, annotation=annotation, batch=batch)
    for split, pictures in plan.splits.items():
        paths = [(picture, files[picture.name]) for picture in pictures]
        write_split(output, split, paths, prepared, encoding, workers=workers)
    finish(output, prepared)


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
