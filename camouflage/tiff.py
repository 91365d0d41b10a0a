"""Decode TIFFs of which every pixel is in the file.

Where strips are damaged libtiff leaves what was in memory before: perhaps of another picture.
"""

from __future__ import annotations

import ctypes
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from camouflage.errors import PictureError

FILLS = 0x5A, 0x25
ROWS = 256
"""Compared at once."""

_M_PERTURB = -6  # glibc's malloc.h
_LOCK = threading.Lock()  # the fill is the whole process's


def load_certain(data: bytes, *, name: str) -> Image.Image:
    """The first frame, decoded twice, with other bytes in fresh memory each time where the C
    library can do that (glibc).

    Raises `PictureError` if it does not come out the same, and what Pillow raises on its own.
    """
    with _LOCK:
        one, other = (_loaded(data, fill) for fill in FILLS)
    for top in range(0, one.height, ROWS):
        box = (0, top, one.width, min(top + ROWS, one.height))
        if one.crop(box).tobytes() != other.crop(box).tobytes():
            raise PictureError(f"{name}: damaged: not all of its pixels are in the file")
    return one


def _loaded(data: bytes, fill: int) -> Image.Image:
    with _fresh_memory_filled(fill):
        image = Image.open(io.BytesIO(data), formats=["TIFF"])
        image.load()
    return image


@contextmanager
def _fresh_memory_filled(value: int) -> Iterator[None]:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        yield
        return
    mallopt(_M_PERTURB, value)
    try:
        yield
    finally:
        before = os.environ.get("MALLOC_PERTURB_", "")
        mallopt(_M_PERTURB, int(before) if before.isdecimal() else 0)
