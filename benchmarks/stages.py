"""How long does a face take, and all that is around the model?

    python -m benchmarks.stages
    python -m benchmarks.stages --beside mini-light

One 640 px portrait, the same face eight times as a batch and one by one, and a photograph of 12
megapixels by stage. The photograph is the public-domain astronaut (NASA) of scikit-image. Prints a
markdown table; every figure is a median.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from numpy.typing import NDArray

from camouflage.anonymizer import Anonymizer, Subject
from camouflage.audit import audit
from camouflage.compose import compose
from camouflage.errors import NobodyFound
from camouflage.recipe import Recipe
from camouflage.write import encode

KEY = "benchmark"
PORTRAIT_PX = 640
LARGE_HW = (3000, 4000)
BATCH = 8


def portrait(side: int = PORTRAIT_PX) -> NDArray[np.uint8]:
    """(side, side, 3) uint8 RGB: the astronaut."""
    import skimage.data

    return cv2.resize(skimage.data.astronaut(), (side, side), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def large_photo() -> NDArray[np.uint8]:
    """12 megapixels, (3000, 4000, 3) uint8 RGB: the astronaut enlarged, her border continued."""
    height, width = LARGE_HW
    middle = cv2.resize(portrait(512), (height, height), interpolation=cv2.INTER_CUBIC)
    left = (width - height) // 2
    return cv2.copyMakeBorder(  # type: ignore[return-value]
        middle, 0, 0, left, width - height - left, cv2.BORDER_REPLICATE
    )


def median_seconds(call: Callable[[], Any], *, runs: int) -> float:
    """Of ``runs`` calls, after one that is not counted."""
    call()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def subject_of(anonymizer: Anonymizer, pixels: NDArray[np.uint8]) -> Subject:
    """The most certain face. Raises `NobodyFound` if there is none."""
    picture = anonymizer.read(pixels)
    faces = anonymizer.detector.detect(picture.pixels)
    if not faces:
        raise NobodyFound("the detector found nobody in the picture to measure with")
    return anonymizer.subjects(picture, faces[:1])[0]


def model_seconds(anonymizer: Anonymizer, *, runs: int) -> dict[str, float]:
    """Seconds a face on a portrait: alone, of eight as a batch, of eight one by one."""
    subject = subject_of(anonymizer, portrait())

    def one_by_one() -> None:
        for _ in range(BATCH):
            anonymizer.redraw([subject], KEY)

    batch = median_seconds(lambda: anonymizer.redraw([subject] * BATCH, KEY), runs=runs)
    return {
        f"model, one face of a {PORTRAIT_PX} px portrait": median_seconds(
            lambda: anonymizer.redraw([subject], KEY), runs=runs
        ),
        f"model, a face of {BATCH} in a batch": batch / BATCH,
        f"model, a face of {BATCH} one by one": median_seconds(one_by_one, runs=1) / BATCH,
    }


def side_by_side(
    first: Anonymizer, second: Anonymizer, *, names: tuple[str, str], runs: int
) -> dict[str, float]:
    """Seconds a face of two recipes in strict alternation, alone and of eight, and their ratios."""
    subjects = [subject_of(one, portrait()) for one in (first, second)]
    found = {}
    for count in (1, BATCH):
        seconds: list[list[float]] = [[], []]
        for run in range(runs + 1):
            for anonymizer, subject, told in zip((first, second), subjects, seconds, strict=True):
                start = time.perf_counter()
                anonymizer.redraw([subject] * count, KEY)
                if run:  # the first does not count
                    told.append((time.perf_counter() - start) / count)
        times = [statistics.median(told) for told in seconds]
        what = "one face" if count == 1 else f"a face of {count} in a batch"
        found |= {f"{name}, {what}": value for name, value in zip(names, times, strict=True)}
        found[f"{names[1]} / {names[0]}, {what}"] = times[1] / times[0]
    return found


def stage_seconds(anonymizer: Anonymizer, *, runs: int) -> dict[str, float]:
    """Seconds of each stage but the model's on a JPEG of 12 megapixels, and their sum."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        path.write_bytes(encode(large_photo(), suffix=".jpg"))
        picture = anonymizer.read(path)
        faces = anonymizer.detector.detect(picture.pixels)
        if not faces:
            raise NobodyFound("the detector found nobody in the picture to measure with")
        source = anonymizer.recogniser.embed(picture.pixels, faces)
        subjects = anonymizer.subjects(picture, faces, source)
        patches = [
            s.patch(r) for s, r in zip(subjects, anonymizer.redraw(subjects, KEY), strict=True)
        ]
        result, changed = compose(picture.pixels, patches)
        stages: dict[str, Callable[[], Any]] = {
            "read": lambda: anonymizer.read(path),
            "detect": lambda: anonymizer.detector.detect(picture.pixels),
            "annotate": lambda: anonymizer.subjects(picture, faces),
            "compose": lambda: compose(picture.pixels, patches),
            "audit": lambda: audit(
                picture.pixels,
                faces,
                result,
                recogniser=anonymizer.recogniser,
                detector=anonymizer.detector,
                source=source,
                changed=changed,
                threshold=anonymizer.recipe.threshold,
            ),
            "encode": lambda: encode(result, suffix=".jpg"),
        }
        seconds = {f"12 MP, {n}": median_seconds(call, runs=runs) for n, call in stages.items()}
    return {**seconds, "12 MP, all but the model": sum(seconds.values())}


def table(seconds: dict[str, float]) -> str:
    """Markdown."""
    lines = [f"| {name} | {value:.3f} |" for name, value in seconds.items()]
    return "\n".join(["| what | seconds |", "|---|---|", *lines])


def main(
    recipe: Annotated[str, typer.Option(help="A preset's name or a recipe's file.")] = "mini",
    model: Annotated[str | None, typer.Option(help="Another model than the recipe's.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Of which the median is taken.")] = 5,
    beside: Annotated[
        str | None, typer.Option(help="Another recipe: the models alone, in strict alternation.")
    ] = None,
) -> None:
    """Seconds a face and seconds a stage, as a markdown table."""
    settings = Recipe.load(recipe).changed({"face_batch": BATCH})
    anonymizer = Anonymizer.from_recipe(settings.changed({"model": model or settings.model}))
    if beside is not None:
        other = Recipe.load(beside).changed({"face_batch": BATCH})
        second = Anonymizer.from_recipe(other)
        names = (model or recipe, beside)
        typer.echo(table(side_by_side(anonymizer, second, names=names, runs=runs)))
        return
    seconds = {**model_seconds(anonymizer, runs=runs), **stage_seconds(anonymizer, runs=runs)}
    typer.echo(table(seconds))
    typer.echo(
        f"\n{settings.steps} steps, strength {settings.strength:g}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, {platform.machine()}, median of {runs}"
    )


if __name__ == "__main__":
    typer.run(main)
