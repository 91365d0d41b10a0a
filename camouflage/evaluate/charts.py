"""The charts of an evaluation, as SVG inside the page."""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from camouflage.evaluate.tables import LIKENESS, at
from camouflage.terminal import shown

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito 2008: told apart by all kinds of colour vision."""
GREYS = ("#4d4d4d", "#858585", "#b3b3b3")
DASHES = ((), (5, 2), (1.5, 1.5), (6, 2, 1.5, 2))
MARKERS = "oD^vPX"
SETTING = re.compile(r"(.+?) ?= ?([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)")
DRAWING: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "camouflage",
    "text.parse_math": False,
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8a8a",
    "axes.grid": True,
    "grid.color": "#ececec",
}


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a method is drawn; ``key`` and ``value`` where it is a point of a swept setting."""

    colour: str
    marker: str
    dashes: tuple[float, ...]
    label: str
    baseline: bool = False
    key: str = ""
    value: float = 0.0


def looks(methods: Mapping[str, Mapping[str, Any]]) -> dict[str, Look]:
    """Baselines grey, a colour for each other method; the values of one setting share theirs."""
    ours = [name for name, method in methods.items() if not method["baseline"]]
    split = {name: m.groups() for name in ours if (m := SETTING.fullmatch(name))}
    count = Counter(key for key, _ in split.values())
    swept = {name: key for name, (key, _) in split.items() if count[key] > 1}
    groups = list(dict.fromkeys(swept.get(name, name) for name in ours))
    drawn: dict[str, Look] = {}
    for i, name in enumerate(name for name in methods if name not in ours):
        grey, dashes = GREYS[i % 3], DASHES[i // 3 % 4]
        drawn[name] = Look(colour=grey, marker="s", dashes=dashes, label=name, baseline=True)
    for name in ours:
        key, group = swept.get(name, ""), groups.index(swept.get(name, name))
        drawn[name] = Look(
            colour=PALETTE[group % len(PALETTE)],
            marker=MARKERS[group % len(MARKERS)],
            dashes=DASHES[sum(look.key == key for look in drawn.values()) % 4 if key else 0],
            label=split[name][1] if key else name,
            key=key,
            value=float(split[name][1]) if key else 0.0,
        )
    return drawn


def scatter(
    results: dict[str, Any], encoder: str, attack: str, drawn: Mapping[str, Look]
) -> Markup:
    """Found again against landmark shift; what shows no face is in a strip at the right."""
    figure = Figure(figsize=(3.9, 3.8), dpi=72)
    axes = figure.add_axes((0.165, 0.115, 0.825, 0.87))
    rates, shifts = {}, {}
    for name, method in results["methods"].items():
        rate = at(method, "reidentification", encoder, attack, "worst")
        if at(rate, "mean") is not None:
            rates[name], shifts[name] = rate, at(method, "likeness", "shift")
    known = [s["mean"] + _whiskers(s)[1, 0] for s in shifts.values() if at(s, "mean") is not None]
    edge = 1.1 * max([0.05, *known])
    nowhere = {"mean": 1.12 * edge, "low": 1.12 * edge, "high": 1.12 * edge}
    shifts = {n: s if at(s, "mean") is not None else nowhere for n, s in shifts.items()}
    axes.axvspan(edge, 1.24 * edge, color="#f3f1ea", zorder=0)
    axes.text(1.22 * edge, 0.5, "no face found", rotation=90, ha="right", va="center", color="#777")
    _curves(axes, rates, shifts, drawn)
    for name, rate in rates.items():
        look, x, y = drawn[name], shifts[name]["mean"], rate["mean"]
        found = at(results["methods"][name], "likeness", "found", "mean") or 0.0
        if not look.baseline:
            across, along = _whiskers(shifts[name]), _whiskers(rate)
            axes.errorbar(x, y, along, across, fmt="none", ecolor=look.colour, alpha=0.6)
        face, area = look.colour if shifts[name] is not nowhere else "white", 12 + 45 * found
        marks = axes.scatter(x, y, s=area, c=face, marker=look.marker, zorder=3)
        marks.set_edgecolor(look.colour)
    methods = results["methods"].values()
    chances = [at(method, "reidentification", encoder, attack, "chance") for method in methods]
    _rate_axis(axes, [chance for chance in chances if chance is not None])
    axes.set_xlim(-0.04 * edge, 1.24 * edge)
    axes.set_xlabel("landmark shift in eye distances  (← more alike)")
    axes.set_ylabel("people found again  (↓ better hidden)")
    _name(axes, [(shifts[n], rates[n], drawn[n]) for n in rates])
    return _svg(figure, f"{encoder}: people found again against landmark shift, a point a method")


def _curves(axes: Axes, rates: Any, shifts: Any, drawn: Mapping[str, Look]) -> None:
    for key in dict.fromkeys(drawn[name].key for name in rates if drawn[name].key):
        names = sorted((n for n in rates if drawn[n].key == key), key=lambda n: drawn[n].value)
        x, y = [shifts[n]["mean"] for n in names], [rates[n]["mean"] for n in names]
        axes.plot(x, y, color=drawn[names[0]].colour, linewidth=1.4, alpha=0.7)


Box = tuple[float, float, float, float]


def _name(axes: Axes, points: Sequence[tuple[Any, Any, Look]]) -> None:
    """Labels beside points, each where it covers least of the rest; methods before baselines.

    ``points``: intervals of x and of y.
    """
    to_px = axes.transData.transform
    taken: list[Box] = []
    for x, y, look in points:
        px, py = to_px((x["mean"], y["mean"]))
        taken.append((px - 5, py - 5, px + 5, py + 5))
        if not look.baseline:
            (left, right), (down, up) = _whiskers(x)[:, 0], _whiskers(y)[:, 0]
            x0, y0 = to_px((x["mean"] - left, max(y["mean"] - down, 0)))
            x1, y1 = to_px((x["mean"] + right, y["mean"] + up))
            taken += [(x0, py - 1, x1, py + 1), (px - 1, y0, px + 1, y1)]
    for x, y, look in sorted(points, key=lambda point: point[2].baseline):
        px, py = to_px((x["mean"], y["mean"]))
        text = look.label if len(look.label) < 26 else f"{look.label[:24]}…"
        width = 4.4 * len(text)
        corners = [
            (px + dx - (width if dx < 0 else 0), py + dy)
            for dy in (-3, 7, -13, 17, -23, 27, -33)
            for dx in (8, -8, 2, -2)
            if abs(dx) == 8 or dy != -3
        ]
        places = [(x0, y0, x0 + width, y0 + 8) for x0, y0 in corners]
        place = min(places, key=lambda box: _cost(box, taken, axes.bbox.extents))
        taken.append(place)
        axes.annotate(
            text, (x["mean"], y["mean"]), place[:2], textcoords="figure pixels",
            color="#666" if look.baseline else look.colour, fontsize=8,
        )  # fmt: skip


def _cost(box: Box, taken: Sequence[Box], frame: Any) -> float:
    """The area that ``box`` covers of others, and how far it sticks out of ``frame``."""
    x0, y0, x1, y1 = box
    out = sum(max(d, 0) for d in (frame[0] - x0, frame[1] - y0, x1 - frame[2], y1 - frame[3]))
    shared = [
        max(min(x1, b[2]) - max(x0, b[0]), 0) * max(min(y1, b[3]) - max(y0, b[1]), 0) for b in taken
    ]
    return sum(shared) + 40 * out


def sweep(
    results: dict[str, Any],
    key: str,
    attack: str,
    drawn: Mapping[str, Look],
    encoders: Sequence[str],
) -> list[Markup]:
    """How a setting trades: found again for each recogniser, and what is kept."""
    names = sorted((n for n in drawn if drawn[n].key == key), key=lambda n: drawn[n].value)

    def curve(axes: Axes, path: Sequence[str], colour: str) -> None:
        told = [
            (drawn[n].value, i)
            for n in names
            if at(i := at(results["methods"][n], *path), "mean") is not None
        ]
        if told:
            bars = np.hstack([_whiskers(interval) for _, interval in told])
            x, y = [x for x, _ in told], [interval["mean"] for _, interval in told]
            axes.errorbar(x, y, yerr=bars, color=colour, marker="o", markersize=4, capsize=2)

    figure = Figure(figsize=(3.9, 3.0), dpi=72)
    axes = figure.add_axes((0.165, 0.15, 0.825, 0.83))
    for colour, encoder in zip(PALETTE * len(encoders), encoders, strict=False):
        curve(axes, ("reidentification", encoder, attack, "worst"), colour)
    _rate_axis(axes, [])
    axes.set_xlabel(key)
    axes.set_ylabel("people found again")
    kept = Figure(figsize=(3.9, 3.0), dpi=72, layout="constrained")
    for one, title in zip(
        kept.subplots(2, 3).flat, list(LIKENESS)[:1] + list(LIKENESS)[2:7], strict=True
    ):
        curve(one, LIKENESS[title][1:], "#444")
        one.set_title(title, fontsize=8.5)
        one.set_ylim(bottom=0)
    return [
        _svg(figure, f"people found again against {key}, a line a recogniser"),
        _svg(kept, f"likeness against {key}"),
    ]


def roc(results: dict[str, Any], encoder: str, drawn: Mapping[str, Look]) -> Markup:
    figure = Figure(figsize=(3.9, 3.3), dpi=72)
    axes = figure.add_axes((0.165, 0.14, 0.82, 0.84))
    far = np.logspace(-4, 0, 50)
    axes.plot(far, far, color="#bbb", linewidth=1, linestyle=":")
    for name in sorted(drawn, key=lambda name: not drawn[name].baseline):
        curve, look = at(results["methods"][name], "reidentification", encoder, "roc"), drawn[name]
        tar = [np.nan if x is None else x for x in at(curve, "tar") or []]
        line = (0, look.dashes) if look.dashes else "-"
        width = 1.0 if look.baseline else 1.8
        axes.plot(
            (at(curve, "far") or [])[: len(tar)],
            tar,
            color=look.colour,
            linestyle=line,
            linewidth=width,
        )
    axes.set_xscale("log")
    axes.set_ylim(-0.02, 1.03)
    axes.set_xlabel("false accepts among other people")
    axes.set_ylabel("people accepted as themselves")
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:.0%}")
    axes.xaxis.set_major_formatter(lambda x, _: f"{100 * x:g}%")
    return _svg(figure, f"{encoder}: receiver operating characteristic, a line a method")


def _whiskers(interval: Mapping[str, float]) -> NDArray[np.float64]:
    """(2, 1): how far the 95 % reach below and above the mean; 0 where that is not known."""
    bounds = [interval.get(key) for key in ("low", "high")]
    return np.array([[0.0 if x is None else abs(x - interval["mean"])] for x in bounds])


def _rate_axis(axes: Axes, chances: Sequence[float]) -> None:
    """0 to 100 % by the square root, which gives the low rates room; chance dashed."""
    root: Callable[[Any], Any] = lambda y: np.sign(y) * np.sqrt(np.abs(y))  # noqa: E731
    axes.set_yscale("function", functions=(root, lambda y: np.sign(y) * np.square(y)))
    ticks = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1)
    axes.set_yticks(ticks, [f"{tick:.0%}" for tick in ticks])
    axes.set_ylim(-0.002, 1.08)
    for chance in chances[:1]:
        axes.axhline(chance, color="#999", linewidth=1, linestyle="--", zorder=1)


def _svg(figure: Figure, alt: str) -> Markup:
    """To stand in a page: no address in it, its ids its own."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    box = re.search(r'viewBox="[\d. ]+"', text)
    inside = text[text.index(">", text.index("<svg")) + 1 :]
    inside = re.sub(r"<(metadata|style)\b.*?</\1>", "", inside, flags=re.S)
    mark = hashlib.sha256((alt + inside).encode("utf-8", "replace")).hexdigest()[:8]
    inside = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>c{mark}-", inside)
    head = f'<svg role="img" aria-label="{escape(shown(alt))}" {box[0] if box else ""}>'
    return Markup(head + inside)
