"""The command: ``camouflage anonymize | demo | audit | evaluate | models | pool``.

Exit status: 0 all done, 1 something ended as nobody, refused or failed, or the run could not go on,
2 wrong usage, 130 interrupted (Ctrl-C), 143 terminated. torch and what needs it are imported when a
picture is about to be redrawn, not for the help.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camouflage import __version__
from camouflage.evaluate.command import evaluate
from camouflage.swap.command import app as pool
from camouflage.terminal import leave, say, shown, wrong_usage_is_2
from camouflage.weights.command import app as models

if TYPE_CHECKING:
    from camouflage.audit.folders import Audited
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
    str | None,
    typer.Option(
        "--recipe",
        help="The name of a preset or a recipe's YAML file. Not given: the preset of the --model, "
        "else mini.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files in the output.")]
JsonLines = Annotated[
    bool,
    typer.Option(
        "--json",
        help="For machines: stdout has one JSON object a line and nothing else. One for each input "
        "as it is done: input, state, output, error (type, message), resumed, redone (what changed "
        "since an earlier run), faces, seconds. The last has only summary: counts by state, error "
        "and exit_status. Wrong usage gives none. What people read goes to stderr.",
    ),
]


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
    recipe: RecipeOption = None,
    model: Model = None,
    scope: Annotated[
        str | None,
        typer.Option(help="What is redrawn: 'faces', 'people' or the whole 'scene' (sd15)."),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(help="What the pictures show, in the place of a caption (sd15)."),
    ] = None,
    anonymization_scale: Scale = None,
    strength: Strength = None,
    steps: Steps = None,
    seed: Seed = None,
    on_nobody: Annotated[
        str | None,
        typer.Option(help="No person found: 'refuse' writes nothing, 'copy' a clean copy."),
    ] = None,
    on_refusal: Annotated[
        str | None,
        typer.Option(
            help="The audit does not pass after every attempt: 'refuse' writes nothing, "
            "'obfuscate' covers the faces that failed."
        ),
    ] = None,
    sheet: Annotated[
        bool,
        typer.Option(
            "--sheet",
            help="Also write NAME.sheet.jpg, before | after. A sheet holds the ORIGINAL: "
            "keep it as you keep the original.",
        ),
    ] = False,
    boxes: Annotated[
        Path | None,
        typer.Option(
            "--boxes",
            help='JSON, {"NAME": [{"box_xyxy": [x0, y0, x1, y1]} or {"mask": "FILE.png"}, ...]}: '
            "places to redraw beside the faces that are found. An empty list says that nobody "
            "is in the picture.",
        ),
    ] = None,
    detect: Annotated[
        bool,
        typer.Option(
            "--detect/--no-detect",
            help="Look for faces. Without it, pictures that --boxes does not name end as nobody "
            "(scope faces; scenes and bodies are redrawn in any case).",
        ),
    ] = True,
    write_boxes: Annotated[
        bool,
        typer.Option(
            "--write-boxes", help="Also write NAME.boxes.json: what was treated, as --boxes reads."
        ),
    ] = False,
    write_masks: Annotated[
        bool,
        typer.Option(
            "--write-masks", help="Also write NAME.mask.png: 255 where it was painted, else 0."
        ),
    ] = False,
    show_maps: Annotated[
        bool,
        typer.Option(
            "--show-maps",
            help="Also write NAME.maps.jpg: what was redrawn, the face over which the noise was "
            "laid, if there was one, and the control maps. It holds the ORIGINAL: keep it as you "
            "keep the original.",
        ),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(help="Of torch: cpu, cuda, cuda:1. A GPU for sd15 if there is one."),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16; bfloat16 on a GPU.")
    ] = None,
    low_memory: Annotated[
        bool,
        typer.Option(
            "--low-memory", help="Keep all but the ControlNets on the GPU only while they work."
        ),
    ] = False,
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Compile the networks: minutes at the start, then faster. For long runs.",
        ),
    ] = False,
    keep_times: Annotated[
        bool,
        typer.Option(
            "--keep-times", help="Give results the file times of their inputs: when it was taken."
        ),
    ] = False,
    overwrite: Overwrite = False,
    json_lines: JsonLines = False,
) -> None:
    """Anonymize pictures and folders; a folder's tree is kept.

    Every input ends as written, copied, nobody, refused or failed; only the first two leave a file.
    DIR/manifest.jsonl says what happened to each. The same command again goes on after a stop, and
    does again what changed.

    Exit status: 0 all written or copied, 1 some not or the run could not go on, 2 wrong usage,
    130 and 143 interrupted.
    """
    from camouflage.batch import command, find_jobs

    changes = {
        "scope": scope,
        "prompt": prompt,
        "anonymization_scale": anonymization_scale,
        "strength": strength,
        "steps": steps,
        "on_nobody": on_nobody,
        "on_refusal": on_refusal,
    }
    with wrong_usage_is_2():
        settings = _recipe(recipe, model=model, changes=changes)
        command.keep_users_recipe(recipe, settings, output)
        found = find_jobs(
            inputs, output=output, sheet=sheet, boxes=write_boxes, masks=write_masks, maps=show_maps
        )
        names = [job.relative for job in found.jobs]
        places = command.load_places(boxes, names, output, detect=detect)
    if found.passed_over:
        say(f"{found.passed_over} files that are no pictures were passed over")
    if not found.jobs:
        say("no pictures were found")
    placing: dict[str, Any] = {
        "device": device,
        "dtype": dtype,
        "low_memory": low_memory,
        "compiled": compiled,
    }
    placing = {name: value for name, value in placing.items() if value}
    if placing:
        from camouflage.placing import place_of

        with wrong_usage_is_2():
            place_of(settings, **placing)
    with (
        wrong_usage_is_2(),
        command.machine_lines() if json_lines else nullcontext() as tell,
    ):
        report = command.run_jobs(
            found.jobs, settings, output, seed=seed, sheet=sheet, overwrite=overwrite,
            passed_over=found.passed_over, tell=tell, places=places, boxes=write_boxes,
            masks=write_masks, maps=show_maps, keep_times=keep_times,
            placing=placing,
        )  # fmt: skip
        command.print_report(report)
    if report.exit_status:
        raise typer.Exit(report.exit_status)


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

    from camouflage.batch import Job, command

    changes = {"anonymization_scale": anonymization_scale}
    with wrong_usage_is_2(), tempfile.TemporaryDirectory() as folder:
        settings = _recipe(None, model=model, changes=changes)
        source = Path(folder) / "astronaut.png"
        _save_astronaut(source)
        job = Job(source=source, relative=source.name)
        report = command.run_jobs([job], settings, output, seed=seed, sheet=True, overwrite=True)
    command.print_report(report)
    if report.exit_status:
        raise typer.Exit(report.exit_status)
    say(f"before | after: {output / job.sheet}")


@app.command()
def audit(
    originals: Annotated[Path, typer.Argument(help="A picture, or a folder of pictures.")],
    results: Annotated[Path, typer.Argument(help="What any tool made of it, or of them.")],
    threshold: Annotated[
        float, typer.Option(help="dlib distance that original and result must exceed, (0, 2].")
    ] = 0.6,
    require_all: Annotated[
        bool, typer.Option("--require-all", help="An original without a result is not passed.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Write all that was judged as JSON.")] = None,
    json_lines: Annotated[
        bool,
        typer.Option("--json", help="stdout has one JSON object a picture, the last is a summary."),
    ] = False,
) -> None:
    """Is anybody of the originals still to be recognised in the results of any tool?

    Files of one relative name are compared, with another suffix too. Every original ends as passed,
    failed, unreadable, nobody (no face in it) or missing (no result); a result without an original
    is unpaired. Exit status: 0 all passed, nobody or missing, 1 something did not, 2 wrong usage.
    """
    from rich.console import Console
    from rich.progress import track

    from camouflage.audit import Recogniser
    from camouflage.audit.folders import audit_pairs, summary
    from camouflage.audit.pairs import find_pairs
    from camouflage.errors import CamouflageError, SettingError
    from camouflage.subjects.faces import FaceDetector
    from camouflage.write import write_bytes

    with wrong_usage_is_2():
        pairs = find_pairs(originals, results)
        if not 0 < threshold <= 2:
            raise SettingError(f"expected a threshold in (0, 2], got {threshold}")
        if report and report.suffix.lower() != ".json":
            raise SettingError(f"expected a report named .json, got {report.name}")
    found: list[Audited] = []
    try:
        tools = {"recogniser": Recogniser(), "detector": FaceDetector()}
        judged = audit_pairs(pairs, threshold=threshold, **tools)
        bar = Console(stderr=True)
        for one in track(judged, "auditing", len(pairs), console=bar, transient=True):
            found.append(one)
            if json_lines:
                typer.echo(json.dumps(one.as_dict()))
        end = summary(found, threshold=threshold, require_all=require_all)
        if report:
            pictures = [one.as_dict() for one in found]
            text = json.dumps({"summary": end, "pictures": pictures}, indent=1)
            write_bytes(text.encode(), report, overwrite=True, private=True)
    except CamouflageError as error:
        leave(str(error), status=1)
    if json_lines:
        typer.echo(json.dumps({"summary": end}))
    else:
        _summarize_audit(found)
    if not end["passed"]:
        raise typer.Exit(1)


app.command()(evaluate)
app.add_typer(models)
app.add_typer(pool)


def _recipe(name: str | None, *, model: str | None, changes: Mapping[str, object]) -> Recipe:
    from camouflage.placing import preset_of
    from camouflage.recipe import Recipe, preset_names

    given = {key: value for key, value in {"model": model, **changes}.items() if value is not None}
    if name is None:
        name = model if model in preset_names() else preset_of(model or "mini")
    return Recipe.load(name).changed(given)


def _summarize_audit(found: Sequence[Audited]) -> None:
    from rich.console import Console
    from rich.table import Table

    from camouflage.audit.folders import STATES

    console = Console()
    for one in found:
        lines = [*one.reasons, *(f"warning: {warning}" for warning in one.warnings)]
        for line in lines:
            name = one.pair.result_name or one.pair.name
            text = f"{one.state:10} {shown(name)}: {shown(line)}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)
    counts = Counter(one.state for one in found)
    table = Table("state", "pictures")
    for state in STATES:
        table.add_row(state, str(counts[state]))
    console.print(table)


def _save_astronaut(path: Path) -> None:
    from PIL import Image
    from skimage.data import astronaut

    Image.fromarray(astronaut()).save(path)


def main() -> None:
    """The console script."""
    app()
