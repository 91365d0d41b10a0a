"""Which pictures are near copies of each other, and which are held out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

HELD_OUT = 0.05
NEAR_BITS = 3
"""So many of the 64 bits of two fingerprints may differ in near copies; our choice."""


def fingerprint(pixels: NDArray[np.uint8]) -> int:
    """64 bits that a scaled or compressed copy mostly shares (a difference hash).

    Whether each of 8 x 9 grey means is brighter than its right neighbour.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits = (small[:, :-1] > small[:, 1:]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_copies(fingerprints: Iterable[int]) -> NDArray[np.int64]:
    """A group number for each picture; fingerprints within :data:`NEAR_BITS` share it.

    Two that differ in at most three bits agree in one of four sixteenths, so only those are
    compared that do.
    """
    values, owner = np.unique(np.array(list(fingerprints), dtype=np.uint64), return_inverse=True)
    pairs: list[NDArray[np.int64]] = [np.empty((0, 2), dtype=np.int64)]
    for part in range(4):
        buckets: dict[int, list[int]] = defaultdict(list)
        for index, band in enumerate((values >> np.uint64(16 * part)) & np.uint64(0xFFFF)):
            buckets[int(band)].append(index)
        for members in map(np.array, buckets.values()):
            for place, one in enumerate(members[:-1]):
                others = members[place + 1 :]
                near = others[bits_set(values[others] ^ values[one]) <= NEAR_BITS]
                pairs.append(np.column_stack([np.full(len(near), one), near]))
    a, b = np.concatenate(pairs).T
    graph = coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(len(values),) * 2)
    return connected_components(graph, directed=False)[1].astype(np.int64)[owner]


def bits_set(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    """How many bits of each are 1."""
    return np.unpackbits(values.view(np.uint8).reshape(len(values), 8), axis=1).sum(1, dtype=int)


def held_out(groups: NDArray[np.int64], seed: int, *, share: float = HELD_OUT) -> NDArray[np.bool_]:
    """True for the members of a random set of small groups that makes up about ``share`` of all."""
    sizes = np.bincount(groups)
    chosen = np.zeros(len(sizes), dtype=bool)
    count = 0
    for group in np.random.default_rng(seed).permutation(len(sizes)):
        if count >= share * len(groups):
            break
        chosen[group] = sizes[group] <= 5
        count += sizes[group] * chosen[group]
    return chosen[groups]
