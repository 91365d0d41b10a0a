"""Captions of pictures, from a table."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

COLUMNS = ("file_name", "caption")


def read_captions(table: Path, names: Sequence[str]) -> tuple[dict[str, str], str]:
    """The captions of those of ``names`` that ``table`` has, and the table's sha256.

    ``file_name`` is a picture's name, SOURCE/PATH; the path below the source will do where all
    pictures are of one source.

    Raises:
        ValueError: the columns are missing, no row is of a picture, or two are of one.
    """
    content = table.read_bytes()
    reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    if missing := set(COLUMNS) - set(reader.fieldnames or ()):
        raise ValueError(f"{table.name}: expected the columns {COLUMNS}, missing {sorted(missing)}")
    pictures = {name: name for name in names}
    if len({name.partition("/")[0] for name in names}) == 1:
        pictures |= {name.partition("/")[2]: name for name in names}
    found: dict[str, str] = {}
    for row in reader:
        name = pictures.get(row["file_name"])
        if name in found:
            raise ValueError(f"{table.name}: two captions of {name}")
        if name is not None:
            found[name] = " ".join((row["caption"] or "").split())
    if not found:
        raise ValueError(f"{table.name}: no row is of a picture; expected file names as {names[0]}")
    return found, hashlib.sha256(content).hexdigest()
