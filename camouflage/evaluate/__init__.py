"""How well are people hidden, and what is kept: metrics and protocols for any tool's results."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "Attack": "reidentify",
    "ControlFailed": "reidentify",
    "Evaluation": "evaluation",
    "Interval": "statistics",
    "Settings": "evaluation",
    "bootstrap": "statistics",
    "evaluate": "evaluation",
}

__all__ = [
    "Attack",
    "ControlFailed",
    "Evaluation",
    "Interval",
    "Settings",
    "bootstrap",
    "evaluate",
]

if TYPE_CHECKING:
    from camouflage.evaluate.evaluation import Evaluation, Settings, evaluate
    from camouflage.evaluate.reidentify import Attack, ControlFailed
    from camouflage.evaluate.statistics import Interval, bootstrap


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'camouflage.evaluate' has no attribute {name!r}")
    return getattr(importlib.import_module(f"camouflage.evaluate.{_HOME[name]}"), name)
