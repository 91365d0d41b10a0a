"""Base and Light side by side on held-out faces, as one picture.

    python -m training.report_light runs/crops --output runs/report/light.png

A column a face: original, mini, the face swapped, mini-light; each by its recipe's first attempt.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from camouflage.anonymizer import Anonymizer
from camouflage.attempts import Subject
from camouflage.picture import Picture
from training.prepare import read_shards


def columns(crops: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """(4 * 128, 128, 3) uint8 for each stored crop in which a face is found."""
    base, light = Anonymizer.from_recipe("mini"), Anonymizer.from_recipe("mini-light")
    found = []
    for crop in crops:
        picture = Picture.from_image(crop)
        faces = base.detector.detect(picture.pixels)[:1]
        if not faces:
            continue
        subject: Subject = base.subjects(picture, faces)[0]
        swapped = light.redrawer.shown(subject, "report")[1]
        drawn = [one.redraw([subject], "report")[0] for one in (base, light)]
        found.append(np.vstack([subject.pixels, drawn[0], swapped, drawn[1]]))
    return found


def main(
    crops: Annotated[Path, typer.Argument(help="shards of training.prepare crops")],
    output: Annotated[Path, typer.Option(help="the picture to write")],
    faces: Annotated[int, typer.Option(min=1, help="how many")] = 10,
) -> None:
    """Base and Light side by side on held-out faces, as one picture."""
    heldout = [pixels for _, pixels in read_shards(crops, "heldout")]
    step = max(len(heldout) // faces, 1)
    sheet = np.hstack(columns(heldout[::step][:faces]))
    Image.fromarray(sheet).save(output, quality=88)


if __name__ == "__main__":
    typer.run(main)
