"""From pictures to the input of a network: sizes, batches, the constants of its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from camouflage.errors import SettingError, WeightsError

Picture = NDArray[np.uint8]
Result = TypeVar("Result")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

LONGEST = 4
"""A working size is at most this many times as long as its short side is asked to be, so that a
picture of 1 x 5000 px does not fill the memory. Our choice."""

_RESAMPLE = {0: "nearest", 1: "bicubic", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers, as configurations have them; torch has no Lanczos."""


def require_pictures(pictures: Sequence[Picture]) -> None:
    """Raise `SettingError` unless each is (H, W, 3) uint8 with at least one pixel."""
    for picture in pictures:
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise SettingError(
                f"expected pictures (H, W, 3) uint8, got {picture.shape} {picture.dtype}"
            )
        if 0 in picture.shape:
            raise SettingError(f"expected a picture with pixels, got {picture.shape}")


def by_size(
    pictures: Sequence[Picture], run: Callable[[list[Picture]], list[Result]]
) -> list[Result]:
    """``run`` called once a size with all pictures of it; the results in the order of pictures."""
    require_pictures(pictures)
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, picture in enumerate(pictures):
        groups.setdefault(picture.shape, []).append(index)
    found: dict[int, Result] = {}
    for indices in groups.values():
        found.update(zip(indices, run([pictures[i] for i in indices]), strict=True))
    return [found[index] for index in range(len(pictures))]


def working_size(size_hw: tuple[int, int], *, short_px: int, multiple: int) -> tuple[int, int]:
    """(H, W) with a short side of about ``short_px``, the same aspect, in multiples.

    Both sides are rounded to the nearest multiple, so that the aspect is kept to half of one; of
    pictures longer than :data:`LONGEST` to 1 the short side becomes smaller, down to one multiple.
    """
    scale = min(short_px / min(size_hw), LONGEST * short_px / max(size_hw))
    height, width = (max(round(side * scale / multiple), 1) * multiple for side in size_hw)
    return height, width


def resized(picture: Picture, size_hw: tuple[int, int]) -> Picture:
    """(H, W, 3) as controlnet_aux resizes: areas to shrink, Lanczos to enlarge the short side."""
    grows = min(size_hw) > min(picture.shape[:2])
    how = cv2.INTER_LANCZOS4 if grows else cv2.INTER_AREA
    return cv2.resize(picture, size_hw[::-1], interpolation=how)  # type: ignore[return-value]


def as_map(values: NDArray[np.uint8], size_hw: tuple[int, int]) -> Picture:
    """(H, W, 3) of a map (h, w) or (h, w, 3), linearly resized."""
    full = cv2.resize(values, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    return np.repeat(full[..., None], 3, axis=2) if full.ndim == 2 else full  # type: ignore[return-value]


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How pixels become a network's input: resized, times ``scale``, minus mean, by deviation.

    ``size_hw`` in pixels, ``resample`` as torch calls it, ``mean`` and ``std`` of the scaled values
    of R, G and B.
    """

    size_hw: tuple[int, int]
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    scale: float = 1 / 255
    resample: str = "bilinear"

    def __post_init__(self) -> None:
        if min(self.size_hw) < 1 or len(self.mean) != 3 or len(self.std) != 3 or 0 in self.std:
            raise SettingError("expected a size of pixels, three means and three deviations not 0")

    def __call__(
        self, pictures: Sequence[Picture], *, size_hw: tuple[int, int] | None = None
    ) -> Tensor:
        """(B, 3, H, W) float32 on the CPU of pictures of one size; ``size_hw`` instead of its own.

        Resized without aliasing and rounded to 8 bits, as transformers' processors do it.
        """
        batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        size_hw = size_hw or self.size_hw
        if batch.shape[2:] != size_hw:
            smooth = self.resample != "nearest"
            batch = F.interpolate(batch, size_hw, mode=self.resample, antialias=smooth)
        return self.normalised(batch)

    def normalised(self, batch: Tensor) -> Tensor:
        """(B, 3, H, W) float32 of a batch of pixels in 0 to 255, not resized."""
        mean, std = (torch.tensor(v)[None, :, None, None] for v in (self.mean, self.std))
        return (batch.float() * self.scale - mean) / std

    @staticmethod
    def from_folder(folder: Path, default: Preparation) -> Preparation:
        """What ``preprocessor_config.json`` says; ``default`` for all that it does not say.

        Raises:
            WeightsError: the file is not JSON, or its values cannot be used.
        """
        file = folder / "preprocessor_config.json"
        if not file.is_file():
            return default
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            normalises = stored.get("do_normalize", True)
            return Preparation(
                size_hw=_size_hw(stored.get("size", default.size_hw)),
                mean=tuple(stored.get("image_mean") or default.mean) if normalises else (0.0,) * 3,
                std=tuple(stored.get("image_std") or default.std) if normalises else (1.0,) * 3,
                scale=_scale(stored, default),
                resample=_RESAMPLE[stored["resample"]]
                if "resample" in stored
                else default.resample,
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise WeightsError(
                f"{folder.name}: {file.name} cannot be used ({type(error).__name__}); fetch these "
                "weights again"
            ) from error


def _scale(stored: dict[str, Any], default: Preparation) -> float:
    return (
        float(stored.get("rescale_factor", default.scale))
        if stored.get("do_rescale", True)
        else 1.0
    )


def _size_hw(size: Any) -> tuple[int, int]:
    if isinstance(size, dict):
        size = size.get("shortest_edge") or (size["height"], size["width"])
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)
