"""Pictures to shards of latents: the command ``training.prepare latents``."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

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
from training.shards import Prepared
from training.squares import encoded


def latents(
    sources: Sources,
    vae: Vae,
    output: Output,
    side: Side = 512,
    least_side: LeastSide = 0,
    crops: Annotated[int, typer.Option(help="squares a picture, along its longer side")] = 1,
    mirror: Annotated[bool, typer.Option(help="also encode every mirror image")] = True,
    heldout: HeldOut = 0.02,
    batch: Batch = 8,
    workers: Workers = 2,
    device: Device = "auto",
    seed: Seed = 0,
    shard: Shard = MOST_SAMPLES,
) -> None:
    """Latents of squares of pictures, split in train and held-out shards.

    The same command goes on after a stop. Every picture that is not used stands, with the reason,
    in left_out.jsonl.
    """
    pictures = Pictures.found(
        sources, output, least=least_side or side, heldout=heldout, seed=seed, workers=workers
    )
    autoencoder = weights_folder(vae)
    model = load_autoencoder(str(autoencoder)).to(device_of(device))
    prepared = Prepared(
        **pictures.facts(autoencoder),
        side_px=side,
        crops=crops,
        mirror=mirror,
        shard_pictures=max(shard // crops, 1),
    )
    encoding = partial(encoded, model=model, batch=batch, mirror=mirror)
    pictures.write(output, prepared, lambda _: encoding, workers=workers)
