"""How does the cost grow: with faces, megapixels, the batch, and the length of a run?

    python -m benchmarks.growth --output benchmarks/GROWTH.md --picture docs/growth.png

Seconds of whole pictures through the `Anonymizer`, by stage, for 1, 5 and 50 faces and for 1, 12
and 48 megapixels; seconds of the model a face for batches of 1 to 64; and what the process holds in
memory along 500 pictures. Every picture is made of the public-domain astronaut (NASA) of
scikit-image.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import psutil
import torch
import typer
from numpy.typing import NDArray

from benchmarks.stages import KEY, portrait, subject_of
from camouflage.anonymizer import Anonymizer
from camouflage.evaluate.command import published
from camouflage.picture import Picture
from camouflage.recipe import Recipe
from camouflage.write import encode, write_bytes

FACES = (1, 5, 50)
MEGAPIXELS = (1, 12, 48)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
TILE_PX = 240
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Growth:
    """What was measured: seconds by stage or of a face, by the size; MiB by pictures done."""

    faces: dict[int, dict[str, float]]
    megapixels: dict[int, dict[str, float]]
    batch: dict[int, float]
    memory: dict[int, float]


def crowd(faces: int) -> NDArray[np.uint8]:
    """As many astronauts, side by side in rows of ten, uint8 RGB of 240 px each."""
    one = portrait()[: portrait().shape[0] // 2 + 80, 100:500]
    tile = cv2.resize(one, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA)
    wide = min(faces, 10)
    rows = -(-faces // wide)
    blank = np.full_like(tile, 127)
    tiles = [tile if i < faces else blank for i in range(rows * wide)]
    lines = [np.concatenate(tiles[i * wide : (i + 1) * wide], 1) for i in range(rows)]
    return np.concatenate(lines, 0).astype(np.uint8)


def photograph(megapixels: float) -> NDArray[np.uint8]:
    """One astronaut of 512 px in the corner of as many megapixels, 4:3, uint8 RGB."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    image = np.random.default_rng(0).integers(110, 140, (height // 8, width // 8, 3), np.uint8)
    large: NDArray[Any] = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    large[:512, :512] = portrait(512)
    return large


def stages_of(
    anonymizer: Anonymizer, pixels: NDArray[np.uint8], *, runs: int, faces: int | None = None
) -> dict[str, float]:
    """Median seconds by stage of a whole picture from a JPEG file to one.

    Raises:
        RuntimeError: another number of ``faces`` is found, so that it is not what it is said to be.
        AuditRefused: it did not pass, so that nothing is written.
    """
    measured: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        path.write_bytes(encode(pixels, suffix=".jpg"))
        for number in range(runs + 1):
            result = anonymizer(path, seed=KEY)
            if faces is not None and len(result.faces) != faces:
                raise RuntimeError(f"{len(result.faces)} faces were found, {faces} are there")
            start = time.perf_counter()
            result.save(Path(folder) / f"{number}.jpg")
            measured.append({**result.seconds, "write": time.perf_counter() - start})
    return {name: statistics.median(one[name] for one in measured[1:]) for name in measured[0]}


def batch_seconds(recipe: Recipe, batches: Sequence[int], *, runs: int) -> dict[int, float]:
    """Median seconds a face of the model, by the number of faces at once."""
    anonymizer = Anonymizer.from_recipe(recipe)
    subject, found = subject_of(anonymizer, portrait()), {}
    for batch in batches:
        settings = recipe.changed({"face_batch": batch})
        one = Anonymizer(
            settings,
            pipeline=anonymizer.pipeline,
            detector=anonymizer.detector,
            recogniser=anonymizer.recogniser,
        )
        seconds = []
        for _ in range(runs + 1):
            start = time.perf_counter()
            one.redraw([subject] * batch, KEY)
            seconds.append((time.perf_counter() - start) / batch)
        found[batch] = statistics.median(seconds[1:])
    return found


def memory_along(anonymizer: Anonymizer, pictures: int, *, every: int) -> dict[int, float]:
    """MiB that the process holds after so many pictures, each of another size and seed."""
    process, found = psutil.Process(os.getpid()), {}
    base = portrait()
    for number in range(1, pictures + 1):
        side = 320 + 16 * (number % 20)
        pixels = cv2.resize(base, (side, side), interpolation=cv2.INTER_AREA)
        result = anonymizer(Picture.from_image(pixels), seed=str(number))
        if result.state == "passed":
            encode(np.asarray(result.image), suffix=".jpg")
        if number % every == 0 or number == 1:
            found[number] = process.memory_info().rss / MIB
    return found


def markdown(growth: Growth, about: str, command: str) -> str:
    """The figures as tables."""
    lines = ["# How the cost grows", "", "Made by the command below, and written over by it.", ""]
    lines += [f"    {command}", "", about, ""]
    for what, table in (("faces", growth.faces), ("megapixels", growth.megapixels)):
        stages = list(next(iter(table.values())))
        lines += [f"| {what} | {' | '.join(stages)} | all, seconds |"]
        lines += ["|" + "---|" * (len(stages) + 2)]
        for size, seconds in table.items():
            cells = [f"{seconds[stage]:.2f}" for stage in stages]
            lines.append(f"| {size} | {' | '.join(cells)} | {sum(seconds.values()):.2f} |")
        lines.append("")
    lines += ["| faces at once | seconds of the model, a face |", "|---|---|"]
    lines += [f"| {batch} | {seconds:.3f} |" for batch, seconds in growth.batch.items()]
    lines += ["", "| pictures done | MiB held by the process |", "|---|---|"]
    lines += [f"| {number} | {mib:.0f} |" for number, mib in growth.memory.items()]
    return "\n".join([*lines, ""])


def draw(growth: Growth, path: Path) -> None:
    """Four plots in one picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    (top, middle), (left, right) = figure.subplots(2, 2)
    for axes, what, table in (
        (top, "faces in a picture", growth.faces),
        (middle, "megapixels, one face", growth.megapixels),
    ):
        sizes, bottom = [str(size) for size in table], np.zeros(len(table))
        for stage in next(iter(table.values())):
            heights = np.array([seconds[stage] for seconds in table.values()])
            axes.bar(sizes, heights, bottom=bottom, label=stage)
            bottom += heights
        axes.set(xlabel=what, ylabel="seconds a picture")
        axes.legend(fontsize="small")
    left.plot(list(growth.batch), list(growth.batch.values()), marker="o")
    left.set(xscale="log", xlabel="faces at once", ylabel="seconds of the model, a face")
    left.set_xticks(list(growth.batch), [str(batch) for batch in growth.batch], minor=False)
    right.plot(list(growth.memory), list(growth.memory.values()))
    right.set(xlabel="pictures done", ylabel="MiB held by the process")
    for axes, values in ((left, growth.batch.values()), (right, growth.memory.values())):
        axes.set_ylim(0, 1.15 * max(values))
    figure.savefig(path, dpi=80)


def main(
    output: Annotated[Path, typer.Option(help="The tables, markdown.")],
    picture: Annotated[Path, typer.Option(help="The plots, PNG.")],
    recipe: Annotated[str, typer.Option(help="A preset's name or a recipe's file.")] = "mini",
    runs: Annotated[int, typer.Option(min=1, help="Of which the median is taken.")] = 3,
    pictures: Annotated[int, typer.Option(min=1, help="Of the run that shows the memory.")] = 500,
) -> None:
    """Tables and plots of the cost by faces, megapixels, batch and length of the run."""
    settings = Recipe.load(recipe)
    anonymizer = Anonymizer.from_recipe(settings)
    growth = Growth(
        faces={n: stages_of(anonymizer, crowd(n), runs=runs, faces=n) for n in FACES},
        megapixels={
            n: stages_of(anonymizer, photograph(n), runs=runs, faces=1) for n in MEGAPIXELS
        },
        batch=batch_seconds(settings, BATCHES, runs=runs),
        memory=memory_along(
            Anonymizer.from_recipe(settings.changed({"steps": 2})),
            pictures,
            every=max(pictures // 25, 1),
        ),
    )
    about = (
        f"Recipe {recipe}, torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{platform.machine()}, median of {runs}. The run that shows the memory takes 2 steps a "
        "face and pictures of 320 to 624 px."
    )
    draw(growth, picture)
    text = markdown(growth, about, published("python", "-m", "benchmarks.growth", *sys.argv[1:]))
    write_bytes(text.encode(), output, overwrite=True)
    typer.echo(text)


if __name__ == "__main__":
    typer.run(main)
