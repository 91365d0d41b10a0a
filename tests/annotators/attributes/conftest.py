"""Small networks in the published layouts, with random weights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from .published import HEADS, LAYERS, SIDE, WIDTH, Facer, Farl, varied

SIZES = {"width": WIDTH, "layers": LAYERS, "heads": HEADS}


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """The same random weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def farl() -> Farl:
    return varied(Farl(**SIZES))


@pytest.fixture
def facer() -> Facer:
    return varied(Facer(**SIZES))


@pytest.fixture
def pixels() -> torch.Tensor:
    """(2, 3, SIDE, SIDE) in [0, 1]."""
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
