"""Sizes and constants."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from camouflage.annotators.scene.prepare import LONGEST, Preparation, by_size, working_size
from camouflage.errors import SettingError

DEFAULT = Preparation(size_hw=(10, 12))
SIDES = st.integers(1, 20_000)


@given(SIDES, SIDES, st.sampled_from([64, 384, 512]), st.sampled_from([32, 64]))
def test_a_working_size_is_in_multiples_and_bounded(height, width, short_px, multiple):
    made = working_size((height, width), short_px=short_px, multiple=multiple)
    assert all(side >= multiple and side % multiple == 0 for side in made)
    assert max(made) <= LONGEST * short_px
    assert min(made) <= short_px


@given(st.integers(500, 9000), st.integers(500, 9000))
def test_a_working_size_keeps_the_aspect_to_half_a_multiple(height, width):
    made = np.array(working_size((height, width), short_px=512, multiple=64))
    scale = min(512 / min(height, width), LONGEST * 512 / max(height, width))
    assert (np.abs(made - np.array([height, width]) * scale) <= 32 + 1e-6).all()


def test_by_size_keeps_the_order_and_groups():
    sizes = [(2, 3), (4, 5), (2, 3), (1, 1), (4, 5)]
    pictures = [np.full((*size, 3), i, np.uint8) for i, size in enumerate(sizes)]
    batches = []

    def run(batch):
        batches.append(len(batch))
        return [int(picture[0, 0, 0]) for picture in batch]

    assert by_size(pictures, run) == [0, 1, 2, 3, 4]
    assert sorted(batches) == [1, 2, 2]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ({}, DEFAULT),
        ({"size": 7}, Preparation(size_hw=(7, 7))),
        ({"size": {"height": 3, "width": 4}}, Preparation(size_hw=(3, 4))),
        ({"size": {"shortest_edge": 9}}, Preparation(size_hw=(9, 9))),
        ({"resample": 3}, Preparation(size_hw=(10, 12), resample="bicubic")),
        ({"do_rescale": False}, Preparation(size_hw=(10, 12), scale=1.0)),
        (
            {"do_normalize": False, "image_mean": [1, 1, 1]},
            Preparation(size_hw=(10, 12), mean=(0, 0, 0), std=(1, 1, 1)),
        ),
        (
            {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3]},
            Preparation(size_hw=(10, 12), mean=(0.1, 0.2, 0.3), std=(1, 2, 3)),
        ),
    ],
    ids=str,
)
def test_constants_are_those_of_the_folder(tmp_path, stored, expected):
    assert Preparation.from_folder(tmp_path, DEFAULT) == DEFAULT  # without a file
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stored))
    assert Preparation.from_folder(tmp_path, DEFAULT) == expected


def test_pixels_are_scaled_then_normalised():
    prepared = Preparation(size_hw=(1, 1), mean=(0.5, 0.25, 0), std=(0.5, 1, 2))
    made = prepared([np.full((1, 1, 3), 255, np.uint8)])
    torch.testing.assert_close(made.flatten(), torch.tensor([1, 0.75, 0.5]))


def test_a_preparation_must_make_sense():
    with pytest.raises(SettingError):
        Preparation(size_hw=(0, 1))
    with pytest.raises(SettingError):
        Preparation(size_hw=(1, 1), std=(1, 0, 1))
