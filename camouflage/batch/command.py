"""A run of the command: jobs under a progress bar, its recipe beside the results, and its report.

torch and what needs it are imported when a picture is about to be redrawn.
"""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from camouflage.batch.folder import run_folder
from camouflage.batch.jobs import Job
from camouflage.batch.manifest import Manifest
from camouflage.batch.outcome import Outcome
from camouflage.batch.report import Report, outcome_json, people_lines
from camouflage.errors import CamouflageError, SettingError
from camouflage.recipe import Recipe, preset_names
from camouflage.subjects.boxes_file import Places
from camouflage.terminal import shown
from camouflage.weights import weights_of
from camouflage.write import write_bytes

if TYPE_CHECKING:
    from camouflage.anonymizer import Anonymizer

RECIPE = "recipe.yaml"


def run_jobs(
    jobs: Sequence[Job], settings: Recipe, output: Path, *, seed: str | None, sheet: bool,
    overwrite: bool, passed_over: int = 0, tell: Callable[[str], None] | None = None,
    places: Places | None = None, boxes: bool = False, masks: bool = False,
    maps: bool = False, keep_times: bool = False, placing: Mapping[str, Any] | None = None,
) -> Report:  # fmt: skip
    """Do the jobs under a progress bar; ``tell`` gets a line of JSON for each, and a last one.

    ``placing``: where the model runs, as keywords of `Anonymizer.from_recipe`.

    What ends the run early is in the report, but for `SettingError`, which is raised.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Progress(*columns, TimeRemainingColumn(), transient=True, console=Console(stderr=True))
    outcomes: list[Outcome] = []
    stop: dict = {}
    try:
        with terminable(), Manifest.open(output / "manifest.jsonl", key=seed) as manifest:
            write_recipe(settings, output)
            anonymizer = load_anonymizer(settings, **(placing or {}))
            weights = weights_of(
                settings.model, start_pool=settings.pool, upscaler=settings.upscaler
            )
            with bar:
                task = bar.add_task("anonymizing", total=len(jobs))
                for outcome in run_folder(
                    anonymizer, jobs, output=output, manifest=manifest, weights=weights,
                    sheet=sheet, overwrite=overwrite,
                    places=places, boxes=boxes, masks=masks, maps=maps,
                    keep_times=keep_times,
                ):  # fmt: skip
                    outcomes.append(outcome)
                    if tell:
                        tell(outcome_json(outcome))
                    bar.advance(task)
    except SettingError:
        raise
    except CamouflageError as error:
        stop = {"error": type(error).__name__, "message": str(error), "ended": 1}
    except KeyboardInterrupt as error:
        status = 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)
        message = "interrupted; run the same command again to go on"
        stop = {"error": "Interrupted", "message": message, "ended": status}
    report = Report(outcomes=tuple(outcomes), inputs=len(jobs), passed_over=passed_over, **stop)
    if tell:
        tell(report.json())
    return report


def load_anonymizer(settings: Recipe, **placing: Any) -> Anonymizer:
    """With its weights, without a progress bar of their own."""
    from diffusers.utils.logging import disable_progress_bar

    from camouflage.anonymizer import Anonymizer

    disable_progress_bar()  # of loading: the pictures have one of their own
    return Anonymizer.from_recipe(settings, **placing)


def load_places(boxes: Path | None, names: Sequence[str], output: Path, *, detect: bool) -> Places:
    """What ``--boxes`` and ``--no-detect`` say. Raises `SettingError`: they cannot be meant."""
    if boxes is not None:
        if boxes.resolve().is_relative_to(output.resolve()):
            raise SettingError(
                f"{boxes.name} is in the output folder, whose files a run replaces: "
                "copy it, and the masks it names, to another folder"
            )
        return Places.load(boxes, names, detect=detect)
    if not detect:
        raise SettingError("--no-detect needs --boxes: else nobody says where people are")
    return Places()


def write_recipe(settings: Recipe, output: Path) -> None:
    """Beside the results, unless it stands there already, perhaps with somebody's comments."""
    path = output / RECIPE
    try:
        if path.exists() and Recipe.load(path) == settings:
            return
    except SettingError:
        pass  # of another version, or damaged
    write_bytes(settings.dump().encode(), path, overwrite=True)


def keep_users_recipe(recipe: str | None, settings: Recipe, output: Path) -> None:
    """Raise `SettingError` where a recipe that the user wrote would be replaced by a changed one.

    ``recipe``: the preset or file that was asked for, if one was. ``settings``: what the options
    made of it.
    """
    path = output / RECIPE
    if recipe is None or recipe in preset_names() or not path.exists():
        return
    if path.samefile(recipe) and Recipe.load(recipe) != settings:
        raise SettingError(
            "the run's recipe would be written over your recipe.yaml: use another output folder, "
            "or write the options into it"
        )


class Terminated(KeyboardInterrupt):
    """SIGTERM: as Ctrl-C, with an exit status of its own."""


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM is an exception meanwhile, so that nothing is left half done."""

    def stop(*_: object) -> NoReturn:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def machine_lines() -> Iterator[Callable[[str], None]]:
    """Whatever is printed meanwhile goes to stderr, but for what the yielded function gets."""
    stdout = sys.stdout
    with redirect_stdout(sys.stderr):
        yield lambda line: print(line, file=stdout, flush=True)


def print_report(report: Report) -> None:
    """For people: what has no result and why, counts, and on stderr what ended the run."""
    console = Console()
    for line in people_lines(report.outcomes):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    resumed = Counter(outcome.state for outcome in report.outcomes if outcome.resumed)
    table = Table("state", "pictures", "of an earlier run")
    for state, count in report.counts.items():
        table.add_row(state, str(count), str(resumed[state]) if resumed[state] else "")
    console.print(table)
    for reason, count in report.redone.items():
        console.print(f"done again: {count}, because: {reason}")
    if report.ended:
        print(f"camouflage: {shown(report.message)}", file=sys.stderr)
        print(f"{len(report.outcomes)} of {report.inputs} inputs were done", file=sys.stderr)
