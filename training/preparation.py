"""What the commands of ``training.prepare`` that write shards of squares have in common.

Every picture is looked at first, and a plan made of it; shards are then written whole or not at
all, so that the same command goes on after a stop.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from training.shards import BLOB, PREPARED, Files, Prepared, shard_paths, vae_facts, write_shard
from training.squares import Squares, keyed_squares
from training.survey import SEEN, Plan, Seen, find_pictures, look, make_plan

LEFT_OUT = "left_out.jsonl"
MOST_SAMPLES = 1000
"""In a shard: about 64 MB at 512 px with mirror images, and what an interrupted run loses."""

Encoding = Callable[[Iterator[tuple[str, NDArray[np.uint8]]]], Iterator[tuple[str, Files]]]
"""Keys and squares to keys and what is stored of them."""
EncodingOf = Callable[[Sequence[Seen]], Encoding]
"""The encoding of a split, by its pictures in order."""

Sources = Annotated[list[Path], typer.Argument(help="folders of pictures, and those below them")]
Output = Annotated[Path, typer.Option(help="folder for the shards")]
Vae = Annotated[str, typer.Option(help="name or folder of the autoencoder")]
Side = Annotated[int, typer.Option(help="pixels of the squares")]
LeastSide = Annotated[
    int, typer.Option(help="pixels; pictures with a shorter side are left out; 0: --side")
]
HeldOut = Annotated[float, typer.Option(help="part of the pictures that is held out")]
Batch = Annotated[int, typer.Option(help="pictures that are encoded at once")]
Workers = Annotated[int, typer.Option(help="processes that read; 0: this one")]
Device = Annotated[str, typer.Option(help="auto, or as torch names it")]
Seed = Annotated[int, typer.Option(help="of order and split")]
Shard = Annotated[int, typer.Option(help="most samples in a shard")]


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The ``files`` that were found, by name, and what of them is used for which split."""

    files: dict[str, Path]
    plan: Plan
    seed: int

    @classmethod
    def found(
        cls,
        sources: Sequence[Path],
        output: Path,
        *,
        least: int,
        heldout: float,
        seed: int,
        workers: int,
    ) -> Pictures:
        """Looks at every picture in ``sources``; what is seen is noted in ``output``.

        ``least`` is how many pixels the shorter side of a picture that is used has at least.
        """
        output.mkdir(parents=True, exist_ok=True)
        files = find_pictures(sources)
        seen = look(files, output / SEEN, workers)
        plan = make_plan(seen, least_side_px=least, share=heldout, seed=seed)
        return cls(files=files, plan=plan, seed=seed)

    def facts(self, autoencoder: Path) -> dict[str, Any]:
        """What a `Prepared` says of the autoencoder in that folder and of the pictures."""
        return {
            **vae_facts(autoencoder),
            "seed": self.seed,
            "plan_sha256": self.plan.sha256(),
            "pictures": {split: len(seen) for split, seen in self.plan.splits.items()},
        }

    def write(
        self, output: Path, prepared: Prepared, encoding_of: EncodingOf, *, workers: int
    ) -> None:
        """The shards of all splits that are not there yet; then ``prepared``, complete."""
        begin(output, prepared, self.plan)
        for split, seen in self.plan.splits.items():
            pairs = [(picture, self.files[picture.name]) for picture in seen]
            write_split(output, split, pairs, prepared, encoding_of(seen), workers=workers)
        finish(output, prepared)


def device_of(name: str) -> str:
    """As torch names it; "auto" is a GPU if there is one."""
    found = "cuda" if torch.cuda.is_available() else "cpu"
    return found if name == "auto" else name


def begin(output: Path, prepared: Prepared, plan: Plan) -> None:
    """Note the settings before the first shard, or refuse to mix two sets of them in one folder."""
    if (output / PREPARED).is_file():
        found = replace(type(prepared).read(output), samples={}, left_out={}, complete=False)
        if found != prepared:
            names = [k for k, v in vars(found).items() if v != getattr(prepared, k)]
            raise typer.BadParameter(
                f"{output.name} was begun with other pictures or settings ({', '.join(names)}): "
                "give these again, or another --output"
            )
        return
    note_left_out(output, plan.left_out, mode="w")
    prepared.write(output)


def note_left_out(output: Path, reasons: dict[str, str], *, mode: str = "a") -> None:
    """A line of JSON each; those that cannot be read also on the screen."""
    with (output / LEFT_OUT).open(mode, encoding="utf-8") as lines:
        for name, reason in reasons.items():
            lines.write(json.dumps({"name": name, "reason": reason}) + "\n")
            if reason.startswith("unreadable"):
                typer.echo(f"{name!r}: {reason}", err=True)


def finish(output: Path, prepared: Prepared) -> None:
    """Count what is there and call it complete."""
    lines = map(json.loads, (output / LEFT_OUT).read_text(encoding="utf-8").splitlines())
    reasons = {line["name"]: line["reason"].split(":", 1)[0] for line in lines}
    left_out = dict(Counter(reasons.values()))
    samples = {split: count_samples(output, split) for split in prepared.pictures}
    replace(prepared, samples=samples, left_out=left_out, complete=True).write(output)
    typer.echo(f"samples: {samples}; pictures left out: {left_out}, see {LEFT_OUT}")


def count_samples(output: Path, split: str) -> int:
    """How many there are in the shards of ``split``, by the names in them."""
    total = 0
    for path in shard_paths(output, split):
        with tarfile.open(path) as tar:
            total += sum(name.endswith(f".{BLOB}") for name in tar.getnames())
    return total


def write_split(
    output: Path,
    split: str,
    pictures: Sequence[tuple[Seen, Path]],
    prepared: Prepared,
    encoding: Encoding,
    *,
    workers: int,
) -> None:
    """The shards of ``split`` that are not there yet."""
    size = prepared.shard_pictures
    for number in range(-(-len(pictures) // size)):
        path = output / f"{split}-{number:06d}.tar"
        if path.is_file():
            continue
        squares = Squares(pictures[number * size :][:size], prepared.side_px, prepared.crops)
        stream = keyed_squares(squares, number * size, workers, partial(note_left_out, output))
        count = write_shard(path, encoding(stream))
        typer.echo(f"{path.name}: {count} samples")
