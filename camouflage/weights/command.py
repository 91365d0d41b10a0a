"""``camouflage models``: what is imported here at once is light, for the help."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camouflage.terminal import leave, say, wrong_usage_is_2

if TYPE_CHECKING:
    from camouflage.weights.entry import Entry

app = typer.Typer(
    name="models",
    help="List, fetch, verify and convert the weights that the models are made of.",
    pretty_exceptions_enable=False,
)

Names = Annotated[
    list[str], typer.Argument(help="Names in the list, or groups: sd15, annotators, scene, ...")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="stdout has one JSON object for each, and nothing else.")
]

SIZES = {
    "tiny": "random weights, for tests; its results never pass",
    "mini": "faces at 128 px, and upscaled to 256, on a CPU, offline; inside this package",
    "mini-light": "the same by CAMOUFLaGE-Light: a face swap and fewer steps; inside this package",
    "sd15": "scenes at 512 px and more, on a GPU; of the weights below",
    "sd15-light": "the same by CAMOUFLaGE-Light; of the weights below and adapters of one's own",
}
"""What --model takes, beside a folder that save_pretrained wrote."""


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List, fetch, verify and convert the weights that the models are made of."""
    if context.invoked_subcommand is None:
        list_models(as_json=False)


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """What there is, what it may be used for, and where it is.

    Here says folder (among your models, $CAMOUFLAGE_MODELS), cache (the hub's), pickle (fetched,
    not converted) or missing. It is looked for, not checked: see verify.
    """
    from camouflage.weights import TABLE, where

    rows = [_row(entry) | {"here": where(entry.name)} for entry in TABLE.values()]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
        return
    _print_sizes()
    _print_weights(rows)


@app.command()
def fetch(
    names: Names,
    again: Annotated[bool, typer.Option("--again", help="Also what is here already.")] = False,
    revision: Annotated[
        str | None,
        typer.Option(help="A commit in the place of the list's, for one name; it is kept."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch weights, convert what is published as pickles, and check all of it.

    A mirror is asked first if $CAMOUFLAGE_MIRROR names one. Exit status: 0 all are here, 1 some are
    not, 2 wrong usage.
    """
    from camouflage.errors import SettingError
    from camouflage.weights import entries_of
    from camouflage.weights import fetch as fetch_one

    with wrong_usage_is_2():
        wanted = entries_of(names)
        if revision is not None and len(wanted) > 1:
            raise SettingError(f"--revision: expected one name with it, got {len(wanted)}")
        problems: dict[str, str] = {}
        for entry in wanted:
            if not as_json:
                typer.echo(f"{entry.name}: licence {entry.licence}; use: {entry.use}", err=True)
            problems |= _problem(entry, fetch_one, entry.name, again=again, revision=revision)
    _report(wanted, problems, as_json=as_json)


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names or groups; all that are here if not given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read every file again: is it whole, of the right architecture, with the published hash?

    Files of which no hash is published are not compared, and are named. Exit status: 0 all that
    was asked for is here and as it should be, 1 something is not, 2 wrong usage.
    """
    from camouflage.weights import TABLE, entries_of, find, where

    with wrong_usage_is_2():
        wanted = entries_of(names or [name for name in TABLE if where(name) in ("folder", "cache")])
    problems: dict[str, str] = {}
    for entry in wanted:
        problems |= _problem(entry, find, entry.name, download=False)
    _report(wanted, problems, as_json=as_json)


@app.command()
def convert(
    name: Annotated[str, typer.Argument(help="Of weights that are published as pickles.")],
    source: Annotated[
        Path | None,
        typer.Argument(help="The folder with the published files, or the file; else the cache."),
    ] = None,
    sha256: Annotated[
        list[str] | None,
        typer.Option(help="FILE=HASH that you trust, for a file of which the list has none."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to make; else among your models.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the folder.")] = False,
) -> None:
    """Turn published pickles into safetensors, after their hash matched; no code of theirs runs.

    Exit status: 0 converted, 1 not, 2 wrong usage.
    """
    from camouflage.errors import WeightsError
    from camouflage.weights import convert as convert_one
    from camouflage.weights import entry_of, models_folder
    from camouflage.weights.hub import cached

    with wrong_usage_is_2():
        entry = entry_of(name)
        hashes = _pairs(sha256 or [])
        try:
            files = source or cached(entry.repository, entry.patterns, revision=entry.revision)
            if files is None:
                raise WeightsError(f"{name}: not in the cache; camouflage models fetch {name}")
            target = output or models_folder() / name
            convert_one(entry, files, target, sha256=hashes, overwrite=overwrite)
        except WeightsError as error:
            leave(str(error), status=1)
    typer.echo(f"{name}: converted into {target.name}", err=True)


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    from camouflage.errors import SettingError

    pairs: dict[str, str] = {}
    for text in texts:
        file, _, digest = text.rpartition("=")
        if not file or len(digest) != 64:
            raise SettingError("--sha256: expected FILE=HASH, a hash of 64 digits")
        pairs[file] = digest
    return pairs


def _problem(entry: Entry, action: Any, *args: Any, **options: Any) -> dict[str, str]:
    """What went wrong, by the entry's name; nothing if nothing did."""
    from camouflage.errors import WeightsError

    try:
        action(*args, **options)
    except WeightsError as error:
        return {entry.name: str(error)}
    return {}


def _report(wanted: Sequence[Entry], problems: Mapping[str, str], *, as_json: bool) -> None:
    from camouflage.weights import where

    for entry in wanted:
        problem = problems.get(entry.name)
        unknown = [file.name for file in _weights_without_hash(entry)]
        if as_json:
            row = {"name": entry.name, "ok": problem is None, "here": where(entry.name)}
            typer.echo(json.dumps(row | {"problem": problem, "no_published_hash": unknown}))
        elif problem:
            say(problem)
        else:
            note = f" (no published hash: {', '.join(unknown)})" if unknown else ""
            typer.echo(f"{entry.name}: here, as it should be{note}")
    if problems:
        raise typer.Exit(1)


def _weights_without_hash(entry: Entry) -> list[Any]:
    return [f for f in entry.files if f.local_name.endswith(".safetensors") and not f.sha256]


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "role": entry.role,
        "what": entry.what,
        "repository": entry.repository,
        "revision": entry.revision,
        "licence": entry.licence,
        "use": entry.use,
        "commercial": entry.commercial,
        "size_bytes": entry.size_bytes,
        "dtype": entry.dtype,
        "published_as_pickle": entry.is_converted,
        "sha256": {file.name: file.sha256 for file in entry.files if file.sha256},
        "no_published_hash": [file.name for file in _weights_without_hash(entry)],
    }


def _print_sizes() -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("--model", "what")
    for name, what in SIZES.items():
        table.add_row(name, what)
    table.add_row("FOLDER", "a pipeline saved by save_pretrained")
    Console().print(table)


def _print_weights(rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("weights", "what", "size", "licence", "use", "here", show_lines=True)
    for row in rows:
        style = {"missing": "dim", "pickle": "yellow"}.get(row["here"], "green")
        table.add_row(
            row["name"],
            row["what"],
            f"{row['size_bytes'] / 1e9:.2f} GB",
            row["licence"],
            row["use"],
            row["here"],
            style=style,
        )
    Console().print(table)
