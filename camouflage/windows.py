"""Which steps of a run lie in a part of it. No torch, so that a recipe can be checked by it too."""

from __future__ import annotations

import math


def steps_run(steps: int, strength: float) -> int:
    """How many of ``steps`` of the whole way are run at ``strength`` in (0, 1]."""
    return math.floor(steps * strength + 1e-9)  # 100 * 0.29 is 28.999999999999996


def lies_within(step: int, steps: int, start: float, end: float) -> bool:
    """Whether ``step``, from 0, of ``steps`` lies wholly between the fractions start and end."""
    return step / steps >= start and (step + 1) / steps <= end


def holds_a_step(steps: int, start: float, end: float) -> bool:
    """Whether any of ``steps`` lies wholly between the fractions start and end."""
    return any(lies_within(step, steps, start, end) for step in range(steps))
