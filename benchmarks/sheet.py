"""What a benchmark shows: a table of figures and a sheet of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

CELL_PX = 160
HEADER_PX = 18


def markdown_table(rows: Sequence[Mapping[str, Any]], chance: float) -> str:
    """Rows of `benchmarks.reidentify.Row` as dicts to a table; intervals are 95 % bootstraps."""
    lines = [
        "| method | written | face found | rank-1 | rank-1, optimistic | shift / eye distance |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        written = f"{row['written']} of {row['attempted']}"
        shares = [_percent(row[name]) for name in ("found", "rank1", "rank1_optimistic")]
        shift = row["shift"]
        moved = f"{shift['mean']:.3f}" if shift["n"] else "-"
        lines.append(f"| {row['method']} | {written} | {' | '.join(shares)} | {moved} |")
    return "\n".join([*lines, "", f"Chance: {chance:.1%}. Brackets: 95 % bootstrap over people.\n"])


def _percent(interval: Mapping[str, Any]) -> str:
    if not interval["n"]:
        return "-"
    return f"{interval['mean']:.1%} [{interval['low']:.1%}, {interval['high']:.1%}]"


def contact_sheet(columns: Mapping[str, Sequence[NDArray[np.uint8] | None]]) -> Image.Image:
    """A column for each name, its pictures from above; a grey field where there is none."""
    rows = max((len(pictures) for pictures in columns.values()), default=0)
    size = max(len(columns) * CELL_PX, 1), HEADER_PX + rows * CELL_PX
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for i, (name, pictures) in enumerate(columns.items()):
        draw.text((i * CELL_PX + 3, 3), name, fill="black")
        for j, pixels in enumerate(pictures):
            place = (i * CELL_PX, HEADER_PX + j * CELL_PX)
            if pixels is None:
                cell = Image.new("RGB", (CELL_PX, CELL_PX), "grey")
            else:
                cell = Image.fromarray(pixels)
                cell.thumbnail((CELL_PX, CELL_PX), Image.Resampling.LANCZOS)
            sheet.paste(cell, place)
    return sheet
