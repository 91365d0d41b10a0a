"""Fit what reads sex and age out of the recogniser's embedding, and say how well it does.

    python -m training.sex_and_age runs/crops --output camouflage/mini/sex_and_age

Labels are those of `training.label_attributes`: ``Male`` as it is, and from ``Young`` the age that
it was made of, which it bounds: whose age is at the lower bound is a child. Three ridge
regressions, but for the age logistic; faces that are held out are counted, not learned from. All
numbers are our choice.
"""

from __future__ import annotations

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
from camouflage.annotators.sex_and_age import WIDTH, SexAndAge
from camouflage.audit.recogniser import Recogniser
from camouflage.subjects.faces import Face
from camouflage.weights import write_sums
from training.data import read_attributes, read_labels
from training.label_attributes import YOUNG_AGE, YOUNG_YEARS
from training.prepare import read_shards

RIDGE = 1.0
"""On the weights: of the ages in years, and, as a mean over faces, of the logit of male."""
CHILD_RIDGE = 0.03
"""Of the logit of a child: few faces are children's, and who is one shall be told surely."""
SURE = 0.001
"""Nearer to 0 or 1 a label of Young does not say which age it is of."""

CHILD = 13.0
"""In years; below it no label tells ages apart."""


def ages_of(young: NDArray[np.float64]) -> NDArray[np.float64]:
    """In years, bounded: what `training.label_attributes` made the labels of."""
    p = np.clip(young, SURE, 1 - SURE)
    return YOUNG_AGE - YOUNG_YEARS * np.log(p / (1 - p))


def fitted(
    rows: NDArray[np.float64], male: NDArray[np.float64], ages: NDArray[np.float64]
) -> SexAndAge:
    """Of embeddings (N, 128), the probabilities of male (N,) and the ages (N,) in years."""
    middle, mean = rows.mean(0), ages.mean()
    centred = rows - middle
    slope = np.linalg.solve(centred.T @ centred + RIDGE * np.eye(WIDTH), centred.T @ (ages - mean))
    sex = logistic(rows, male, ridge=RIDGE)
    child = logistic(rows, (ages < CHILD).astype(np.float64), ridge=CHILD_RIDGE)
    return SexAndAge(
        weights=np.stack([sex[:-1], slope, child[:-1]]).astype(np.float32),
        bias=np.array([sex[-1], mean - slope @ middle, child[-1]], np.float32),
    )


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


def embedded(folder: Path, split: str) -> tuple[NDArray[np.float64], ...]:
    """Embeddings (N, 128), probability of male (N,) and age (N,) of the crops of a split."""
    points = read_labels(folder / "landmarks.npz")
    labels = read_attributes(folder / "attributes.npz")
    recogniser = Recogniser()
    rows, known = [], []
    for key, crop in track(list(read_shards(folder, split)), description=split):
        if key not in labels:
            continue
        whole = (0, 0, crop.shape[1], crop.shape[0])
        face = Face(box_xyxy=whole, points_xy=five_points(points[key]), score=1.0)
        rows.append(recogniser.embed(crop, [face]).rows[0])
        known.append([labels[key][CELEBA_ATTRIBUTES.index(name)] for name in ("Male", "Young")])
    male, young = np.array(known, np.float64).T
    return np.stack(rows), male, ages_of(young)


def main(
    folder: Annotated[Path, typer.Argument(help="crops with landmarks.npz and attributes.npz")],
    output: Annotated[Path, typer.Option(help="the folder to write")],
) -> None:
    """Fit on the training crops, count on those held out, write the weights."""
    readout = fitted(*embedded(folder, "train"))
    rows, male, ages = embedded(folder, "heldout")
    said, years, child = readout(rows)
    agree = ((said > 0.5) == (male > 0.5)).mean()
    sure = np.abs(male - 0.5) > 0.45
    agree_sure = ((said > 0.5) == (male > 0.5))[sure].mean()
    young = ages < CHILD
    found, taken = (child[young] > 0.5).mean(), (child[~young] > 0.5).mean()
    off, guess = np.abs(years - ages).mean(), np.abs(np.median(ages) - ages).mean()
    readout.save(output)
    write_sums(output)
    typer.echo(
        f"{len(rows)} faces held out: sex agrees with the label in {agree:.3f}, in {agree_sure:.3f}"
        f" of the {sure.sum()} whose label is sure; age {off:.1f} years off (their median: "
        f"{guess:.1f}); {found:.3f} of {young.sum()} children are found, {taken:.3f} of the others "
        "are taken for children"
    )


if __name__ == "__main__":
    typer.run(main)
