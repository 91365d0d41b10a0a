"""Folders through `run_folder` with an anonymizer that only turns colours round, so it is quick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camouflage.batch import Manifest, Outcome, find_jobs, run_folder
from camouflage.picture import Picture
from camouflage.recipe import Recipe


@dataclass(frozen=True)
class TurnedResult:
    image: Image.Image
    state: str = "passed"
    faces: tuple[object, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)


class Turner:
    """Every value moves by 128 of 256: no lossy format can bring the original back."""

    def __init__(self) -> None:
        self.recipe = Recipe.load("mini")

    def __call__(self, source: Picture, *, seed: str) -> TurnedResult:
        return TurnedResult(Image.fromarray(source.pixels ^ np.uint8(128)))


@pytest.fixture
def turn_folder() -> Callable[..., dict[str, Outcome]]:
    """Do a folder; return what became of each input by its name."""

    def do(
        folder: Path, output: Path, *, max_megapixels: float = 100.0, **options
    ) -> dict[str, Outcome]:
        turner = Turner()
        turner.recipe = turner.recipe.changed({"max_megapixels": max_megapixels})
        jobs = find_jobs([folder], output=output).jobs
        with Manifest.open(output / "manifest.jsonl", key="7") as manifest:
            done = run_folder(
                turner, jobs, output=output, manifest=manifest, weights="w", **options
            )
            return {outcome.job.relative: outcome for outcome in done}

    return do
