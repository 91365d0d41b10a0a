"""Results for people: one HTML page that needs nothing beside it, and Markdown.

`html` fills ``report.html.j2``; its charts are SVG, its pictures JPEG inside the page. A number
that is not known is an en dash everywhere.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import matplotlib
import numpy as np
from jinja2 import Environment, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from camouflage.evaluate.charts import DRAWING, PALETTE, looks, roc, scatter, sweep
from camouflage.evaluate.evaluation import Evaluation
from camouflage.evaluate.tables import (
    at,
    cell,
    headline_attack,
    likeness_table,
    reidentification_table,
    strata_tables,
)
from camouflage.terminal import shown

KINDS = {
    "best": "Hidden best: furthest from their originals",
    "median": "In the middle",
    "worst": "Hidden worst: nearest to their originals",
    "failure": "Failures: no result, or no face in it",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """An original and its result as thumbs (H, W, 3); ``distance`` between them, NaN if unknown.

    ``kind``: best, median, worst or failure; ``result`` is None where there is no picture.
    """

    name: str
    original: NDArray[np.uint8]
    result: NDArray[np.uint8] | None
    kind: str
    distance: float


def pictures_of(evaluation: Evaluation, *, each: int = 6) -> dict[str, list[Row]]:
    """For each method but the baselines best, median, worst and failures, ``each`` at most.

    Best is furthest from its own original by the first recogniser. A failure has no result, or no
    face in it that could be looked at.
    """
    chosen = {}
    for method, outcomes in evaluation.outcomes.items():
        if evaluation.results["methods"][method]["baseline"]:
            continue
        apart = np.asarray(evaluation.distances[method], dtype=float)
        written = np.array([o.state == "written" and o.found for o in outcomes], dtype=bool)
        usable = written & np.isfinite(apart)
        order = [int(i) for i in np.argsort(-apart, kind="stable") if usable[i]]
        size = min(each, -(-len(order) // 3))
        best, rest = order[:size], order[size:]
        worst = rest[-size:] if rest else []
        rest = rest[: len(rest) - len(worst)]
        start = max(0, (len(rest) - size) // 2)
        kinds = {"best": best, "median": rest[start : start + size], "worst": worst[::-1]}
        kinds["failure"] = [int(i) for i in np.flatnonzero(~usable)[:each]]
        chosen[method] = [
            Row(
                name=evaluation.probes[i].original.photo.name,
                original=evaluation.probes[i].thumb,
                result=outcomes[i].thumb,
                kind=kind,
                distance=float(apart[i]),
            )
            for kind, members in kinds.items()
            for i in members
        ]
    return chosen


def html(results: dict[str, Any], pictures: Mapping[str, Sequence[Row]] | None) -> str:
    """The page. With ``pictures`` it shows originals: keep it where they are kept."""
    names = [encoder["name"] for encoder in results["encoders"]]
    drawn = looks(results["methods"])
    keys = list(dict.fromkeys(look.key for look in drawn.values() if look.key))
    attack = headline_attack(results)
    with matplotlib.rc_context(DRAWING):
        charts = {
            "scatter": [scatter(results, name, attack, drawn) for name in names],
            "sweeps": {key: sweep(results, key, attack, drawn, names) for key in keys},
            "roc": [roc(results, name, drawn) for name in names],
        }
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: shown(value) if type(value) is str else value,
    )
    environment.filters |= {"cell": cell, "jpeg": _jpeg}
    template = files("camouflage.evaluate").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        r=results,
        attack=attack,
        at=at,
        drawn=drawn,
        recogniser_looks=dict(zip(names, PALETTE * len(names), strict=False)),
        charts=charts,
        tables={name: reidentification_table(results, name) for name in names},
        likeness=likeness_table(results),
        strata=strata_tables(results),
        names_of_ours=[name for name, look in drawn.items() if not look.baseline],
        kinds=KINDS,
        pictures=pictures,
    )


def _jpeg(pixels: NDArray[np.uint8]) -> str:
    """The address of a picture that lies in the page itself."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
