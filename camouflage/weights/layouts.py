"""Published names of tensors into those of the classes that load them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

Layout = Literal["", "farl", "facer"]
"""Empty: the published names are those of the class that loads them."""


def arranged(
    layout: Layout, tensors: Mapping[str, Tensor]
) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    """The tensors under the names that load, and what ``config.json`` must say, empty if nothing.

    Raises `WeightsError` if they are not in that layout.
    """
    if not layout:
        return tensors, {}
    from camouflage.annotators.attributes import read_facer, read_farl

    return {"farl": read_farl, "facer": read_facer}[layout](tensors)
