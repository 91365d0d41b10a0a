"""Faces that nobody has, drawn by ``mini``, for the pool of mini-light.

    python -m training.draw_pool runs/crops --names configs/training/pool-mini.txt \
        --output runs/pool-faces
    camouflage pool build runs/pool-faces --encoder mini-light --side 128 --output POOL

Each is drawn between a face of the training crops, which are synthetic themselves, and what mini
makes of its maps, with its shape shifted: nobody's identity is to be left behind here, and the
nearer to a photograph the better. Faces that are turned far or lie in the dark make bad fakes, as
do glasses, hats, fringes, closed eyes, tongues and painted skin, which only an eye tells from a
face: ``--names`` lists the keys of crops that were chosen by one. All numbers are our choice.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from camouflage.annotators import draw_maps, jittered, predict_landmarks
from camouflage.annotators.landmarks import five_points, inner_box
from camouflage.denoise.seeds import generator_for
from camouflage.errors import SettingError
from camouflage.pipelines.base import BasePipeline
from training.augment import no_jitter, warp
from training.prepare import SIDE, read_shards

BATCH = 16
SCALE = 0.7
"""Anonymization scale: 0 would be the synthetic face itself, 1 the maps alone."""
STRENGTH = 0.6
"""Of the noise on the synthetic face: with all of it the drawn faces are blurred."""
LEAST_LIGHT = 70.0
"""Mean grey level of the face, of 255."""
MOST_TURNED = 0.3
"""Distance of the nose from the middle of the eyes, across, in eye distances."""


def is_good(crop: NDArray[np.uint8], points_xy: NDArray[np.float64]) -> bool:
    """Whether a face of an inner crop (128, 128, 3) is lit and looks ahead."""
    x0, y0, x1, y1 = np.clip(inner_box(points_xy), 0, SIDE).astype(int)
    right, left, nose = five_points(points_xy)[:3]
    turned = abs(nose[0] - (right[0] + left[0]) / 2) / np.linalg.norm(left - right)
    return bool(crop[y0:y1, x0:x1].mean() >= LEAST_LIGHT and turned <= MOST_TURNED)


def named(
    crops: list[tuple[str, NDArray[np.uint8]]], names: Path
) -> list[tuple[str, NDArray[np.uint8]]]:
    """Those whose keys the file lists.

    Raises `SettingError` if it lists none, or one that no crop has.
    """
    wanted = set(names.read_text(encoding="utf-8").split())
    if missing := sorted(wanted - {name for name, _ in crops}):
        raise SettingError(
            f"{names.name}: {len(missing)} keys are of no training crop, {missing[0]} among them"
        )
    if not wanted:
        raise SettingError(f"{names.name}: expected keys of crops, one a line, found none")
    return [one for one in crops if one[0] in wanted]


def draw(
    pipeline: BasePipeline, crops: list[NDArray[np.uint8]], names: list[str], *, spread: float
) -> list[Image.Image]:
    """New faces, 128 px each, for inner crops; ``spread`` as the recipes' ``shape_jitter``."""
    points = predict_landmarks(pipeline.landmarker, crops)
    moved = [
        jittered(p, SIDE, spread=spread, generator=generator_for("pool", f"{name}:shape", 0))
        for p, name in zip(points, names, strict=True)
    ]
    maps = draw_maps(crops, np.stack(moved), pipeline.config["controls"])
    drawn: Any = pipeline(
        crops,
        control_images=maps,
        anonymization_scale=SCALE,
        strength=STRENGTH,
        identity="analytic",
        generator=[generator_for("pool", name, 0) for name in names],
    )
    return drawn.images


def main(
    crops: Annotated[Path, typer.Argument(help="shards of training.prepare crops")],
    output: Annotated[Path, typer.Option(help="folder for the faces")],
    names: Annotated[
        Path | None, typer.Option(help="a file of crops' keys, one a line; else lit and ahead")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="how many at most")] = 1000,
    spread: Annotated[float, typer.Option(help="of the shifts of shape, in eye distances")] = 0.05,
) -> None:
    """Faces that nobody has, drawn by mini."""
    pipeline = BasePipeline.from_pretrained("mini")
    pipeline.set_progress_bar_config(disable=True)
    output.mkdir(parents=True, exist_ok=True)
    inner = [(name, warp(crop, no_jitter(), False)) for name, crop in read_shards(crops, "train")]
    if names is None:
        points = predict_landmarks(pipeline.landmarker, [crop for _, crop in inner])
        good = [one for one, p in zip(inner, points, strict=True) if is_good(one[1], p)]
    else:
        good = named(inner, names)
    chosen = sorted(good, key=lambda one: hashlib.sha256(one[0].encode()).digest())[:count]
    for at in track(range(0, len(chosen), BATCH)):
        keys, pixels = zip(*chosen[at : at + BATCH], strict=True)
        faces = draw(pipeline, list(pixels), list(keys), spread=spread)
        for i, face in enumerate(faces):
            face.save(output / f"{at + i:05d}.png")


if __name__ == "__main__":
    typer.run(main)
