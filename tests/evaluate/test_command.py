"""The command from end to end on people who are colours, and what it refuses."""

import json
import shutil
import stat

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from camouflage.annotators.landmarks import LandmarkNet
from camouflage.cli import app
from camouflage.evaluate import evaluation, methods
from camouflage.evaluate.command import published

from .conftest import Eyes, save_people

CLI = CliRunner()


@pytest.fixture(name="small", autouse=True)
def _small(monkeypatch):
    """Eyes for colours in the place of the networks, which are tested elsewhere."""
    monkeypatch.setattr(evaluation, "FaceDetector", Eyes)
    monkeypatch.setattr(evaluation, "load_encoders", lambda texts: [Eyes()])
    monkeypatch.setattr(evaluation, "_landmarks", lambda: LandmarkNet(channels=(8, 8, 8)).eval())
    grey = np.full((128, 128, 3), 60, np.uint8)
    monkeypatch.setattr(evaluation, "synthetic_faces", lambda count: [grey] * count)


@pytest.fixture(name="folders")
def _folders(tmp_path):
    originals = save_people(tmp_path / "originals")
    results = tmp_path / "results"
    for path in sorted(originals.rglob("*.png")):
        pixels = np.asarray(Image.open(path)).copy()
        pixels[..., 0] = (pixels[..., 0].astype(int) + 60) % 160
        out = results / path.relative_to(originals)
        out.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(out)
    return originals, results, tmp_path / "report"


def run(*arguments):
    return CLI.invoke(app, ["evaluate", *map(str, arguments)])


def test_the_report_and_the_figures_are_written(folders):
    originals, results, report = folders
    done = run(originals, f"tool={results}", "--report", report, "--photos-per-person", 2)
    assert done.exit_code == 0, done.output
    figures = json.loads((report / "results.json").read_text())
    assert figures["methods"]["tool"]["states"] == {"written": 16}
    assert set(methods.BASELINES) < set(figures["methods"])
    assert "tool" in (report / "report.html").read_text()
    assert "tool" in (report / "results.md").read_text()
    for name in ("report.html", "results.json", "results.md", "cache.npz"):
        assert stat.S_IMODE((report / name).stat().st_mode) == 0o600, name


def test_without_pictures_the_page_shows_nobody(folders):
    originals, results, report = folders
    common = (originals, f"tool={results}", "--report", report, "--no-baselines")
    assert run(*common).exit_code == 0
    assert "image/jpeg" in (report / "report.html").read_text()
    assert run(*common, "--no-pictures").exit_code == 0
    assert "image/jpeg" not in (report / "report.html").read_text()


def test_results_that_are_missing_count(folders):
    originals, results, report = folders
    shutil.rmtree(results / "person 0")
    done = run(originals, f"tool={results}", "--report", report, "--no-baselines")
    assert done.exit_code == 0
    tool = json.loads((report / "results.json").read_text())["methods"]["tool"]
    assert tool["states"] == {"missing": 4, "written": 28}
    assert tool["reidentification"]["eyes"]["other_photos"]["worst"]["mean"] == pytest.approx(1 / 8)
    assert tool["reidentification"]["eyes"]["other_photos"]["optimistic"]["mean"] == 0


def test_a_name_may_be_a_setting_and_a_name_again_is_another_seed(folders):
    originals, results, report = folders
    again = ("--report", report, "--no-baselines")
    done = run(originals, f"a_s=1={results}", f"a_s=1={results}", *again)
    assert done.exit_code == 0, done.output
    method = json.loads((report / "results.json").read_text())["methods"]["a_s=1"]
    assert method["seeds"]["spread"] == 0


def test_names_move_no_cursor(tmp_path):
    outcome = run(tmp_path, "bad\x08\x07", "--report", tmp_path / "report")
    assert outcome.exit_code == 2
    assert "\x07" not in outcome.output
    assert "\\x08" in outcome.output


def test_a_control_that_fails_is_status_1_and_writes_no_figures(folders):
    originals, results, report = folders
    swapped = list(originals.iterdir())
    for i, folder in enumerate(swapped):  # each photograph gets to another person
        for j, path in enumerate(sorted(folder.glob("?.png"))):
            path.rename(swapped[(i + j) % len(swapped)] / f"{i}{j}.png")
    for path in list(originals.rglob("*.png")):
        out = results / path.relative_to(originals)
        shutil.copy(path, out)
    done = run(originals, f"tool={results}", "--report", report, "--no-baselines")
    assert done.exit_code == 1
    assert "unchanged faces" in done.output
    assert not (report / "results.json").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda o, r, d: (o, r, "--report", d), "expected NAME=FOLDER"),
        (lambda o, r, d: (o, f"a={o}", "--report", d), "originals themselves"),
        (lambda o, r, d: (o, f"a={r}", "--report", r / "x"), "another folder"),
        (lambda o, r, d: (o, f"clean={r}", "--report", d), "name of the control"),
        (lambda o, r, d: (o, f"solid={r}", "--report", d), "baseline's name"),
        (lambda o, r, d: (o / "no", f"a={r}", "--report", d), "no such folder"),
        (lambda o, r, d: (o, f"a={r}", "--report", d, "--groups", o / "g.json"), "g.json"),
    ],
)
def test_wrong_usage_is_status_2(folders, change, said):
    done = run(*change(*folders))
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.output.split())


def test_a_published_command_names_no_folder_of_this_machine():
    given = ("/data/of/somebody/lfw", "ours=/results/ours", "a.yaml=/m/a.onnx", "-o", "x")
    assert published("evaluate", *given) == "evaluate lfw ours=ours a.yaml=a.onnx -o x"
