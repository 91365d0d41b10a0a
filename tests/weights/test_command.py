"""``camouflage models``: what it says, and the exit status."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from camouflage.cli import app
from camouflage.weights import GROUPS, TABLE, table

runner = CliRunner()
LINEART = "annotator-lineart"


def run(*arguments: str, status: int = 0):
    outcome = runner.invoke(app, ["models", *arguments], env={"COLUMNS": "200"})
    assert outcome.exit_code == status, outcome.output
    return outcome


@pytest.fixture
def known(lineart: Path, monkeypatch: pytest.MonkeyPatch):
    entry = TABLE[LINEART]
    files = tuple(
        replace(f, sha256=hashlib.sha256((lineart / f.name).read_bytes()).hexdigest())
        for f in entry.files
    )
    monkeypatch.setitem(table.TABLE, LINEART, replace(entry, files=files))
    return entry


def test_list(sd15_models, hub) -> None:
    sd15_models("controlnet-pose")
    for arguments in ((), ("list",)):
        shown = run(*arguments).output
        assert all(name in shown for name in (*TABLE, "tiny", "mini", "sd15"))
        assert "NON-COMMERCIAL" in shown
        assert "CreativeML Open RAIL-M" in shown
        assert "folder" in shown


def test_list_for_machines(sd15_models, hub) -> None:
    sd15_models("controlnet-pose")
    rows = {row["name"]: row for row in map(json.loads, run("list", "--json").stdout.splitlines())}
    assert list(rows) == list(TABLE)
    assert rows["controlnet-pose"]["here"] == "folder"
    assert rows["controlnet-depth"]["here"] == "missing"
    assert rows["controlnet-segmentation"]["revision"] is None
    assert rows["controlnet-segmentation"]["no_published_hash"]
    assert rows["annotator-openpose"]["commercial"] is False
    assert rows["annotator-openpose"]["published_as_pickle"] is True


def test_fetch_shows_the_licence_and_converts(known, lineart: Path, hub, models: Path) -> None:
    hub.folders[known.repository] = lineart
    outcome = run("fetch", LINEART)
    assert known.licence in outcome.stderr
    assert (models / LINEART / "sk_model.safetensors").is_file()
    rows = run("fetch", LINEART, "--json").stdout.splitlines()
    assert [json.loads(row)["ok"] for row in rows] == [True]


def test_fetch_of_a_group_says_all_that_failed(hub, models: Path) -> None:
    outcome = run("fetch", "sd15", status=1)
    assert all(f"{name}: not here" in outcome.stderr for name in GROUPS["sd15"])
    rows = [json.loads(r) for r in run("fetch", "sd15", "--json", status=1).stdout.splitlines()]
    assert [row["ok"] for row in rows] == [False] * len(GROUPS["sd15"])


def test_verify(sd15_models, hub) -> None:
    models = sd15_models("controlnet-pose", "sd-vae-ft-mse")
    shown = run("verify").stdout
    assert "controlnet-pose: here, as it should be (no published hash" in shown
    assert "sd-vae-ft-mse: here" in shown
    file = models / "controlnet-pose" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes() + b"0")
    outcome = run("verify", status=1)
    assert "damaged" in outcome.stderr
    assert "sd-vae-ft-mse: here" in outcome.stdout
    assert str(models.parent) not in outcome.output
    assert "not here" in run("verify", "annotator-depth", status=1).stderr


def test_convert(known, lineart: Path, hub, models: Path, tmp_path: Path) -> None:
    assert "not in the cache" in run("convert", LINEART, status=1).stderr
    run("convert", LINEART, str(lineart))
    assert (models / LINEART / "sk_model2.safetensors").is_file()
    assert "there already" in run("convert", LINEART, str(lineart), status=1).stderr
    run("convert", LINEART, str(lineart), "--overwrite")
    run("convert", LINEART, str(lineart), "-o", str(tmp_path / "elsewhere"))
    assert (tmp_path / "elsewhere" / "README.md").is_file()


def test_convert_takes_a_hash(lineart: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = [
        f"--sha256={f.name}={hashlib.sha256(f.read_bytes()).hexdigest()}" for f in lineart.iterdir()
    ]
    assert "damaged" in run("convert", LINEART, str(lineart), status=1).stderr
    assert "no other is taken" in run("convert", LINEART, str(lineart), *hashes, status=2).stderr
    files = tuple(replace(file, sha256=None) for file in TABLE[LINEART].files)
    monkeypatch.setitem(table.TABLE, LINEART, replace(TABLE[LINEART], files=files))
    run("convert", LINEART, str(lineart), *hashes)


@pytest.mark.parametrize(
    "arguments",
    [
        ("fetch", "nonesuch"),
        ("fetch",),
        ("fetch", "sd15", "--revision", "abc"),
        ("fetch", LINEART, "--revision", "abc"),
        ("verify", "nonesuch"),
        ("convert", "nonesuch"),
        ("convert", "sd-vae-ft-mse", "."),
        ("convert", LINEART, ".", "--sha256", "abc"),
        ("nonsense",),
    ],
)
def test_wrong_usage_is_status_2(arguments: tuple[str, ...], models: Path, hub) -> None:
    run(*arguments, status=2)
