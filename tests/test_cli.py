"""The command: exit status, help without torch, and the options reach the recipe."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from camouflage import __version__, cli
from camouflage.batch import command
from camouflage.errors import AuditRefused
from camouflage.picture import Picture
from camouflage.recipe import Recipe

runner = CliRunner()


class FakeResult:
    def __init__(self, picture: Picture, *, state: str) -> None:
        self.state, self._pixels = state, 255 - picture.pixels
        self.faces, self.seconds = (), {}

    @property
    def image(self) -> Image.Image:
        if self.state == "refused":
            raise AuditRefused("face 1 of 1: distance 0.2")
        return Image.fromarray(self._pixels)


class FakeAnonymizer:
    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def __call__(self, source: Picture, *, seed: str) -> FakeResult:
        return FakeResult(source, state="refused" if "refused" in source.name else "passed")


@pytest.fixture(autouse=True)
def recipes(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """No model is loaded; the recipes that would have been are kept."""
    seen: list[Recipe] = []

    def fake(settings: Recipe) -> FakeAnonymizer:
        seen.append(settings)
        return FakeAnonymizer(settings)

    monkeypatch.setattr(command, "load_anonymizer", fake)
    return seen


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.new("RGB", (20, 10), (10, 20, 30)).save(path)
    return path


def test_a_picture(photo: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    outcome = runner.invoke(cli.app, ["anonymize", str(photo), "--output", str(output)])
    assert outcome.exit_code == 0, outcome.output
    assert (Picture.open(output / "photo.png").pixels == (245, 235, 225)).all()
    assert "written" in outcome.output
    assert Recipe.load(output / "recipe.yaml") == Recipe.load("mini")


def test_the_same_command_again_goes_on(photo: Path, tmp_path: Path) -> None:
    """With a model by its name; the folder has a recipe by then."""
    arguments = ["anonymize", str(photo), "-o", str(tmp_path / "out"), "--model", "tiny"]
    for _ in range(2):
        outcome = runner.invoke(cli.app, arguments)
        assert outcome.exit_code == 0, outcome.output


def test_one_refused_is_status_1(photo: Path, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "refused.png")
    arguments = ["anonymize", str(photo), str(tmp_path / "refused.png"), "-o", str(tmp_path / "o")]
    outcome = runner.invoke(cli.app, arguments)
    assert outcome.exit_code == 1
    assert "refused.png" in outcome.output
    assert (tmp_path / "o" / "photo.png").exists()
    assert not (tmp_path / "o" / "refused.png").exists()


def test_wrong_usage_is_status_2(photo: Path, tmp_path: Path) -> None:
    out = ["-o", str(tmp_path / "o")]
    for arguments in (
        ["anonymize", str(photo)],
        ["anonymize", str(tmp_path / "missing.png"), *out],
        ["anonymize", str(photo), str(photo), *out],
        ["anonymize", str(photo), "-o", str(tmp_path)],
        ["anonymize", str(photo), *out, "--strength", "3"],
        ["anonymize", str(photo), *out, "--on-nobody", "ignore"],
        ["anonymize", str(photo), *out, "--on-refusal", "ignore"],
        ["anonymize", str(photo), *out, "--recipe", "nonesuch"],
        ["anonymize", str(photo), *out, "--no-such-option"],
        ["nonsense"],
    ):
        outcome = runner.invoke(cli.app, arguments)
        assert outcome.exit_code == 2, (arguments, outcome.output)
    assert not (tmp_path / "o").exists()


def test_names_in_a_message_do_not_reach_the_terminal_as_they_are(tmp_path: Path) -> None:
    missing = tmp_path / "\x1b[2Jmissing.png"
    outcome = runner.invoke(cli.app, ["anonymize", str(missing), "-o", str(tmp_path / "o")])
    assert outcome.exit_code == 2
    assert "\\x1b[2Jmissing.png: there is no such file" in outcome.output
    assert "\x1b" not in outcome.output


def test_options_reach_the_recipe(photo: Path, tmp_path: Path, recipes: list[Recipe]) -> None:
    arguments = ["anonymize", str(photo), "-o", str(tmp_path / "o"), "-a", "1.5", "--steps", "3"]
    arguments += ["--strength", "0.5", "--on-nobody", "copy", "--on-refusal", "obfuscate"]
    arguments += ["--model", "tiny", "--seed", "k"]
    assert runner.invoke(cli.app, arguments).exit_code == 0
    changed = {"anonymization_scale": 1.5, "steps": 3, "strength": 0.5}
    changed |= {"on_nobody": "copy", "on_refusal": "obfuscate", "model": "tiny"}
    assert recipes == [Recipe.load("mini").changed(changed)]
    header = json.loads((tmp_path / "o" / "manifest.jsonl").read_text().splitlines()[0])
    assert header["key"] == "k"


def test_the_key_is_random_and_kept(photo: Path, tmp_path: Path) -> None:
    keys = []
    for folder in ("a", "b", "a"):
        runner.invoke(cli.app, ["anonymize", str(photo), "-o", str(tmp_path / folder)])
        lines = (tmp_path / folder / "manifest.jsonl").read_text().splitlines()
        keys.append([json.loads(line)["key"] for line in lines if "key" in json.loads(line)])
    assert keys[0] == keys[2]
    assert keys[0] != keys[1]


def test_demo(tmp_path: Path) -> None:
    output = tmp_path / "demo"
    outcome = runner.invoke(cli.app, ["demo", "--output", str(output)])
    assert outcome.exit_code == 0, outcome.output
    sheet = Picture.open(output / "astronaut.sheet.jpg")
    assert sheet.size_hw == (512, 512 + 8 + 512)
    assert not np.allclose(sheet.pixels[:, :512], sheet.pixels[:, -512:])
    assert runner.invoke(cli.app, ["demo", "--output", str(output)]).exit_code == 0


def test_the_help_warns_of_sheets() -> None:
    outcome = runner.invoke(cli.app, ["anonymize", "--help"], env={"COLUMNS": "200"})
    assert "ORIGINAL" in outcome.output


def test_version_and_models() -> None:
    assert __version__ in runner.invoke(cli.app, ["--version"]).output
    assert "mini" in runner.invoke(cli.app, ["models"]).output


def test_help_imports_nothing_heavy() -> None:
    """What makes it quick, without a clock."""
    code = (
        "import sys; from camouflage.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'diffusers', 'numpy', 'PIL', 'cv2', 'pydantic', 'onnxruntime'}\n"
        "heavy |= {'huggingface_hub', 'safetensors'}\n"
        "sys.exit(sorted(heavy & set(sys.modules)).__repr__() if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
