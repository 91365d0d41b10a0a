"""Parts of a run, and the steps that lie in them."""

import pytest

from camouflage.windows import holds_a_step, lies_within, steps_run


@pytest.mark.parametrize(
    ("steps", "strength", "expected"),
    [(100, 0.29, 29), (16, 1.0, 16), (16, 0.05, 0), (30, 0.55, 16)],
)
def test_as_many_steps_are_run(steps, strength, expected):
    assert steps_run(steps, strength) == expected


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 1, [0, 1, 2, 3]), (0, 0.5, [0, 1]), (0.3, 0.8, [2]), (0.3, 0.7, []), (0, 0.2, [])],
)
def test_the_steps_wholly_inside(start, end, expected):
    assert [step for step in range(4) if lies_within(step, 4, start, end)] == expected
    assert holds_a_step(4, start, end) is bool(expected)
