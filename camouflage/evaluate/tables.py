"""The tables of an evaluation: cells with their intervals, for the page and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from camouflage.terminal import shown

DASH = "–"
REIDENTIFICATION = {
    "other photos, worst case": ("other_photos", "worst"),
    "other photos, optimistic": ("other_photos", "optimistic"),
    "closed set": ("closed", "worst"),
    "Re-ID@1": ("reid@1", "worst"),
    "Re-ID@5": ("reid@5", "worst"),
    "Re-ID@10": ("reid@10", "worst"),
    "mAP@50": ("map@50", "worst"),
    "V-thr, FAR 1%": ("verification", "0.01", "rate"),
    "V-thr, FAR 0.1%": ("verification", "0.001", "rate"),
    "TAR at FAR 1%": ("tar@far", "0.01"),
    "PSR": ("psr", "rate"),
    "retrained attacker": ("retrained",),
}
LIKENESS = {
    "face found": ("%", "likeness", "found"),
    "people kept": ("%", "likeness", "people_kept"),
    "landmark shift": ("length", "likeness", "shift"),
    "pose": ("degrees", "likeness", "pose"),
    "gaze": ("length", "likeness", "gaze"),
    "expression": ("length", "likeness", "expression"),
    "sharpness": ("ratio", "likeness", "sharpness"),
    "seam": ("ratio", "likeness", "seam"),
    "changed outside": ("%", "likeness", "outside"),
    "spread of people": ("ratio", "diversity", "spread"),
    "people alike": ("%", "diversity", "collisions"),
    "spread of seeds": ("ratio", "seeds", "spread"),
    "seeds alike": ("%", "seeds", "same"),
}
UNITS = {"%": (100, 1, "%"), "length": (1, 3, ""), "degrees": (1, 1, "°"), "ratio": (1, 2, "")}
"""Factor, decimals and sign."""

# Re-ID@1, @5, @10 and mAP@50 of "Harnessing Foundation Models for Image Anonymization" (2024),
# Table I; "Face Anonymization Made Simple" (WACV 2025) gives rank 1 only.
PAPER_NOTE = "from the paper, CelebA-HQ 1,000 pictures, other data: not comparable number by number"
PAPERS = (
    ("DeepPrivacy2", "Harnessing", "CLIP", 0.268, 0.404, 0.469, 0.113),
    ("FALCO", "Harnessing", "CLIP", 0.101, 0.222, 0.292, 0.054),
    ("Harnessing", "Harnessing", "CLIP", 0.007, 0.021, 0.037, 0.006),
    ("DeepPrivacy2", "Harnessing", "FaceNet, VGGFace2", 0.004, 0.018, 0.028, 0.006),
    ("FALCO", "Harnessing", "FaceNet, VGGFace2", 0.002, 0.014, 0.020, 0.003),
    ("Harnessing", "Harnessing", "FaceNet, VGGFace2", 0.010, 0.028, 0.037, 0.006),
    ("DeepPrivacy2", "Harnessing", "FaceNet, CASIA", 0.003, 0.020, 0.036, 0.005),
    ("FALCO", "Harnessing", "FaceNet, CASIA", 0.005, 0.013, 0.022, 0.003),
    ("Harnessing", "Harnessing", "FaceNet, CASIA", 0.007, 0.014, 0.029, 0.005),
    ("DeepPrivacy2", "Face Anonymization Made Simple", "FaceNet", 0.020, None, None, None),
    ("FALCO", "Face Anonymization Made Simple", "FaceNet", 0.005, None, None, None),
)


def at(tree: Any, *path: str) -> Any:
    """What lies at ``path``, None as soon as there is nothing."""
    for key in path:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def headline_attack(results: dict[str, Any]) -> str:
    """other_photos, or closed where nobody has another photograph."""
    attacks = [a for m in results["methods"].values() for a in m["reidentification"].values()]
    told = any(at(one, "other_photos", "worst", "mean") is not None for one in attacks)
    return "other_photos" if told or not attacks else "closed"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Of a table: a number and its 95 % as text; ``share`` from 0 to 1 if it is one."""

    text: str
    interval: str = ""
    share: float | None = None

    def __str__(self) -> str:
        return f"{self.text} [{self.interval}]" if self.interval else self.text


def cell(value: Any, unit: str = "%") -> Cell:
    """Of a number, of the mean and bounds of an interval, or of nothing."""
    factor, decimals, sign = UNITS[unit]
    mean = at(value, "mean") if isinstance(value, Mapping) else value
    if mean is None:
        return Cell(text=DASH)
    bounds = [at(value, key) for key in ("low", "high")]
    told = [f"{factor * x:.{decimals}f}" for x in bounds if x is not None]
    return Cell(
        text=f"{factor * mean:.{decimals}f}{sign}",
        interval=", ".join(told) if len(told) == 2 else "",
        share=mean if unit == "%" else None,
    )


Table = dict[str, dict[str, Cell]]
"""From a method to its cells by column."""


def reidentification_table(results: dict[str, Any], encoder: str) -> Table:
    """One recogniser's attacks on every method."""
    found = {}
    for name, method in results["methods"].items():
        attack = at(method, "reidentification", encoder)
        written = f"{method['states'].get('written', 0)} of {method['attempted']}"
        found[name] = {
            "written": Cell(text=written),
            "face found": cell(at(method, "likeness", "found")),
            **{title: cell(at(attack, *path)) for title, path in REIDENTIFICATION.items()},
        }
    return found


def thresholds_told(results: dict[str, Any], encoder: str) -> str:
    """The distances of V-thr, which are those of the originals alone; empty if there are none."""
    for method in results["methods"].values():
        found = at(method, "reidentification", encoder, "verification") or {}
        told = [
            f"FAR {float(far):.1%}: {' and '.join(f'{x:.3f}' for x in one['thresholds'])}"
            for far, one in found.items()
            if one is not None
        ]
        if told:
            return (
                "Distances of V-thr, each measured on half of the people and used on the other: "
                f"{'; '.join(told)}."
            )
    return ""


def likeness_table(results: dict[str, Any]) -> Table:
    """What every method keeps."""
    columns = dict(LIKENESS)
    for name, kind in results["attributes"].items():
        off = kind == "expectation"
        title = f"{name}, difference" if off else f"{name} agrees"
        columns[title] = ("ratio" if off else "%", "likeness", name)
    return {
        name: {title: cell(at(method, *path), unit) for title, (unit, *path) in columns.items()}
        for name, method in results["methods"].items()
    }


def strata_tables(results: dict[str, Any]) -> dict[str, Table]:
    """For each kind of stratum a table, smallest first."""
    tables: dict[str, Table] = {}
    for name, method in results["methods"].items():
        for kind, strata in (method["strata"] or {}).items():
            row = tables.setdefault(kind, {}).setdefault(name, {})
            for label in sorted(strata, key=_size_of):
                row[f"{label}: found again"] = cell(at(strata[label], "other_photos"))
                row[f"{label}: faces"] = cell(at(strata[label], "found"))
    return {kind: table for kind, table in tables.items() if any(table.values())}


def _size_of(label: str) -> tuple[bool, bool, str]:
    """Terciles are named below, to and from."""
    return label.startswith("from "), not label.startswith("below "), label


def markdown(results: dict[str, Any], *, command: str) -> str:
    """The two tables and the papers' beside ours; ``command`` is what made them."""
    parts = [
        f"Originals: {_plain(results['originals'])}. {results['probes']} results of "
        f"{results['people']} people were expected, {results['gallery']} originals are the "
        "attacker's gallery. In brackets: 95 % by bootstrap over people. What is missing counts "
        "as re-identified, but in the optimistic column.",
        f"    {shown(command)}",
    ]
    for encoder in results["encoders"]:
        name, note = encoder["name"], encoder["note"]
        parts.append(f"## Re-identification: {_plain(name)}\n\n{_plain(note)}")
        if limits := thresholds_told(results, name):
            parts.append(limits)
        parts.append(_markdown(reidentification_table(results, name)))
    parts += ["## Likeness and quality", _markdown(likeness_table(results))]
    parts += ["## Beside the papers", f"The papers' rows are {PAPER_NOTE}."]
    titles = tuple(title for title in REIDENTIFICATION if title.startswith(("Re-ID", "mAP")))
    lines = [("method", "source", "recogniser", *titles), ("---",) * (3 + len(titles))]
    for encoder in results["encoders"]:
        for method, row in reidentification_table(results, encoder["name"]).items():
            cells = [str(row[title]) for title in titles]
            lines.append((_plain(method), "this run", _plain(encoder["name"]), *cells))
    for method, paper, recogniser, *rates in PAPERS:
        lines.append((method, f"{paper}: {PAPER_NOTE}", recogniser, *(str(cell(x)) for x in rates)))
    parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def _markdown(table: Table) -> str:
    columns = list(dict.fromkeys(title for row in table.values() for title in row))
    lines = [["method", *map(_plain, columns)], ["---"] * (1 + len(columns))]
    lines += [[_plain(name), *map(str, row.values())] for name, row in table.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(name: str) -> str:
    """A name that Markdown takes as text."""
    return re.sub(r"([\\`*|\[\]])", r"\\\1", escape(shown(name), quote=False))
