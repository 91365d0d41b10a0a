"""The command: ``camouflage anonymize | demo | models``.

Exit status: 0 all done, 1 something ended as nobody, refused or failed, 2 wrong usage. torch and
what needs it are imported when a picture is about to be redrawn, not for the help.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from camouflage import __version__

if TYPE_CHECKING:
    from camouflage.anonymizer import Anonymizer
    from camouflage.batch import Outcome
    from camouflage.recipe import Recipe

app = typer.Typer(
    name="camouflage",
    help="Replace the people in photographs by people who do not exist.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Model = Annotated[
    str | None, typer.Option(help="A size (mini) or a model's folder; the recipe's if not given.")
]
Scale = Annotated[
    float | None,
    typer.Option(
        "--anonymization-scale", "-a", min=0,
        help="0 gives the original back, above 1 pushes away from it.",
    ),
]  # fmt: skip
Strength = Annotated[
    float | None, typer.Option(help="How much of the noise schedule is run, 0 to 1.")
]
Steps = Annotated[int | None, typer.Option(min=1, help="Denoising steps.")]
Seed = Annotated[
    str | None,
    typer.Option(
        help="The key of the noise: a number or a text. Random if not given; an output folder's "
        "manifest keeps it, and the next run into that folder takes it."
    ),
]
RecipeOption = Annotated[
    str, typer.Option("--recipe", help="The name of a preset or a recipe's YAML file.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files in the output.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"camouflage {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Show the version and leave."
        ),
    ] = False,
) -> None:
    """Replace the people in photographs by people who do not exist."""
    del version  # its callback has shown it


@app.command()
def anonymize(
    inputs: Annotated[list[Path], typer.Argument(help="Pictures and folders of pictures.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")],
    recipe: RecipeOption = "mini",
    model: Model = None,
    anonymization_scale: Scale = None,
    strength: Strength = None,
    steps: Steps = None,
    seed: Seed = None,
    on_nobody: Annotated[
        str | None,
        typer.Option(help="No person found: 'refuse' writes nothing, 'copy' a clean copy."),
    ] = None,
    sheet: Annotated[
        bool,
        typer.Option(
            "--sheet",
            help="Also write NAME.sheet.jpg, before | after. A sheet holds the ORIGINAL: "
            "keep it as you keep the original.",
        ),
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Anonymize pictures and folders; a folder's tree is kept.

    Every input ends as written, copied, nobody, refused or failed; only the first two leave a file.
    DIR/manifest.jsonl says what happened to each.
    """
    from camouflage.errors import SettingError

    changes = {
        "anonymization_scale": anonymization_scale,
        "strength": strength,
        "steps": steps,
        "on_nobody": on_nobody,
    }
    try:
        settings = _recipe(recipe, model=model, changes=changes)
        from camouflage.batch import find_jobs

        found = find_jobs(inputs, output=output, sheet=sheet)
    except SettingError as error:
        _leave(str(error), status=2)
    if found.passed_over:
        _say(f"{found.passed_over} files that are no pictures were passed over")
    outcomes = _run(found.jobs, settings, output, seed=seed, sheet=sheet, overwrite=overwrite)
    _summarize(outcomes)
    if any(outcome.state not in ("written", "copied") for outcome in outcomes):
        raise typer.Exit(1)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path(
        "camouflage-demo"
    ),
    model: Model = None,
    anonymization_scale: Scale = None,
    seed: Seed = None,
) -> None:
    """Anonymize a photograph of Eileen Collins (NASA, public domain) and show before | after."""
    import tempfile

    from camouflage.batch import Job
    from camouflage.errors import SettingError

    try:
        settings = _recipe(
            "mini", model=model, changes={"anonymization_scale": anonymization_scale}
        )
    except SettingError as error:
        _leave(str(error), status=2)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "astronaut.png"
        _save_astronaut(source)
        job = Job(source=source, relative=source.name)
        outcomes = _run([job], settings, output, seed=seed, sheet=True, overwrite=True)
    _summarize(outcomes)
    if outcomes[0].state != "written":
        raise typer.Exit(1)
    _say(f"before | after: {output / job.sheet}")


@app.command()
def models() -> None:
    """List the sizes of the model."""
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "what", "size", "here")
    table.add_row("tiny", "random weights, for tests; its results never pass", "0 MB", "yes")
    size_mb = _mini_megabytes()
    here = "yes" if size_mb else "no"
    table.add_row("mini", "faces at 128 px, on a CPU, offline", f"{size_mb:.0f} MB", here)
    table.add_row("FOLDER", "a pipeline saved by save_pretrained", "", "")
    Console().print(table)


def _recipe(name: str, *, model: str | None, changes: dict[str, object]) -> Recipe:
    from camouflage.recipe import Recipe

    given = {key: value for key, value in {"model": model, **changes}.items() if value is not None}
    return Recipe.load(name).changed(given)


def _run(
    jobs: list | tuple, settings: Recipe, output: Path, *, seed: str | None, sheet: bool,
    overwrite: bool,
) -> list[Outcome]:  # fmt: skip
    """Do the jobs under a progress bar. Leaves with status 1 if no model can be had."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from camouflage.batch import Manifest, run_folder
    from camouflage.errors import CamouflageError
    from camouflage.write import write_bytes

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    outcomes: list[Outcome] = []
    try:
        manifest = Manifest.open(output / "manifest.jsonl", key=seed)
        write_bytes(settings.dump().encode(), output / "recipe.yaml", overwrite=True)
        anonymizer = _anonymizer(settings)
        with Progress(*columns, TimeRemainingColumn(), transient=True) as progress:
            task = progress.add_task("anonymizing", total=len(jobs))
            for outcome in run_folder(
                anonymizer, jobs, output=output, manifest=manifest,
                weights=weights_of(settings.model), sheet=sheet, overwrite=overwrite,
            ):  # fmt: skip
                outcomes.append(outcome)
                progress.advance(task)
    except CamouflageError as error:
        _leave(str(error), status=1)
    return outcomes


def _anonymizer(settings: Recipe) -> Anonymizer:
    from diffusers.utils.logging import disable_progress_bar

    from camouflage.anonymizer import Anonymizer

    disable_progress_bar()  # of loading: the pictures have one of their own
    return Anonymizer.from_recipe(settings)


def _summarize(outcomes: list[Outcome]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from camouflage.batch import STATES

    console = Console()
    for outcome in outcomes:
        if outcome.state not in ("written", "copied"):
            console.print(
                f"{outcome.state:8} {escape(outcome.job.relative)}: {escape(outcome.message)}"
            )
    counts = Counter(outcome.state for outcome in outcomes)
    resumed = Counter(outcome.state for outcome in outcomes if outcome.resumed)
    table = Table("state", "pictures", "of an earlier run")
    for state in STATES:
        table.add_row(state, str(counts[state]), str(resumed[state]) if resumed[state] else "")
    console.print(table)


def _save_astronaut(path: Path) -> None:
    from PIL import Image
    from skimage.data import astronaut

    Image.fromarray(astronaut()).save(path)


def _mini_megabytes() -> float:
    from camouflage.errors import WeightsError
    from camouflage.weights import mini_folder

    try:
        files = list(mini_folder().rglob("*.safetensors"))
    except WeightsError:
        return 0.0
    return sum(file.stat().st_size for file in files) / 1e6


def weights_of(model: str) -> str:
    """What the manifest says of the weights: a hash; the name itself for ``tiny``."""
    from camouflage.weights import folder_sha256, local_folder

    return model if model == "tiny" else folder_sha256(local_folder(model))


def _say(message: str) -> None:
    typer.echo(message, err=True)


def _leave(message: str, *, status: int) -> NoReturn:
    _say(f"camouflage: {message}")
    raise typer.Exit(status)


def main() -> None:
    """The console script."""
    app()
