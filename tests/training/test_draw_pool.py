"""Which crops a pool is drawn of."""

import numpy as np
import pytest

from camouflage.errors import SettingError
from training.draw_pool import named


def crops() -> list:
    return [(name, np.zeros((8, 8, 3), np.uint8)) for name in ("a-1", "b-2", "c-3")]


def test_those_that_are_named_are_taken_in_their_order(tmp_path):
    (tmp_path / "names.txt").write_text("c-3\na-1\n")
    assert [name for name, _ in named(crops(), tmp_path / "names.txt")] == ["a-1", "c-3"]


@pytest.mark.parametrize(("text", "message"), [("\n", "found none"), ("a-1\nz-9\n", "z-9")])
def test_names_of_nothing_are_refused(tmp_path, text, message):
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(SettingError, match=message):
        named(crops(), tmp_path / "names.txt")
