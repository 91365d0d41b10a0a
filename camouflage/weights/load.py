"""A model of diffusers or transformers from its folder, every weight its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from camouflage.errors import WeightsError

HARMLESS = ("position_ids", "text_projection.weight", "logit_scale")
"""Ends of names that published text encoders have, and that the network does not use."""


def load_model(kind: Any, folder: Path, *, dtype: Any, name: str = "") -> Any:
    """A model of the class ``kind`` from a local folder of safetensors, ready for inference.

    ``name`` is what it is called in messages; the folder's if not given.

    Raises:
        WeightsError: a file is damaged, or weights are missing, too many or of other shapes.
    """
    from safetensors import SafetensorError

    label = name or folder.name
    try:
        model, report = kind.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are named below
        )
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise WeightsError(
            f"{label}: weights and configuration of {kind.__name__} do not go together, or "
            f"a file is damaged ({type(error).__name__})"
        ) from error
    if problem := _problem(report):
        raise WeightsError(
            f"{label}: weights and configuration of {kind.__name__} do not go together: {problem}"
        )
    return model.eval()


def check_loaded(model: Any, label: str) -> None:
    """Raise `WeightsError` if weights of a network were left on torch's device ``meta``."""
    if left := [name for name, value in model.state_dict().items() if value.is_meta]:
        raise WeightsError(f"{label}: {_first(left, 'missing')}")


def _problem(report: Mapping[str, Any]) -> str:
    """What a report of diffusers or transformers says is wrong, empty if nothing is."""
    shapes = [
        f"{name} of shape {tuple(found)} in the place of {tuple(expected)}"
        for name, found, expected in report["mismatched_keys"]
    ]
    parts = [
        _first(_serious(report["missing_keys"]), "missing"),
        _first(shapes, "other shapes"),
        _first(_serious(report["unexpected_keys"]), "too many"),
    ]
    return "; ".join(part for part in parts if part)


def _serious(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.endswith(HARMLESS)]


def _first(names: Iterable[str], what: str) -> str:
    """``what``, the first three names and how many more there are; empty if there is none."""
    named = sorted(names)
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    return f"{what}: {', '.join(named[:3])}{more}" if named else ""
