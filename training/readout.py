"""Fit what reads sex, age and looks out of the recogniser's embedding, and count it.

    python -m training.readout runs/crops --output camouflage/mini/readout

Labels are those of `training.label_attributes`: ``Male`` as it is, and from ``Young`` the age that
it was made of, which it bounds. Whether somebody is a child, how dark a skin is, 1 light, 2, 3
dark, whether a face looks East Asian and whether it has a beard or a moustache was judged by eye
for a part of the training crops (`JUDGED`). Six ridge regressions, logistic but for age and skin;
faces that are held out are counted, not learned from, and what was judged by eye, of which none is
held out, is counted by folds. All numbers are our choice.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.progress import track
from torch.nn import functional as F

from camouflage.annotators.attributes import CELEBA_ATTRIBUTES
from camouflage.annotators.landmarks import five_points
from camouflage.annotators.readout import WIDTH, Readout
from camouflage.audit.recogniser import Recogniser
from camouflage.errors import SettingError
from camouflage.subjects.faces import Face
from camouflage.weights import write_sums
from training.data import read_attributes, read_labels
from training.label_attributes import YOUNG_AGE, YOUNG_YEARS
from training.prepare import read_shards

RIDGE = 1.0
"""On the weights: of the ages in years, and, as a mean over faces, of the logit of male."""
SURE = 0.001
"""Nearer to 0 or 1 a label of Young does not say which age it is of."""

JUDGED = Path(__file__).parent / "judged.csv"
"""``key`` and `LOOKS` of crops of the synthetic faces, empty where the eye was not sure. How dark a
skin looks in a picture depends on the light, which an eye discounts: the lightness of cheeks gives
a line of no use."""
LOOKS = {"child": 0.0, "skin": 2.0, "east_asian": 0.0, "beard": 0.0}
"""What was judged, and what its line says in the middle of it."""
SKIN_RIDGE, LOOK_RIDGE = 0.3, 0.03
"""Of how dark a skin is, and of the logits of what else was judged, by how well they do on the
folds."""
FOLDS = 5


def ages_of(young: NDArray[np.float64]) -> NDArray[np.float64]:
    """In years, bounded: what `training.label_attributes` made the labels of."""
    p = np.clip(young, SURE, 1 - SURE)
    return YOUNG_AGE - YOUNG_YEARS * np.log(p / (1 - p))


def fitted(
    rows: NDArray[np.float64],
    male: NDArray[np.float64],
    ages: NDArray[np.float64],
    judged: NDArray[np.float64],
) -> Readout:
    """Of embeddings (N, 128), the probabilities of male (N,), the ages (N,) in years and what was
    ``judged`` (N, 4), `LOOKS`, NaN where nobody knows.
    """
    known = [(one, np.isfinite(one)) for one in judged.T]
    lines = np.stack(
        [
            logistic(rows, male, ridge=RIDGE),
            linear(rows, ages, ridge=RIDGE),
            *(line(rows[ok], one[ok]) for line, (one, ok) in zip(LINES, known, strict=True)),
        ]
    ).astype(np.float32)
    return Readout(weights=lines[:, :-1], bias=lines[:, -1])


def linear(
    rows: NDArray[np.float64], values: NDArray[np.float64], *, ridge: float
) -> NDArray[np.float64]:
    """(129,), the line of ``rows`` (N, 128), and its bias, that is nearest to ``values`` (N,)."""
    middle, mean = rows.mean(0), values.mean()
    centred = rows - middle
    slope = np.linalg.solve(
        centred.T @ centred + ridge * np.eye(WIDTH), centred.T @ (values - mean)
    )
    return np.append(slope, mean - slope @ middle)


def by_folds(
    rows: NDArray[np.float64], values: NDArray[np.float64], line: Line
) -> NDArray[np.float64]:
    """(N,): the ``line`` of each of the rows (N, 128), fitted to those of the other folds."""
    folds = np.random.default_rng(0).permutation(len(rows)) % FOLDS
    said = np.zeros(len(rows))
    for fold in range(FOLDS):
        out = folds == fold
        fit = line(rows[~out], values[~out])
        said[out] = rows[out] @ fit[:-1] + fit[-1]
    return said


def logistic(
    rows: NDArray[np.float64], share: NDArray[np.float64], *, ridge: float
) -> NDArray[np.float64]:
    """(129,), the line, and its bias, whose logistic of ``rows`` (N, 128) is nearest to ``share``
    (N,), in [0, 1].
    """
    x, y = torch.from_numpy(rows), torch.from_numpy(share)
    line = torch.zeros(WIDTH + 1, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([line], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        solver.zero_grad()
        fit = F.binary_cross_entropy_with_logits(x @ line[:-1] + line[-1], y)
        value = fit + ridge / len(x) * line[:-1].square().sum() / 2
        value.backward()
        return value

    solver.step(loss)  # pyright: ignore
    return line.detach().numpy()


Line = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
_look = functools.partial(logistic, ridge=LOOK_RIDGE)
LINES: tuple[Line, ...] = (_look, functools.partial(linear, ridge=SKIN_RIDGE), _look, _look)
"""How each of `LOOKS` is fitted."""


def embedded(folder: Path, split: str) -> tuple[NDArray[np.float64], ...]:
    """Embeddings (N, 128), probability of male (N,), age (N,) and what was judged (N, 4), NaN where
    nobody knows, of the crops of a split.

    Raises `SettingError` if crops were judged by eye that are not there.
    """
    points = read_labels(folder / "landmarks.npz")
    labels = read_attributes(folder / "attributes.npz")
    recogniser, by_eye = Recogniser(), read_judged()
    rows, known, judged = [], [], []
    for key, crop in track(list(read_shards(folder, split)), description=split):
        if key not in labels:
            continue
        whole = (0, 0, crop.shape[1], crop.shape[0])
        face = Face(box_xyxy=whole, points_xy=five_points(points[key]), score=1.0)
        rows.append(recogniser.embed(crop, [face]).rows[0])
        known.append([labels[key][CELEBA_ATTRIBUTES.index(name)] for name in ("Male", "Young")])
        judged.append(by_eye.pop(key, (np.nan,) * len(LOOKS)))
    if split == "train" and by_eye:
        raise SettingError(
            f"{JUDGED.name}: {len(by_eye)} keys are of no training crop with labels, "
            f"{next(iter(by_eye))} among them: judge other crops, or take them out"
        )
    male, young = np.array(known, np.float64).T
    return np.stack(rows), male, ages_of(young), np.array(judged)


def read_judged() -> dict[str, tuple[float, ...]]:
    """What `JUDGED` says, `LOOKS` by key; NaN where it says nothing."""
    with JUDGED.open(newline="") as file:
        return {
            row["key"]: tuple(float(row[name] or "nan") for name in LOOKS)
            for row in csv.DictReader(file)
        }


def main(
    folder: Annotated[Path, typer.Argument(help="crops with landmarks.npz and attributes.npz")],
    output: Annotated[Path, typer.Option(help="the folder to write")],
) -> None:
    """Fit on the training crops, count on those held out, write the weights."""
    learned = embedded(folder, "train")
    readout = fitted(*learned)
    rows, male, ages, _ = embedded(folder, "heldout")
    said, years, *_ = readout(rows)
    agree = ((said > 0.5) == (male > 0.5)).mean()
    sure = np.abs(male - 0.5) > 0.45
    agree_sure = ((said > 0.5) == (male > 0.5))[sure].mean()
    off, guess = np.abs(years - ages).mean(), np.abs(np.median(ages) - ages).mean()
    readout.save(output)
    write_sums(output)
    typer.echo(
        f"{len(rows)} faces held out: sex agrees with the label in {agree:.3f}, in {agree_sure:.3f}"
        f" of the {sure.sum()} whose label is sure; age {off:.1f} years off (their median: "
        f"{guess:.1f})"
    )
    for (name, middle), eye, line in zip(LOOKS.items(), learned[-1].T, LINES, strict=True):
        typer.echo(f"{name}, by folds: {agreement(learned[0], eye, line, middle)}")


def agreement(
    rows: NDArray[np.float64], eye: NDArray[np.float64], line: Line, middle: float
) -> str:
    """How well `by_folds` of ``rows`` (N, 128) agrees with the ``eye`` (N,), NaN left out."""
    known = np.isfinite(eye)
    eye, said = eye[known], by_folds(rows[known], eye[known], line)
    high, low = eye == eye.max(), eye == eye.min()
    return (
        f"correlation {np.corrcoef(said, eye)[0, 1]:.2f} over {len(eye)} faces; "
        f"{(said > middle)[high].mean():.3f} of the {high.sum()} highest and "
        f"{(said > middle)[low].mean():.3f} of the {low.sum()} lowest are above the middle"
    )


if __name__ == "__main__":
    typer.run(main)
