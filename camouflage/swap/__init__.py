"""A pool of synthetic faces, and swapping people's faces for them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "Built": "build",
    "EmbeddedFace": "pool_writer",
    "FacePool": "pool",
    "FaceShape": "shape",
    "PoolFace": "pool",
    "SwapSettings": "swap",
    "Swapped": "swap",
    "build_pool": "build",
    "save_pool": "pool_writer",
    "swap_face": "swap",
    "swap_faces": "swap",
    "write_pool": "pool_writer",
}

__all__ = [
    "Built",
    "EmbeddedFace",
    "FacePool",
    "FaceShape",
    "PoolFace",
    "SwapSettings",
    "Swapped",
    "build_pool",
    "save_pool",
    "swap_face",
    "swap_faces",
    "write_pool",
]

if TYPE_CHECKING:
    from camouflage.swap.build import Built, build_pool
    from camouflage.swap.pool import FacePool, PoolFace
    from camouflage.swap.pool_writer import EmbeddedFace, save_pool, write_pool
    from camouflage.swap.shape import FaceShape
    from camouflage.swap.swap import Swapped, SwapSettings, swap_face, swap_faces


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'camouflage.swap' has no attribute {name!r}")
    return getattr(importlib.import_module(f"camouflage.swap.{_HOME[name]}"), name)
