"""What of the table is on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from camouflage.weights import hub
from camouflage.weights.check import check, missing_files
from camouflage.weights.entry import Entry
from camouflage.weights.table import entry_of

MODELS = "CAMOUFLAGE_MODELS"
"""Name of the variable with the folder of one's models: a folder NAME in it for each entry."""

Place = Literal["folder", "cache", "pickle", "missing"]
"""Where an entry is: a folder of one's own, the hub's cache, fetched but not converted, nowhere."""


def models_folder() -> Path:
    """The folder of one's models: of the variable :data:`MODELS`, else in the user's cache."""
    if given := os.environ.get(MODELS):
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "camouflage" / "models"


def where(name: str) -> Place:
    """Where an entry is. It is looked for, not checked."""
    entry = entry_of(name)
    if (models_folder() / name).is_dir():
        return "folder"
    folder = hub.cached(entry.repository, entry.patterns, revision=entry.revision)
    if folder is None or missing_files(entry, folder, published=True):
        return "missing"
    return "pickle" if entry.is_converted else "cache"


def local(entry: Entry) -> Path | None:
    """The checked folder of an entry that is on this machine, None if it is not.

    Raises:
        WeightsError: it is here, and damaged, incomplete or of another architecture.
    """
    folder = models_folder() / entry.name
    if folder.is_dir():
        fix = f"replace the folder {entry.name} among your models, or remove it and fetch anew"
        check(entry, folder, fix=fix)
        return folder
    if where(entry.name) != "cache":
        return None
    cached = hub.cached(entry.repository, entry.patterns, revision=entry.revision)
    if cached is None:
        return None
    check(entry, cached, fix=f"camouflage models fetch --again {entry.name}")
    return cached


def is_missing(entry: Entry) -> str:
    """What to say of an entry that is not here."""
    if file := entry.by_hand:
        return (
            f"{entry.name}: not here, and not on the hub; download {file.name} from "
            f"{file.address}, then camouflage models convert {entry.name} {file.name}"
        )
    return (
        f"{entry.name}: not here; camouflage models fetch {entry.name}, or put its files into a "
        f"folder {entry.name} in the folder that {MODELS} names"
    )
