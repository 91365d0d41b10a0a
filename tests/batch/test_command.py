"""`camouflage anonymize` for machines: exit status, lines of JSON, and being stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from camouflage import cli
from camouflage.batch import Manifest, command
from camouflage.errors import WeightsError

FIELDS = {"input", "state", "output", "error", "resumed", "redone", "faces", "seconds"}


@pytest.fixture(autouse=True)
def _no_model(anonymizer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(settings):
        print("a library that prints")
        anonymizer.recipe = settings
        return anonymizer

    monkeypatch.setattr(command, "load_anonymizer", fake)
    monkeypatch.setattr(command, "weights_of", lambda model, **kwargs: "w")


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["anonymize", *map(str, arguments)])


def lines(result: Result) -> tuple[dict[str, dict], dict]:
    """What stdout says: by input, and the summary. Every line of it is JSON."""
    *outcomes, last = [json.loads(line) for line in result.stdout.splitlines()]
    assert all(set(outcome) == FIELDS for outcome in outcomes)
    assert set(last) == {"summary"}
    return {outcome["input"]: outcome for outcome in outcomes}, last["summary"]


def test_json(album: Path, tmp_path: Path) -> None:
    result = invoke(album, "-o", tmp_path / "out", "--json", "--seed", "7")
    outcomes, summary = lines(result)
    assert set(outcomes) == {
        "a.png", "broken.jpg", "copied.png", "crash.png", "deep/b.jpg", "nan.png", "nobody.png",
        "refused.png",
    }  # fmt: skip
    written = outcomes["deep/b.jpg"]
    assert written.pop("seconds") > 0
    assert written == {
        "input": "deep/b.jpg", "state": "written", "output": "deep/b.jpg", "error": None,
        "resumed": False, "redone": [], "faces": 1,
    }  # fmt: skip
    assert outcomes["refused.png"]["error"] == {"type": "AuditRefused", "message": "refused"}
    assert outcomes["crash.png"]["error"]["type"] == "MemoryError"
    assert outcomes["crash.png"]["output"] is None
    assert summary == {
        "inputs": 8, "done": 8, "written": 2, "copied": 1, "nobody": 1, "refused": 1, "failed": 3,
        "resumed": 0, "redone": 0, "passed_over": 1, "error": None, "exit_status": 1,
    }  # fmt: skip
    assert result.exit_code == 1
    for word in ("a library that prints", "passed over", "state"):
        assert word in result.stderr


def test_json_of_the_next_run(album: Path, tmp_path: Path) -> None:
    options = [album, "-o", tmp_path / "out", "--json"]
    invoke(*options)
    outcomes, summary = lines(invoke(*options))
    assert outcomes["a.png"]["resumed"]
    assert summary["resumed"] == 5
    (tmp_path / "out" / "a.png").unlink()
    outcomes, summary = lines(invoke(*options))
    assert outcomes["a.png"]["redone"] == ["the output was changed or is gone"]
    assert summary["redone"] == 1
    outcomes, summary = lines(invoke(*options, "--seed", "other", "--steps", "8"))
    assert outcomes["a.png"]["redone"] == ["the recipe changed", "another seed"]
    assert summary["redone"] == 5


def test_a_line_comes_as_it_happens(album: Path, tmp_path: Path, monkeypatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(command, "machine_lines", lambda: Telling(seen, tmp_path / "out"))
    invoke(album, "-o", tmp_path / "out", "--json")
    assert seen[:2] == ["1 entries", "2 entries"]


class Telling:
    """Instead of the line, how many entries the manifest has when it comes."""

    def __init__(self, seen: list[str], output: Path) -> None:
        self.seen, self.output = seen, output

    def __enter__(self):
        def tell(_: str) -> None:
            manifest = (self.output / "manifest.jsonl").read_text()
            self.seen.append(f"{manifest.count('state')} entries")

        return tell

    def __exit__(self, *_: object) -> None: ...


def test_why_it_was_done_again_is_said(album: Path, tmp_path: Path) -> None:
    options = [album / "a.png", "-o", tmp_path / "out"]
    first = invoke(*options)
    assert "done again" not in first.output
    assert "done again" not in invoke(*options).output
    again = invoke(*options, "--steps", "8")
    assert "done again: 1, because: the recipe changed" in again.output


@pytest.mark.parametrize(
    ("name", "status"),
    [("a.png", 0), ("copied.png", 0), ("nobody.png", 1), ("refused.png", 1), ("crash.png", 1),
     ("broken.jpg", 1)],
)  # fmt: skip
def test_exit_status_of_each_state(album: Path, tmp_path: Path, name: str, status: int) -> None:
    for _ in range(2):  # the second time the finished ones are only resumed
        result = invoke(album / name, "-o", tmp_path / "out", "--json")
        assert result.exit_code == status
        assert lines(result)[1]["exit_status"] == status


def test_nothing_to_do(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    result = invoke(tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert "no pictures were found" in result.stderr


def test_wrong_usage_is_2_and_says_nothing_on_stdout(album: Path, tmp_path: Path) -> None:
    upper = shutil.copytree(album, tmp_path / "upper")
    (upper / "a.png").rename(upper / "A.PNG")
    for arguments in (
        [tmp_path / "missing", "-o", tmp_path / "out"],
        [album / "a.png", upper / "A.PNG", "-o", tmp_path / "out"],
        [album, "-o", album],
        [album, "-o", tmp_path / "out", "--steps", "0"],
        [album],
    ):
        result = invoke(*arguments, "--json")
        assert (result.exit_code, result.stdout) == (2, ""), arguments
        assert result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use(album: Path, tmp_path: Path) -> None:
    with Manifest.open(tmp_path / "out" / "manifest.jsonl"):
        result = invoke(album, "-o", tmp_path / "out", "--json")
    outcomes, summary = lines(result)
    assert not outcomes
    assert result.exit_code == summary["exit_status"] == 1
    assert summary["error"]["type"] == "OutputError"
    assert "another run" in result.stderr
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["manifest.jsonl"]


def test_no_model(album: Path, tmp_path: Path, monkeypatch) -> None:
    def damaged(model: str, **kwargs: object) -> str:
        raise WeightsError("damaged")

    monkeypatch.setattr(command, "weights_of", damaged)
    result = invoke(album, "-o", tmp_path / "out", "--json")
    assert lines(result)[1]["error"] == {"type": "WeightsError", "message": "damaged"}
    assert result.exit_code == 1


def test_a_disk_that_fills_up(album: Path, tmp_path: Path, monkeypatch) -> None:
    link, count = os.link, []

    def full(*arguments, **options):
        count.append(1)
        if len(count) > 2:  # the recipe, a.png
            raise OSError(28, "No space left on device")
        return link(*arguments, **options)

    monkeypatch.setattr(os, "link", full)
    result = invoke(album, "-o", tmp_path / "out", "--json")
    outcomes, summary = lines(result)
    assert list(outcomes) == ["a.png", "broken.jpg"]
    assert summary["error"]["type"] == "OutputLost"
    assert (summary["done"], summary["inputs"], result.exit_code) == (2, 8, 1)
    assert "2 of 8 inputs were done" in result.stderr
    assert "free some space" in result.stderr


def test_an_interruption(album: Path, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(album / "stop.png")
    (album / "broken.jpg").rename(album / "zzz.jpg")
    result = invoke(album, "-o", tmp_path / "out", "--json")
    outcomes, summary = lines(result)
    assert result.exit_code == summary["exit_status"] == 130
    assert summary["error"]["type"] == "Interrupted"
    assert summary["done"] == len(outcomes) < summary["inputs"]
    assert f"{len(outcomes)} of {summary['inputs']} inputs were done" in result.stderr
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "it is put back"


SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from pathlib import Path
from camouflage import cli, write
from camouflage.batch import command
from camouflage.recipe import Recipe
import numpy as np
from PIL import Image

class Result:
    state, faces, seconds = "passed", (), {}
    def __init__(self, pixels): self.image = Image.fromarray(255 - pixels)

class Slow:
    recipe = Recipe.load("mini")
    def __call__(self, picture, *, seed):
        if picture.name == "b.png" and WHERE == "model":
            print("now", file=sys.stderr, flush=True)
            time.sleep(60)
        return Result(picture.pixels)

WHERE = sys.argv.pop(1)
sync = write.os.fsync
def slow_sync(descriptor):
    sync(descriptor)
    if WHERE == "write" and (OUT / "a.png").exists() and list(OUT.glob(".*.partial")):
        print("now", file=sys.stderr, flush=True)
        time.sleep(60)
OUT = Path(sys.argv[sys.argv.index("-o") + 1])
write.os.fsync = slow_sync
if WHERE == "write":
    write._nameless = lambda folder: None
command.load_anonymizer = lambda settings: Slow()
command.weights_of = lambda model, **kwargs: "w"
cli.main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
@pytest.mark.parametrize("where", ["model", "write"])
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal(tmp_path: Path, where: str, sent: signal.Signals, status: int) -> None:
    """In the model, and with a half written file that has a name."""
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in "abc":
        Image.new("RGB", (8, 8), "white").save(folder / f"{name}.png")
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, where, "anonymize", folder, "-o", output, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert process.stderr
    try:
        for line in process.stderr:
            if line == "now\n":
                break
        time.sleep(0.1)  # it is in its sleep
        process.send_signal(sent)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == status, stderr
    assert "1 of 3 inputs were done" in stderr
    assert "Traceback" not in stderr
    *outcomes, last = [json.loads(line) for line in stdout.splitlines()]
    assert [outcome["input"] for outcome in outcomes] == ["a.png"]
    assert last["summary"]["exit_status"] == status
    assert sorted(f.name for f in output.iterdir()) == ["a.png", "manifest.jsonl", "recipe.yaml"]


def test_the_help_documents_it() -> None:
    result = CliRunner().invoke(cli.app, ["anonymize", "--help"], env={"COLUMNS": "300"})
    for word in ("--json", *FIELDS, "summary", "exit_status", "Exit status", "130", "143"):
        assert word in result.output
