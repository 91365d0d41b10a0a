"""The held-out synthetic faces as photographs, a folder a face, for `benchmarks.reidentify`.

    python -m benchmarks.heldout runs/crops --output runs/heldout
    python -m benchmarks.reidentify runs/heldout --output runs/heldout-results

Each is one crop of a face that no training saw. There is one picture a person, so nobody can be
attacked by other photographs: what is told is whether a result is recognised as its own original.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from training.prepare import read_shards


def main(
    crops: Annotated[Path, typer.Argument(help="shards of training.prepare crops")],
    output: Annotated[Path, typer.Option(help="folder for a folder a face")],
) -> None:
    """The held-out synthetic faces as photographs, a folder a face."""
    count = 0
    for key, pixels in read_shards(crops, "heldout"):
        folder = output / key
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "0.png")
        count += 1
    typer.echo(f"{count} faces")


if __name__ == "__main__":
    typer.run(main)
