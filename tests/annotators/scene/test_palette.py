"""The colours of ADE20K, and the class of people."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from camouflage.annotators.scene import segmentation
from camouflage.annotators.scene.palette import ADE20K, PERSON
from camouflage.annotators.scene.people import person_mask

KNOWN = {  # of the public table: class, name, colour
    0: (120, 120, 120),  # wall
    1: (180, 120, 120),  # building
    2: (6, 230, 230),  # sky
    3: (80, 50, 50),  # floor
    4: (4, 200, 3),  # tree
    6: (140, 140, 140),  # road
    12: (150, 5, 61),  # person
    20: (0, 102, 200),  # car
    149: (92, 0, 255),  # flag
}


@pytest.mark.parametrize("index", KNOWN)
def test_known_colours(index):
    assert tuple(ADE20K[index].tolist()) == KNOWN[index]


def test_the_table_is_that_of_controlnet_aux():
    util = pytest.importorskip("controlnet_aux.util")
    np.testing.assert_array_equal(ADE20K, util.ade_palette())


def test_the_table_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        ADE20K[0] = 1


def test_people_are_class_12():
    assert PERSON == 12
    np.testing.assert_array_equal(
        person_mask(np.array([[12, 0], [13, 12]], np.uint8)), [[True, False], [False, True]]
    )


@pytest.mark.parametrize("room", [1, 2000, 1 << 25])
def test_classes_in_parts_are_classes_at_once(monkeypatch, room):
    monkeypatch.setattr(segmentation, "_ROOM", room)
    scores = torch.randn(150, 5, 7, generator=torch.Generator().manual_seed(0))
    scores[40] = scores[3]  # of equals the first wins
    full = F.interpolate(scores[None], (23, 31), mode="bilinear")[0].argmax(0)
    np.testing.assert_array_equal(segmentation.best_class(scores, (23, 31)), full)
