"""What a safetensors file holds, read from its header alone."""

from __future__ import annotations

import json
from pathlib import Path

from camouflage.errors import WeightsError

_MOST_BYTES = 100_000_000
"""The format's own limit for a header."""


def shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor by its name.

    Raises:
        WeightsError: it is no safetensors file, or is cut off within its header.
    """
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= _MOST_BYTES:
                raise ValueError(length)
            header = json.loads(file.read(length))
        return {k: tuple(v["shape"]) for k, v in header.items() if k != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path.name}: expected a safetensors file") from error
