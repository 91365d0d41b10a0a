"""Does everybody stay who they look like, whatever their age, skin and origin?

    python -m benchmarks.groups runs/crops --table benchmarks/GROUPS.md

The people are crops of synthetic faces that an eye judged (`training/judged.csv`): some are the
models of faces in the pool, which nobody gets as their own. Each goes through a recipe, gate on.
What is read of original and result is what `camouflage.annotators.readout` reads, which had its
part in the choice of the fake: how well somebody is kept is said too well, differences between
groups are not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track
from scipy.spatial.distance import pdist

from camouflage.annotators.readout import Readout
from camouflage.anonymizer import Anonymizer
from camouflage.recipe import Recipe
from training.prepare import read_shards
from training.readout import LOOKS, read_judged

SIDE_PX = 320
"""Crops are enlarged to that, so that a face is larger than what the model draws."""

GROUPS: Mapping[str, Callable[[Mapping[str, float]], bool]] = {
    "children": lambda looks: looks["child"] == 1,
    "East Asian": lambda looks: looks["child"] != 1 and looks["east_asian"] == 1,
    "dark skin": lambda looks: looks["child"] != 1 and looks["skin"] == 3,
    "light skin": lambda looks: (
        looks["child"] != 1 and looks["skin"] == 1 and looks["east_asian"] == 0
    ),
}
"""By what an eye judged, NaN where it did not."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Of one person: whether a result was written, after how many attempts, and, NaN if not,
    whether sex, being a child and East Asian are read as before, by how many years the age and by
    how much the skin, from 1 light to 3 dark, is read as another, and the recogniser's distance.
    """

    written: bool
    attempts: float = np.nan
    sex: float = np.nan
    child: float = np.nan
    east_asian: float = np.nan
    skin: float = np.nan
    years: float = np.nan
    distance: float = np.nan


def chosen(folder: Path, *, count: int) -> dict[str, list[NDArray[np.uint8]]]:
    """At most ``count`` training crops of each of `GROUPS`, (`SIDE_PX`, `SIDE_PX`, 3) uint8."""
    judged, found = read_judged(), {name: [] for name in GROUPS}
    for key, crop in read_shards(folder, "train"):
        looks = dict(zip(LOOKS, judged.get(key, ()), strict=False))
        for name, has in GROUPS.items():
            if looks and has(looks) and len(found[name]) < count:
                image = Image.fromarray(crop).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
                found[name].append(np.asarray(image))
    return found


def kept(anonymizer: Anonymizer, readout: Readout, pixels: NDArray[np.uint8], seed: str) -> Kept:
    """One person, before and after."""
    result = anonymizer(pixels, seed=seed)
    if result.state != "passed":
        return Kept(written=False)
    faces = anonymizer.detector.detect(pixels)[:1]
    after = np.asarray(result.image)
    rows = [anonymizer.recogniser.embed(one, faces).rows for one in (pixels, after)]
    known = all(np.isfinite(one).all() and len(one) for one in rows)
    if not known:
        return Kept(written=True, attempts=len(result.faces[0].attempts))
    old, new = (readout(one) for one in rows)
    return Kept(
        written=True,
        attempts=len(result.faces[0].attempts),
        sex=float((old.male[0] > 0.5) == (new.male[0] > 0.5)),
        child=float((old.child[0] > 0.5) == (new.child[0] > 0.5)),
        east_asian=float((old.east_asian[0] > 0.5) == (new.east_asian[0] > 0.5)),
        skin=float(abs(old.skin[0] - new.skin[0])),
        years=float(abs(old.age[0] - new.age[0])),
        distance=float(np.linalg.norm(rows[0] - rows[1])),
    )


def between(anonymizer: Anonymizer, people: Sequence[NDArray[np.uint8]]) -> float:
    """The median distance of the recogniser between two of them; NaN if there are none."""
    rows = []
    for pixels in people:
        faces = anonymizer.detector.detect(pixels)[:1]
        rows += list(anonymizer.recogniser.embed(pixels, faces).rows)
    distances = pdist(np.array(rows)) if len(rows) > 1 else np.array([np.nan])
    return float(np.nanmedian(distances)) if np.isfinite(distances).any() else float("nan")


def table(found: Mapping[str, Sequence[Kept]], apart: Mapping[str, float]) -> str:
    """Markdown: a row a group; ``apart`` as `between` says."""
    lines = [
        "| group | faces | distance between them | written | attempts | sex kept | child or not, "
        "kept | East Asian or not, kept | skin off, of 1 to 3 | years off | "
        "distance of original and result |",
        "|" + "---|" * 11,
    ]
    for name, people in found.items():
        means = {
            field: float(np.nanmean([getattr(one, field) for one in people]))
            for field in ("attempts", "sex", "child", "east_asian", "skin", "years", "distance")
            if any(one.written for one in people)
        }
        written = sum(one.written for one in people)
        cells = [name, str(len(people)), f"{apart[name]:.2f}", str(written)]
        if means:
            cells += [f"{means['attempts']:.2f}"]
            cells += [f"{means[field]:.0%}" for field in ("sex", "child", "east_asian")]
            cells += [f"{means['skin']:.2f}", f"{means['years']:.1f}", f"{means['distance']:.2f}"]
        lines.append("| " + " | ".join([*cells, *["-"] * (11 - len(cells))]) + " |")
    return "\n".join(lines)


def main(
    folder: Annotated[Path, typer.Argument(help="shards of training.prepare crops")],
    recipe: Annotated[str, typer.Option(help="a preset's name or a recipe's file")] = "mini",
    count: Annotated[int, typer.Option(min=1, help="people a group, at most")] = 60,
    output: Annotated[
        Path | None, typer.Option("--table", help="a markdown file to write; else it is printed")
    ] = None,
) -> None:
    """What is kept of people of several groups, as a markdown table."""
    anonymizer, readout = Anonymizer.from_recipe(Recipe.load(recipe)), Readout.load()
    people = chosen(folder, count=count)
    apart = {name: between(anonymizer, some) for name, some in people.items()}
    found = {
        name: [
            kept(anonymizer, readout, pixels, f"{name} {i}")
            for i, pixels in enumerate(track(some, description=name))
        ]
        for name, some in people.items()
    }
    command = f"python -m benchmarks.groups runs/crops --recipe {recipe} --count {count}"
    text = f"`{command}`\n\n{table(found, apart)}\n"
    if output is None:
        typer.echo(text)
    else:
        output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
