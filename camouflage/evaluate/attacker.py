"""The retrained attacker: a light head that has seen what a method does to people it knows.

A recogniser from the shelf may fail only because it never saw such faces. Here the attacker takes
its rows and learns to name people from the gallery's photographs *and* from anonymized pictures of
the same people; other anonymized pictures of them are then named (the "parrot" attack of McPherson
et al. 2016, arXiv 1609.00408, with a linear head).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from camouflage.errors import SettingError


def classifier(
    rows: NDArray[np.float64], people: Sequence[str], *, decay: float = 1e-2, steps: int = 60
) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """Multinomial logistic regression on standardised ``rows`` (N, D), all people weighing equally.

    ``decay`` of the squared weights and ``steps`` of L-BFGS are our choice. Returns the matrix
    (D + 1, K), whose last row is the bias, and the K names. It is deterministic.
    """
    names, target = np.unique(np.asarray(people), return_inverse=True)
    if rows.ndim != 2 or len(rows) != len(target) or not np.isfinite(rows).all():
        raise SettingError(f"expected finite rows, a name each, got {rows.shape}")
    mean, std = rows.mean(0), rows.std(0) + 1e-6
    x = torch.from_numpy((rows - mean) / std)
    y = torch.from_numpy(target)
    share = 1 / torch.bincount(y).double()[y] / len(names)
    weight = torch.zeros((rows.shape[1] + 1, len(names)), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=steps, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        losses = F.cross_entropy(x @ weight[:-1] + weight[-1], y, reduction="none")
        value = (share * losses).sum() + decay * weight[:-1].square().sum() / len(names)
        value.backward()
        return value

    optimizer.step(loss)
    learned = weight.detach().numpy()
    matrix = learned[:-1] / std[:, None]
    return np.vstack([matrix, learned[-1] - mean @ matrix]), names


def retrained_hits(
    results: NDArray[np.float64],
    people: Sequence[str],
    source: NDArray[np.int64],
    gallery: NDArray[np.float64],
    gallery_people: Sequence[str],
) -> NDArray[np.float64]:
    """(M,) 1 if the attacker names a result rightly, 0 if not, NaN where it could not be tried.

    Two rounds: the results of a person are dealt into two hands in turn; one hand is learned
    together with all originals but those that the other hand was made from, and the other is named.
    A person with one result cannot be tried.
    """
    names = np.asarray(people)
    known = np.isfinite(results).all(1)
    hand = np.zeros(len(names), dtype=int)
    for name in np.unique(names):
        rows = np.flatnonzero((names == name) & known)
        hand[rows] = np.arange(len(rows)) % 2
    hits = np.full(len(names), np.nan)
    for tested in (0, 1):
        test = known & (hand == tested)
        learn = known & (hand != tested)
        kept = np.setdiff1d(np.arange(len(gallery)), source[test])
        kept = kept[np.isfinite(gallery[kept]).all(1)]
        possible = test & np.isin(names, names[learn])
        if not possible.any():
            continue
        rows = np.concatenate([gallery[kept], results[learn]])
        labels = [*np.asarray(gallery_people)[kept], *names[learn]]
        weight, known_people = classifier(rows, labels)
        named = known_people[(results[possible] @ weight[:-1] + weight[-1]).argmax(1)]
        hits[possible] = named == names[possible]
    return hits
