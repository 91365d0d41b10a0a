"""Pictures to the samples of CAMOUFLaGE-Light: the command ``training.prepare light``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor

from camouflage.annotators.attributes import AttributeNet, predict_attributes
from camouflage.annotators.attributes.network import CLIP_MEAN, CLIP_STD
from camouflage.annotators.image_encoder import encoder_input
from camouflage.annotators.scene.caption import Captioner
from camouflage.denoise.latents import Autoencoder
from camouflage.subjects.faces import FaceDetector
from camouflage.weights import load_model
from training.captions import read_captions
from training.frozen import load_autoencoder, weights_folder, weights_sha256
from training.preparation import (
    MOST_SAMPLES,
    Batch,
    Device,
    Encoding,
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
from training.shards import CAPTION, Files, LightPrepared, blob
from training.squares import half_latents, key_of
from training.survey import Seen, find_pictures


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotators:
    """The networks that say what is stored of a square; without a captioner no captions."""

    autoencoder: Autoencoder
    detector: FaceDetector
    attributes: AttributeNet
    captioner: Captioner | None
    encoder_side: int


def light(
    sources: Sources,
    output: Output,
    vae: Vae = "sd-vae-ft-mse",
    attributes: Annotated[
        str, typer.Option(help="name or folder of the network of attributes")
    ] = "attributes-facer",
    captions: Annotated[
        Path | None, typer.Option(help="CSV with the columns file_name and caption")
    ] = None,
    caption: Annotated[bool, typer.Option("--caption", help="by the captioner")] = False,
    captioner: Annotated[
        str, typer.Option(help="name or folder of the captioner, BLIP")
    ] = "captioner-blip",
    side: Side = 512,
    encoder_side: Annotated[int, typer.Option(help="pixels of the image encoder's picture")] = 224,
    least_side: LeastSide = 0,
    heldout: HeldOut = 0.02,
    batch: Batch = 8,
    workers: Workers = 2,
    device: Device = "auto",
    seed: Seed = 0,
    shard: Shard = MOST_SAMPLES,
) -> None:
    """The middle square of pictures: latent, encoder's picture, faces, attributes, caption.

    As of latents: the same command goes on after a stop, and what is not used is listed.
    """
    names = list(find_pictures(sources))
    told, origin = _captions(captions, captioner if caption else None, names)
    pictures = Pictures.found(
        sources, output, least=least_side or side, heldout=heldout, seed=seed, workers=workers
    )
    autoencoder, attribute_net = weights_folder(vae), weights_folder(attributes)
    speaker = weights_folder(captioner) if caption else None
    place = device_of(device)
    annotators = Annotators(
        autoencoder=load_autoencoder(str(autoencoder)).to(place),
        detector=FaceDetector(),
        attributes=load_model(AttributeNet, attribute_net, dtype=torch.float32).to(place),
        captioner=None if speaker is None else Captioner.from_folder(speaker, device=place),
        encoder_side=encoder_side,
    )
    prepared = LightPrepared(
        **pictures.facts(autoencoder),
        side_px=side,
        crops=1,
        mirror=False,
        shard_pictures=shard,
        encoder_side_px=encoder_side,
        attributes_sha256=weights_sha256(attribute_net),
        captions=origin,
    )

    def encoding_of(seen: Sequence[Seen]) -> Encoding:
        known = {key_of(i): told.get(picture.name, "") for i, picture in enumerate(seen)}
        return partial(annotated, annotators=annotators, captions=known, batch=batch)

    pictures.write(output, prepared, encoding_of, workers=workers)


def _captions(
    table: Path | None, captioner: str | None, names: Sequence[str]
) -> tuple[dict[str, str], str]:
    """The captions in ``table`` by the pictures' names, and the note of where all are from."""
    if table is not None and captioner is not None:
        raise typer.BadParameter("give --captions or --caption, not both")
    if table is None:
        return {}, "" if captioner is None else Path(captioner).name
    found, digest = read_captions(table, names)
    typer.echo(f"{len(found)} of {len(names)} pictures have a caption")
    return found, digest


def annotated(
    stream: Iterator[tuple[str, NDArray[np.uint8]]],
    annotators: Annotators,
    captions: Mapping[str, str],
    *,
    batch: int,
) -> Iterator[tuple[str, Files]]:
    """Key and what is stored of every square; ``captions`` by the keys, where no captioner is."""
    while chunk := list(islice(stream, batch)):
        squares = [square for _, square in chunk]
        latents = half_latents(annotators.autoencoder, squares)
        texts = [captions[key] for key, _ in chunk]
        if annotators.captioner is not None:
            texts = annotators.captioner(squares)
        for (key, square), z_0, text in zip(chunk, latents, texts, strict=True):
            shown = encoder_picture(square, annotators.encoder_side)
            tensors = {"z_0": z_0.clone(), "encoder_picture": shown}
            tensors |= faces_of(square, annotators.detector, annotators.attributes)
            yield key, blob(tensors) | {CAPTION: text.encode()}


def encoder_picture(square: NDArray[np.uint8], side: int) -> Tensor:
    """(side, side, 3) uint8, as `encoder_input` cuts it, its colours not normalised yet."""
    normalised = encoder_input([square], side)[0].permute(1, 2, 0)
    levels = (normalised * torch.tensor(CLIP_STD) + torch.tensor(CLIP_MEAN)) * 255
    return levels.round().to(torch.uint8).contiguous()


def faces_of(
    square: NDArray[np.uint8], detector: FaceDetector, attributes: AttributeNet
) -> dict[str, Tensor]:
    """``boxes_xyxy`` (N, 4), ``points_xy`` (N, 5, 2), ``attributes`` (N, 40), float32.

    In pixels of ``square``; N may be 0.
    """
    faces = detector.detect(square)
    points = [face.points_xy for face in faces]
    probabilities = predict_attributes(attributes, [square] * len(faces), points)
    boxes = np.array([face.box_xyxy for face in faces], np.float32).reshape(-1, 4)
    five = np.array(points, np.float32).reshape(-1, 5, 2)
    named = {"boxes_xyxy": boxes, "points_xy": five, "attributes": probabilities}
    return {name: torch.from_numpy(array) for name, array in named.items()}
