"""Are people recognised after anonymization, and what is kept of them?

    python -m benchmarks.reidentify PHOTOS_BY_PERSON --output DIR --sweep anonymization_scale=0,1

``PHOTOS_BY_PERSON`` has a folder a person. The first photographs of each are anonymized with the
gate off (what the model does, not what the audit refuses), each recipe into a folder of
``DIR/results``, where a stopped run goes on; then everything is measured by `camouflage.evaluate`.
Recognisers other than dlib (the gate's own) are converted by `benchmarks.tfjs`, or are any ONNX.

Writes ``report.html``, ``results.json``, ``results.md``, ``cache.npz`` and the results into DIR,
which shows originals: keep it where the photographs may be. ``--table FILE`` writes the table
without pictures, for the repository.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.progress import track

from camouflage import __version__
from camouflage.anonymizer import Anonymizer
from camouflage.attempts import paste_order
from camouflage.compose import compose
from camouflage.errors import CamouflageError, SettingError
from camouflage.evaluate.command import published, write
from camouflage.evaluate.dataset import Dataset, Photo
from camouflage.evaluate.evaluation import Settings, evaluate
from camouflage.evaluate.tables import markdown
from camouflage.picture import Picture
from camouflage.recipe import Recipe
from camouflage.weights import weights_of
from camouflage.write import write_bytes, write_picture

AT_ONCE = 16
HEADER = """# Results

Made by the command below, and written over by it. Absolute paths are shortened to names."""
KEY = "benchmark"
"""The noise of every run, so that two runs can be compared; further seeds count up behind it."""


def results_folder(output: Path, recipe: Recipe, key: str, *, gate: bool) -> Path:
    """One for all that decides the pixels, so that no result of another model is taken for ours."""
    decides = [
        recipe.sha256,
        weights_of(recipe.model, start_pool=recipe.pool, upscaler=recipe.upscaler),
        __version__,
        key,
        str(gate),
    ]
    return output / "results" / hashlib.sha256(" ".join(decides).encode()).hexdigest()[:16]


def make_results(
    anonymizer: Anonymizer, photos: Sequence[Photo], folder: Path, *, gate: bool, key: str = KEY
) -> None:
    """A PNG for each photograph that has none yet; what fails or is refused leaves no file."""
    missing = [p for p in photos if not result_path(folder, p).exists()]
    for at in track(range(0, len(missing), AT_ONCE), folder.name, transient=True):
        some = missing[at : at + AT_ONCE]
        (_audited if gate else _redrawn)(anonymizer, some, folder, key)


def result_path(folder: Path, photo: Photo) -> Path:
    """Where the result of a photograph lies."""
    return (folder / photo.name).with_suffix(".png")


def _redrawn(anonymizer: Anonymizer, photos: Sequence[Photo], folder: Path, key: str) -> None:
    """The pipeline and the paste, first attempt, nothing audited; many pictures a batch."""
    pictures = [Picture.open(photo.path) for photo in photos]
    faces = [anonymizer.detector.detect(picture.pixels) for picture in pictures]
    subjects = [anonymizer.subjects(p, f) for p, f in zip(pictures, faces, strict=True)]
    drawn = iter(anonymizer.redraw([s for some in subjects for s in some], key))
    for photo, picture, found, some in zip(photos, pictures, faces, subjects, strict=True):
        if not found:
            continue  # the original is never a result: it counts as missing
        mine = [next(drawn) for _ in some]
        patches = [some[i].patch(mine[i]) for i in paste_order(found)]
        write_picture(compose(picture.pixels, patches)[0], result_path(folder, photo))


def _audited(anonymizer: Anonymizer, photos: Sequence[Photo], folder: Path, key: str) -> None:
    for photo in photos:
        try:
            pixels = anonymizer(photo.path, seed=key).pixels
        except CamouflageError:
            continue  # no result: counted as re-identified
        write_picture(pixels, result_path(folder, photo))


def parse_sweep(text: str) -> dict[str, list[Any]]:
    """``"key=1,2"`` to ``{"key": [1, 2]}``; values are read as YAML."""
    key, equals, values = text.partition("=")
    if not equals or not key or not values:
        raise SettingError(f"expected KEY=VALUE,VALUE..., got {text!r}")
    return {key: [yaml.safe_load(value) for value in values.split(",")]}


def recipes(base: Recipe, sweeps: Sequence[str]) -> dict[str, Recipe]:
    """A name and a recipe for each value of each sweep; a dot goes into a mapping.

    ``control_weights.lineart=0`` changes one weight.
    """
    found = {}
    for sweep in sweeps:
        for key, values in parse_sweep(sweep).items():
            for value in values:
                found[f"{key}={value}"] = base.changed(_change(base, key, value))
    return found


def _change(base: Recipe, key: str, value: Any) -> dict[str, Any]:
    outer, _, inner = key.partition(".")
    if inner:
        return {outer: {**getattr(base, outer, {}), inner: float(value)}}
    wants_float = isinstance(getattr(base, key, None), float) and isinstance(value, int)
    return {key: float(value) if wants_float else value}


def main(
    photos: Annotated[Path, typer.Argument(help="A folder with a folder of photographs a person.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")],
    recipe: Annotated[str, typer.Option(help="A preset's name or a recipe's file.")] = "mini",
    model: Annotated[str | None, typer.Option(help="Another model than the recipe's.")] = None,
    photos_per_person: Annotated[int, typer.Option(min=1, help="Anonymized, of each.")] = 2,
    sweep: Annotated[
        list[str] | None, typer.Option(help="A setting and its values: KEY=VALUE,VALUE.")
    ] = None,
    gate: Annotated[bool, typer.Option("--gate", help="Add a row with the audit on.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of the recipe itself.")] = 1,
    recogniser: Annotated[
        list[str] | None, typer.Option(help="As of `camouflage evaluate`.")
    ] = None,
    attributes: Annotated[
        list[str] | None, typer.Option(help="As of `camouflage evaluate`.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="Also write the table, without any picture, here.")
    ] = None,
) -> None:
    """Re-identification and likeness of a recipe and of variants of it, beside the baselines."""
    base = Recipe.load(recipe)
    base = base if model is None else base.changed({"model": model})
    probes = Dataset.load(photos).probes(photos_per_person)
    first = Anonymizer.from_recipe(base)
    methods: dict[str, list[Path]] = {}
    ours = [("recipe", base, f"{KEY}{i or ''}") for i in range(seeds)]
    ours += [(name, one, KEY) for name, one in recipes(base, sweep or []).items()]
    for name, settings, key in ours:
        folder = results_folder(output, settings, key, gate=False)
        make_results(_like(first, settings), probes, folder, gate=False, key=key)
        methods.setdefault(name, []).append(folder)
    if gate:
        folder = results_folder(output, base, KEY, gate=True)
        make_results(first, probes, folder, gate=True)
        methods["recipe, gate on"] = [folder]
    found = evaluate(
        Settings(
            originals=photos,
            methods=methods,
            photos_per_person=photos_per_person,
            recognisers=tuple(recogniser or ["dlib"]),
            attributes=tuple(attributes or []),
            cache=output / "cache.npz",
        ),
        tell=lambda name, done, of: typer.echo(f"{name}: {of}") if done == of else None,
    )
    command = published("python", "-m", "benchmarks.reidentify", *sys.argv[1:])
    write(found, output, command=command, pictures=True)
    text = f"{HEADER}\n\n{markdown(found.results, command=command)}"
    if table is not None:
        write_bytes(text.encode(), table, overwrite=True)
    typer.echo(text)


def _like(first: Anonymizer, settings: Recipe) -> Anonymizer:
    """Another recipe on the same networks."""
    if settings.model != first.recipe.model:
        return Anonymizer.from_recipe(settings)
    same = settings.detection_score == first.recipe.detection_score
    return Anonymizer(
        settings,
        pipeline=first.pipeline,
        detector=first.detector if same else None,
        recogniser=first.recogniser,
    )


if __name__ == "__main__":
    typer.run(main)
