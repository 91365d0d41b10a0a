"""The table of weights that are published by others, and the groups that a preset needs.

Hashes and commits are those that we found published, each in at least one place: by
finegrain-ai/refiners (ControlNets, autoencoder), the AI Horde (annotators) and other projects that
pin them. None says that we found none: such a file is fetched, not checked, and the list says so.
Nothing of it could be downloaded where this table was written.
"""

from __future__ import annotations

from collections.abc import Iterable

from camouflage.errors import SettingError
from camouflage.weights.annotators import ANNOTATORS
from camouflage.weights.denoisers import DENOISERS
from camouflage.weights.entry import Entry
from camouflage.weights.light import LIGHT

TABLE = {entry.name: entry for entry in (*DENOISERS, *ANNOTATORS, *LIGHT)}
"""Every entry by its name."""

CONTROLS = ("depth", "normals", "segmentation", "pose", "lineart")
"""The controls of ``sd15``, in its order; each has a ``controlnet-NAME``."""

_CONTROLNETS = tuple(f"controlnet-{control}" for control in CONTROLS)

GROUPS = {
    "sd15": ("realistic-vision-5.1", "sd-vae-ft-mse", *_CONTROLNETS),
    "sd15-light": ("realistic-vision-5.1", "sd-vae-ft-mse", "farl", "attributes-facer"),
    "annotators": (
        "annotator-depth",
        "annotator-normals",
        "annotator-segmentation",
        "annotator-pose",
        "detector-person",
        "annotator-lineart",
    ),
    "controlnets": _CONTROLNETS,
    "captioner": ("captioner-blip",),
}
GROUPS["scene"] = (*GROUPS["sd15"], *GROUPS["annotators"], *GROUPS["captioner"])
"""Names of several entries: ``sd15`` is what the pipeline itself needs, ``scene`` a whole run."""


def entry_of(name: str) -> Entry:
    """An entry of the table. Raises `SettingError` if there is none."""
    if name not in TABLE:
        raise SettingError(f"{name}: expected one of {', '.join(TABLE)}")
    return TABLE[name]


def entries_of(names: Iterable[str]) -> list[Entry]:
    """The entries of names of entries and groups, each once. Raises `SettingError`."""
    single: dict[str, None] = {}
    for name in names:
        if name not in TABLE and name not in GROUPS:
            known = ", ".join([*TABLE, *GROUPS])
            raise SettingError(f"{name}: expected the name of weights or a group: {known}")
        single |= dict.fromkeys(GROUPS.get(name, (name,)))
    return [TABLE[name] for name in single]
