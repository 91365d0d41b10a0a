"""``camouflage evaluate``: what is imported here at once is light, for the help."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camouflage.terminal import leave

if TYPE_CHECKING:
    from collections.abc import Callable

    from camouflage.evaluate.evaluation import Evaluation


def evaluate(
    originals: Annotated[
        Path,
        typer.Argument(help="A folder a person, or a flat folder and --identities FILE.json."),
    ],
    methods: Annotated[
        list[str],
        typer.Argument(
            help="NAME=FOLDER of a tool's results, under the originals' names. A name again is the "
            "same tool with another seed, for the diversity."
        ),
    ],
    report: Annotated[
        Path, typer.Option("--report", "-o", help="Folder for report.html and results.json.")
    ],
    identities: Annotated[
        Path | None, typer.Option(help="JSON: from a file's name or stem to the person.")
    ] = None,
    photos_per_person: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Results are expected for the first so many of each person; all are if not given. "
            "The attacker has every photograph.",
        ),
    ] = None,
    recogniser: Annotated[
        list[str] | None,
        typer.Option(
            help="dlib (also the gate's), FAMILY=FILE.onnx (arcface, adaface, facenet, "
            "mobilefacenet), FILE.yaml[=FILE.onnx] with input size, normalisation and alignment, "
            "clip=FOLDER. Again for more; dlib if not given."
        ),
    ] = None,
    attributes: Annotated[
        list[str] | None,
        typer.Option(help="FILE.yaml[=FILE.onnx] of a network that reads age, sex, emotion, ..."),
    ] = None,
    groups: Annotated[
        Path | None, typer.Option(help="JSON: from a person or a photograph to a group's label.")
    ] = None,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines/--no-baselines",
            help="Blur, pixels, black, one face for all, random faces in the same run.",
        ),
    ] = True,
    pictures: Annotated[
        bool,
        typer.Option("--pictures/--no-pictures", help="The report shows originals and results."),
    ] = True,
) -> None:
    """How well are people hidden by any tool, and what is kept?

    Missing, empty and unreadable results count as re-identified; the optimistic number stands
    beside. Before anything is believed, unchanged pictures must be re-identified and strangers
    must not. DIR gets report.html (one page, with pictures of the ORIGINALS unless --no-pictures),
    results.json, results.md and cache.npz (rows of faces: biometric data, mode 0600).

    Exit status: 0 measured, 1 a control failed or a file could not be written, 2 wrong usage.
    """
    from camouflage.errors import CamouflageError, SettingError
    from camouflage.evaluate.evaluation import Settings
    from camouflage.evaluate.evaluation import evaluate as measure

    try:
        folders = _folders(methods, originals, report)
        settings = Settings(
            originals=originals,
            methods=folders,
            identities=identities,
            photos_per_person=photos_per_person,
            recognisers=tuple(recogniser or ("dlib",)),
            attributes=tuple(attributes or ()),
            groups=groups,
            with_baselines=baselines,
            cache=report / "cache.npz",
        )
        report.mkdir(parents=True, exist_ok=True)
        with _progress() as tell:
            found = measure(settings, tell=tell)
    except (SettingError, OSError) as error:
        leave(_text(error), status=2)
    except CamouflageError as error:
        leave(str(error), status=1)
    try:
        command = published("camouflage", *sys.argv[1:])
        write(found, report, command=command, pictures=pictures)
    except (CamouflageError, OSError) as error:
        leave(_text(error), status=1)
    _summarize(found.results)
    typer.echo(f"report: {report / 'report.html'}", err=True)


def published(*arguments: str) -> str:
    """A command as it may be published: of an absolute path the last name alone."""

    def without_folders(argument: str) -> str:
        parts = argument.split("=")
        return "=".join(Path(part).name if Path(part).is_absolute() else part for part in parts)

    return shlex.join(map(without_folders, arguments))


def write(found: Evaluation, folder: Path, *, command: str, pictures: bool) -> None:
    """``report.html``, ``results.json`` and ``results.md``, only for the owner to read."""
    from camouflage.evaluate.report import html, pictures_of
    from camouflage.evaluate.tables import markdown
    from camouflage.write import write_bytes

    page = html(found.results, pictures_of(found) if pictures else None)
    files = {
        "results.json": found.json(),
        "results.md": markdown(found.results, command=command),
        "report.html": page,
    }
    for name, text in files.items():
        write_bytes(text.encode(), folder / name, overwrite=True, private=True)


def _folders(methods: Sequence[str], originals: Path, report: Path) -> dict[str, list[Path]]:
    from camouflage.errors import SettingError

    found: dict[str, list[Path]] = {}
    for text in methods:
        name, _, folder = text.rpartition("=")  # a name may be KEY=VALUE itself
        if not name or not folder:
            raise SettingError(f"{text}: expected NAME=FOLDER")
        path = Path(folder)
        if path.resolve() == originals.resolve():
            raise SettingError(f"{name}: its results are the originals themselves")
        found.setdefault(name, []).append(path)
    for path in [originals, *(path for paths in found.values() for path in paths)]:
        if report.resolve().is_relative_to(path.resolve()):
            raise SettingError(f"the report would lie in {path.name}: expected another folder")
    return found


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    tasks: dict[str, Any] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def tell(name: str, done: int, of: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=of)
            bar.update(tasks[name], completed=done)

        yield tell


def _summarize(results: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    names = [encoder["name"] for encoder in results["encoders"]]
    table = Table("method", "written", "face found", *(f"recognised: {n}" for n in names), "shift")
    for method, found in results["methods"].items():
        rates = [
            percent(found["reidentification"][n]["other_photos"]["worst"], found, n) for n in names
        ]
        shift = found["likeness"].get("shift", {}).get("mean")
        table.add_row(
            method,
            f"{found['states'].get('written', 0)} of {found['attempted']}",
            _share(found["likeness"]["found"]["mean"]),
            *rates,
            "–" if shift is None else f"{shift:.3f}",
        )
    Console().print(table)


def percent(interval: dict[str, Any], found: dict[str, Any], encoder: str) -> str:
    """The headline with its interval; R1-closed where people have one photograph only."""
    if interval["mean"] is None:
        closed = found["reidentification"][encoder]["closed"]["worst"]
        return f"closed {_share(closed['mean'])}"
    return f"{_share(interval['mean'])} [{_share(interval['low'])}, {_share(interval['high'])}]"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _text(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
