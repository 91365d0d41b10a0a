"""A stand-in for the anonymizer: quick, and it does what the picture's name says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camouflage.errors import AuditRefused, NobodyFound, NonFiniteResult
from camouflage.picture import Picture
from camouflage.recipe import Recipe


@dataclass(frozen=True)
class FakeFace:
    box_xyxy: tuple[int, int, int, int] = (1, 2, 3, 4)
    method: str = "redrawn"
    distances: tuple[float, ...] = (0.5, 0.7)


@dataclass(frozen=True)
class FakeResult:
    state: str
    pixels: np.ndarray
    faces: tuple[FakeFace, ...] = (FakeFace(),)
    seconds: dict[str, float] = field(default_factory=lambda: {"redraw": 0.1})

    @property
    def image(self) -> Image.Image:
        if self.state == "nobody":
            raise NobodyFound("nobody")
        if self.state == "refused":
            raise AuditRefused("refused")
        return Image.fromarray(self.pixels)


class FakeAnonymizer:
    """Inverts a picture; a name that starts with a state, "crash" or "nan" ends as that."""

    def __init__(self) -> None:
        self.recipe = Recipe.load("mini")
        self.calls: list[tuple[str, str]] = []

    def __call__(self, source: Picture, *, seed: str) -> FakeResult:
        self.calls.append((source.name, seed))
        if source.name.startswith("crash"):
            raise MemoryError(f"no memory for /secret/{source.name}")
        if source.name.startswith("nan"):
            raise NonFiniteResult("not finite")
        if source.name.startswith("stop"):
            raise KeyboardInterrupt
        for state in ("copied", "nobody", "refused"):
            if source.name.startswith(state):
                return FakeResult(state, source.pixels)
        shift = int(sum(seed.encode()) % 7)
        return FakeResult("passed", 255 - source.pixels - shift)


@pytest.fixture
def anonymizer() -> FakeAnonymizer:
    return FakeAnonymizer()


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Pictures that end in every state, in a tree."""
    folder = tmp_path / "album"
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(
        ("a.png", "deep/b.jpg", "copied.png", "nobody.png", "refused.png", "crash.png", "nan.png")
    ):
        Image.new("RGB", (16, 12), (number * 9, 20, 30)).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture either")
    return folder
