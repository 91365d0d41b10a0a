"""``camouflage pool``: what is imported here at once is light, for the help."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from camouflage.terminal import leave, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from camouflage.annotators.landmarks import LandmarkNet
    from camouflage.swap.build import Built, Detector

app = typer.Typer(
    name="pool",
    help="Make the pool of synthetic faces from which people get theirs.",
    pretty_exceptions_enable=False,
)


class Suffix(str, Enum):
    """Files of a pool."""

    webp = "webp"
    png = "png"


class Encoder(Protocol):
    """A network that embeds crops of faces, and the sha256 of its weights."""

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    def __call__(self, crops: Sequence[NDArray[np.uint8]], /) -> NDArray: ...


@app.callback()
def pool() -> None:
    """Make the pool of synthetic faces from which people get theirs."""


@app.command()
def build(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of pictures of people who do not exist.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to make.")],
    side: Annotated[int, typer.Option(min=32, max=4096, help="Of the crops, in px.")] = 512,
    encoder: Annotated[str, typer.Option(help="The network that says who is near whom.")] = "farl",
    files: Annotated[
        Suffix, typer.Option("--format", help="webp is nearly lossless, png is.")
    ] = Suffix.webp,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a pool.")] = False,
) -> None:
    """The largest face of each picture, cut, embedded and indexed.

    Use synthetic faces alone: whoever is in the pool will be seen in the results. What gives no
    face is named, with the reason; of faces that are nearly the same one is taken.

    Exit status: 0 the pool is written, 1 it is not, 2 wrong usage.
    """
    from camouflage.errors import CamouflageError, SettingError
    from camouflage.swap.pool_writer import require_free

    try:
        pictures = _pictures(folders, output)
        require_free(output, overwrite=overwrite)
        network = load_encoder(encoder)
    except SettingError as error:
        leave(str(error), status=2)
    except CamouflageError as error:
        leave(str(error), status=1)
    try:
        built = _built(pictures, network, output, side=side, suffix=files, overwrite=overwrite)
    except (CamouflageError, OSError) as error:
        leave(getattr(error, "strerror", None) or str(error), status=1)
    _summarize(built)


def _built(
    pictures: Sequence[Path],
    encoder: Encoder,
    output: Path,
    *,
    side: int,
    suffix: Suffix,
    overwrite: bool,
) -> Built:
    from camouflage.swap.build import build_pool

    landmarker, detector = load_landmarker(), load_detector()
    with _progress(len(pictures)) as tell:
        return build_pool(
            pictures,
            output=output,
            side=side,
            landmarker=landmarker,
            embed=encoder,
            detector=detector,
            encoder_name=encoder.name,
            encoder_sha256=encoder.sha256,
            suffix=".png" if suffix is Suffix.png else ".webp",
            overwrite=overwrite,
            tell=tell,
        )


def load_encoder(name: str) -> Encoder:
    """The encoder of that name; its network is only imported here."""
    from camouflage.pipelines.light_encoder import face_embedder

    return face_embedder(name)


def load_landmarker() -> LandmarkNet:
    """The network of the dense landmarks, of the model inside this package."""
    from camouflage.pipelines import BasePipeline

    return BasePipeline.from_pretrained("mini").landmarker


def load_detector() -> Detector:
    """What finds the faces."""
    from camouflage.subjects.faces import FaceDetector

    return FaceDetector()


def _pictures(folders: Sequence[Path], output: Path) -> list[Path]:
    """The pictures of the folders and below, each folder in the order of its names."""
    from camouflage.errors import SettingError
    from camouflage.listing import cannot_be_listed, is_picture

    found: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise SettingError(f"{folder.name}: expected a folder of pictures")
        if output.resolve().is_relative_to(folder.resolve()):
            raise SettingError(f"the pool would lie in {folder.name}: expected another folder")
        files = (
            Path(root) / name
            for root, _, names in os.walk(folder, onerror=cannot_be_listed)
            for name in names
        )
        found += sorted(path for path in files if is_picture(path))
    if not found:
        raise SettingError("there is no picture in what was given")
    return found


@contextmanager
def _progress(of: int) -> Iterator[Callable[[str, str], None]]:
    """A bar, and above it a line for each file that gives no face."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("faces", total=of)

        def tell(name: str, reason: str) -> None:
            if reason:
                bar.console.print(shown(f"left out {name}: {reason}"), markup=False, soft_wrap=True)
            bar.advance(task)

        yield tell


def _summarize(built: Built) -> None:
    typer.echo(
        f"{built.count} faces, {built.doubles} left out as doubles, "
        f"{len(built.skipped)} pictures without a usable face"
    )
