"""Small networks in folders of the hub's layout, and a photograph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from camouflage.annotators.scene import SceneAnnotators

from ...small_models import write_annotators, write_blip2

DETECT_PX = 64  # a working size that takes milliseconds


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only: the folders of all annotators by the names of the table."""
    made = tmp_path_factory.mktemp("annotators")
    write_annotators(made)
    write_blip2(made / "captioner-blip2")
    return made


@pytest.fixture(scope="session")
def scene(folder: Path) -> SceneAnnotators:
    return SceneAnnotators(folder.joinpath, detect_px=DETECT_PX)


@pytest.fixture(scope="session")
def photo() -> Callable[..., np.ndarray]:
    """A part of a public-domain photograph (NASA) as (height, width, 3); ``shift`` in pixels."""
    whole = data.astronaut()

    def make(height: int, width: int, shift: int = 0) -> np.ndarray:
        part = np.ascontiguousarray(whole[shift : shift + 400, shift : shift + 400])
        return cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)

    return make
