"""What is evaluated: a tool's folder of results, or a baseline that is computed on the spot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage import obfuscate
from camouflage.annotators.lineart import soft_edge
from camouflage.errors import CamouflageError, SettingError
from camouflage.evaluate.dataset import Photo, find_results
from camouflage.evaluate.originals import Original
from camouflage.picture import Picture
from camouflage.subjects.crops import align
from camouflage.subjects.faces import Face

Pixels = NDArray[np.uint8]
BASELINES = (
    "clean", "blur 0.05", "blur 0.15", "layered", "pixelate 16", "pixelate 8", "solid",
    "mean face", "random face",
)  # fmt: skip
"""Their names, which no method may have."""
MARGIN = 0.1
"""By which the baselines grow the detector's boxes. Our choice."""


class NoResult(Exception):
    """There is no picture to look at; its text is the state: missing or unreadable."""


class Method(Protocol):
    """``result`` gives the pixels (H, W, 3) for an original, or raises `NoResult`."""

    @property
    def name(self) -> str: ...

    @property
    def baseline(self) -> bool: ...

    def result(self, original: Original, pixels: Pixels) -> Pixels: ...


@dataclass(frozen=True, kw_only=True)
class FolderMethod:
    """A tool's results: a file for each original, found by `find_results`."""

    name: str
    folder: Path
    files: dict[str, Path]
    baseline: bool = False

    @classmethod
    def load(cls, name: str, folder: Path, photos: Sequence[Photo]) -> FolderMethod:
        """Raises `SettingError` if the folder is missing or has no result of any photograph."""
        files = find_results(folder, photos)
        if not files:
            raise SettingError(f"{folder.name}: has no result of any of the photographs")
        return cls(name=name, folder=folder, files=files)

    def result(self, original: Original, pixels: Pixels) -> Pixels:
        path = self.files.get(original.photo.name)
        if path is None:
            raise NoResult("missing")
        try:
            return Picture.open(path).pixels
        except (CamouflageError, OSError) as error:
            raise NoResult("unreadable") from error


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A change of the faces' boxes; nothing where no face is found, as such tools do."""

    name: str
    change: Callable[[Pixels, Original], Pixels]
    baseline: bool = True

    def result(self, original: Original, pixels: Pixels) -> Pixels:
        return self.change(pixels, original)


def baselines(faces: Sequence[Pixels], mean_face: Pixels) -> list[Baseline]:
    """Everybody's obfuscations and two faces for all; the strengths are our choice.

    ``faces``: synthetic faces in crops as `camouflage.subjects.crops.align` cuts them, (S, S, 3),
    one drawn for each original by its hash; ``mean_face``: one such crop for everybody.
    """

    def on_boxes(change: Callable[[Pixels, list[obfuscate.Box]], Pixels]) -> Callable:
        def changed(pixels: Pixels, original: Original) -> Pixels:
            boxes = [
                obfuscate.grown(f.box_xyxy, margin=MARGIN, size_hw=original.size_hw)
                for f in original.seen.faces
            ]
            return change(pixels, boxes)

        return changed

    def random_face(pixels: Pixels, original: Original) -> Pixels:
        drawn = np.random.default_rng(int(original.sha256[:16], 16))
        for face in original.seen.faces:
            pixels = _pasted(pixels, face, faces[int(drawn.integers(len(faces)))])
        return pixels

    def one_face(pixels: Pixels, original: Original) -> Pixels:
        for face in original.seen.faces:
            pixels = _pasted(pixels, face, mean_face)
        return pixels

    changes = (
        lambda pixels, original: pixels,
        on_boxes(lambda p, b: obfuscate.blur(p, b, sigma=0.05)),
        on_boxes(lambda p, b: obfuscate.blur(p, b, sigma=0.15)),
        on_boxes(layered),
        on_boxes(lambda p, b: obfuscate.pixelate(p, b, blocks=16)),
        on_boxes(lambda p, b: obfuscate.pixelate(p, b, blocks=8)),
        on_boxes(lambda p, b: obfuscate.solid(p, b)),
        one_face,
        random_face,
    )
    return [Baseline(name=n, change=c) for n, c in zip(BASELINES, changes, strict=True)]


def layered(pixels: Pixels, boxes_xyxy: Sequence[obfuscate.Box]) -> Pixels:
    """Blur, then 16 blocks smoothly enlarged, then noise of 12 grey levels; our strengths."""
    result = obfuscate.blur(pixels, boxes_xyxy, sigma=0.05)
    for x0, y0, x1, y1 in boxes_xyxy:
        height, width = y1 - y0, x1 - x0
        if height < 1 or width < 1:
            continue
        size_wh = min(16, width), min(16, height)
        small = cv2.resize(result[y0:y1, x0:x1], size_wh, interpolation=cv2.INTER_AREA)
        smooth = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        noise = np.random.default_rng(x0 * 7919 + y0).normal(0, 12, smooth.shape)
        result[y0:y1, x0:x1] = np.clip(np.round(smooth + noise), 0, 255).astype(np.uint8)
    return result


def mean_crop(originals: Sequence[Original], *, side: int = 128) -> Pixels:
    """(side, side, 3): the mean of the aligned main faces."""
    total, count = np.zeros((side, side, 3)), 0
    for original in originals:
        if original.seen.main is not None:
            pixels = Picture.open(original.photo.path).pixels
            total += align(original.seen.main.points_xy, side=side).cut(pixels)
            count += 1
    if not count:
        raise SettingError("no original shows a face")
    return np.round(total / count).astype(np.uint8)


def _pasted(pixels: Pixels, face: Face, crop_pixels: Pixels) -> Pixels:
    """The inner ellipse of an aligned crop laid over a face, softly."""
    side = crop_pixels.shape[0]
    crop = align(face.points_xy, side=side)
    region = np.zeros((side, side), np.uint8)
    middle, axes = (side // 2, round(0.56 * side)), (round(0.27 * side), round(0.36 * side))
    cv2.ellipse(region, middle, axes, 0, 0, 360, (1,), -1)
    opacity = soft_edge(region.astype(bool), 0.03 * side)
    size_wh = pixels.shape[1], pixels.shape[0]
    colour = cv2.warpAffine(crop_pixels, crop.inverse, size_wh, flags=cv2.INTER_LINEAR)
    weight = cv2.warpAffine(opacity, crop.inverse, size_wh, flags=cv2.INTER_LINEAR)[..., None]
    return np.round(colour * weight + pixels * (1 - weight)).astype(np.uint8)
