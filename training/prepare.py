"""Pictures of faces to shards that training reads.

    python -m training.prepare crops FACES... --output runs/crops
    python -m training.label_landmarks runs/crops       # in an environment that has mediapipe
    python -m training.prepare latents PICTURES... --vae sd-vae-ft-mse --output runs/latents-512
    python -m training.prepare light PICTURES... --vae sd-vae-ft-mse --output runs/light-512
    python -m training.prepare controls PICTURES... --vae sd-vae-ft-mse --output runs/controls-512
    python -m training.prepare upscaling FACES... --crops runs/crops --output runs/upscaling

``crops`` aligns the largest face of each picture, keeps repeated faces together and holds out 5 %.
``latents`` encodes squares of whole pictures, so that a training step of the identity ControlNet
computes only what it learns: see `training.encode`. ``light`` also stores what the image encoder
reads, the faces, their attributes and a caption: see `training.encode_light`. ``controls`` stores
latents with the control maps and a caption, for the fused ControlNet: `training.encode_controls`.
``upscaling`` stores faces at twice the model's size, and as its autoencoder draws them at its own:
`training.encode_upscaling`.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
import webdataset as wds
from numpy.typing import NDArray

from camouflage.audit.recogniser import Recogniser
from camouflage.subjects.crops import AlignedCrop, align
from training.encode import latents
from training.encode_controls import controls
from training.encode_light import light
from training.encode_upscaling import upscaling
from training.split import held_out

SIDE = 128
MARGIN = 16
"""Pixels kept around a crop of 128 px, so that training can shift, turn and zoom."""
SAME_FACE = 0.45
"""dlib distance under which two crops count as one face and stay on one side of the split."""
SHARD = 400

app = typer.Typer(add_completion=False, help=__doc__.splitlines()[0])
app.command()(latents)
app.command()(light)
app.command()(controls)
app.command()(upscaling)


@dataclass(frozen=True, kw_only=True)
class FacePicture:
    """A picture file and the five points (5, 2) of its largest face."""

    path: Path
    points_xy: NDArray[np.float64]


@app.callback()
def main() -> None:
    """Pictures of faces to shards that training reads."""


@app.command()
def crops(
    faces: Annotated[
        list[Path], typer.Argument(help="folders of pictures; faces.csv is used if there")
    ],
    output: Annotated[Path, typer.Option(help="folder for the shards")],
    seed: Annotated[int, typer.Option(help="of the split")] = 0,
) -> None:
    """Aligned crops of the largest face of each picture, split in train and held-out shards."""
    output.mkdir(parents=True, exist_ok=True)
    keys, pixels = [], []
    for folder in faces:
        for face in find_faces(folder):
            keys.append(f"{folder.name}-{face.path.stem}".replace(".", "_"))
            pixels.append(cut_with_margin(read(face.path), face.points_xy))
    held = held_out(same_face_groups(pixels), seed)
    for name, chosen in (("heldout", held), ("train", ~held)):
        write_shards(
            output / name, [(k, p) for k, p, c in zip(keys, pixels, chosen, strict=True) if c]
        )
        typer.echo(f"{name}: {int(chosen.sum())} crops")


def find_faces(folder: Path) -> Iterator[FacePicture]:
    """The largest face of each picture of ``folder``, from its faces.csv or by the detector."""
    table = folder / "faces.csv"
    if table.exists():
        with table.open(newline="") as rows:
            for row in csv.DictReader(rows):
                if row["re_x"]:
                    points = [
                        [float(row[f"{p}_x"]), float(row[f"{p}_y"])]
                        for p in ("re", "le", "n", "rm", "lm")
                    ]
                    yield FacePicture(path=folder / row["file"], points_xy=np.array(points))
        return
    from camouflage.subjects.faces import FaceDetector

    detector = FaceDetector()
    for path in sorted(
        p for p in folder.iterdir() if p.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"}
    ):
        found = detector.detect(read(path))
        if found:
            largest = max(found, key=lambda f: np.prod(np.subtract(f.box_xyxy[2:], f.box_xyxy[:2])))
            yield FacePicture(path=path, points_xy=np.asarray(largest.points_xy, dtype=np.float64))


def read(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) RGB uint8."""
    from camouflage.picture import Picture

    return Picture.open(path).pixels


def cut_with_margin(pixels: NDArray[np.uint8], points_xy: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(SIDE + 2 MARGIN) square crop whose middle is the crop that the model sees."""
    inner = align(points_xy, side=SIDE)
    matrix = inner.matrix + np.array([[0, 0, MARGIN], [0, 0, MARGIN]])
    return AlignedCrop(matrix=matrix, side=SIDE + 2 * MARGIN).cut(pixels)


def same_face_groups(pixels: list[NDArray[np.uint8]]) -> NDArray[np.int64]:
    """A group number for each crop; crops of one face (and of its near copies) share it."""
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial.distance import cdist

    embeddings = np.stack([embed(p) for p in pixels])
    return connected_components(cdist(embeddings, embeddings) < SAME_FACE)[1]


def embed(crop: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(128,) embedding of the face in the middle of a stored crop, by the audit's recogniser."""
    edge = (SIDE + 2 * MARGIN - 104) // 2 + 4
    chip = cv2.resize(crop[edge : edge + 104, edge - 4 : edge + 100], (150, 150))
    return _recogniser().embed_chip(chip)


@functools.cache
def _recogniser() -> Recogniser:
    return Recogniser()


def write_shards(prefix: Path, samples: list[tuple[str, NDArray[np.uint8]]]) -> None:
    """PREFIX-000000.tar and so on, each sample one lossless PNG."""
    with wds.ShardWriter(f"{prefix}-%06d.tar", maxcount=SHARD, verbose=0) as sink:
        for key, pixels in samples:
            ok, png = cv2.imencode(".png", pixels[..., ::-1])
            if not ok:
                raise RuntimeError(f"cannot encode the crop {key}")
            sink.write({"__key__": key, "png": png.tobytes()})


def read_shards(folder: Path, split: str) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Key and (160, 160, 3) RGB uint8 of every crop of a split, in order."""
    shards = sorted(str(p) for p in folder.glob(f"{split}-*.tar"))
    for sample in wds.WebDataset(shards, shardshuffle=False, empty_check=False):
        yield sample["__key__"], decode(sample["png"])


def decode(png: bytes) -> NDArray[np.uint8]:
    """(H, W, 3) RGB uint8."""
    return np.ascontiguousarray(
        cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    )


if __name__ == "__main__":
    app()
