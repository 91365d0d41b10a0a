"""The next run: what is done again and why, what is not, and two runs at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from camouflage import __version__
from camouflage.batch import Manifest, Outcome, Report, find_jobs, run_folder
from camouflage.batch import manifest as manifest_module
from camouflage.batch.manifest import file_sha256
from camouflage.errors import OutputError
from camouflage.write import write_bytes

FINISHED = {"a.png", "copied.png", "deep/b.jpg", "nobody.png", "refused.png"}


def run(
    anonymizer, folder: Path, output: Path, *, key: str = "7", weights: str = "w",
    sheet: bool = False, overwrite: bool = False,
) -> dict[str, Outcome]:  # fmt: skip
    jobs = find_jobs([folder], output=output, sheet=sheet).jobs
    with Manifest.open(output / "manifest.jsonl", key=key) as manifest:
        outcomes = run_folder(
            anonymizer, jobs, output=output, manifest=manifest, weights=weights,
            sheet=sheet, overwrite=overwrite,
        )  # fmt: skip
        return {outcome.job.relative: outcome for outcome in outcomes}


def test_what_is_finished_is_not_done_again(anonymizer, album: Path, tmp_path: Path) -> None:
    """Nor what ended as nobody or refused, with the same words; failures are tried again."""
    first = run(anonymizer, album, tmp_path / "out")
    anonymizer.calls.clear()
    second = run(anonymizer, album, tmp_path / "out")
    assert {name for name, outcome in second.items() if outcome.resumed} == FINISHED
    assert {name for name, _ in anonymizer.calls} == {"crash.png", "nan.png"}
    for name in FINISHED:
        before, after = first[name], second[name]
        for field in ("state", "output", "error", "message", "faces"):
            assert getattr(before, field) == getattr(after, field)
    assert not any(outcome.redone for outcome in second.values())


@pytest.mark.parametrize(
    ("what", "reasons"),
    [
        ("input", ("the input changed",)),
        ("recipe", ("the recipe changed",)),
        ("weights", ("the weights changed",)),
        ("key", ("another seed",)),
        ("gone", ("the output was changed or is gone",)),
        ("output", ("the output was changed or is gone",)),
        ("sheet", ("a file beside it (sheet, boxes, mask or maps) is asked for now",)),
        ("version", ("another version of camouflage",)),
        ("recipe and key", ("the recipe changed", "another seed")),
    ],
)
def test_the_reason_is_said(anonymizer, album: Path, tmp_path: Path, what, reasons) -> None:
    output, options = tmp_path / "out", {}
    before = run(anonymizer, album, output)
    assert not any(outcome.redone for outcome in before.values())
    if what == "input":
        Image.new("RGB", (5, 5), "red").save(album / "a.png")
    elif what == "gone":
        (output / "a.png").unlink()
    elif what == "version":
        manifest = output / "manifest.jsonl"
        older = manifest.read_text().replace(f'"version": "{__version__}"', '"version": "0.0.1"')
        manifest.write_text(older)
    elif what == "output":
        (output / "a.png").write_bytes(b"other")
    elif what == "sheet":
        options = {"sheet": True}
    if "recipe" in what:
        anonymizer.recipe = anonymizer.recipe.changed({"steps": 8})
    if what == "weights" or "key" in what:
        options |= {"weights" if what == "weights" else "key": "other"}
    after = run(anonymizer, album, output, **options)
    assert after["a.png"].redone == reasons
    assert not after["a.png"].resumed
    one_only = what in ("input", "gone", "output")
    assert after["nobody.png"].redone == (() if one_only or what == "sheet" else reasons)
    assert after["nobody.png"].resumed is (one_only or what == "sheet")
    counted = Report(outcomes=tuple(after.values()), inputs=len(after)).redone
    assert list(counted) == ["; ".join(reasons)]
    assert not after["crash.png"].redone, "it was never finished"


def test_a_file_beside_it_that_is_gone(anonymizer, album: Path, tmp_path: Path) -> None:
    run(anonymizer, album, tmp_path / "out", sheet=True)
    (tmp_path / "out" / "a.sheet.jpg").unlink()
    after = run(anonymizer, album, tmp_path / "out", sheet=True)
    reason = "a file beside it (sheet, boxes, mask or maps) was changed or is gone"
    assert after["a.png"].redone == (reason,)
    assert after["copied.png"].resumed


def test_another_seed_gives_other_bytes_and_back(anonymizer, album: Path, tmp_path: Path) -> None:
    digests = []
    for key in ("7", "8", "7"):
        run(anonymizer, album, tmp_path / "out", key=key)
        digests.append(file_sha256(tmp_path / "out" / "a.png"))
    assert digests[0] == digests[2]
    assert digests[0] != digests[1]


def test_an_old_result_beside_a_refusal_is_removed(anonymizer, album, tmp_path: Path) -> None:
    """Somebody puts a result back that an earlier recipe passed and a later one refused."""
    output = tmp_path / "out"
    run(anonymizer, album, output)
    old = (output / "a.png").read_bytes()

    class Refuses(type(anonymizer)):
        def __call__(self, source, *, seed):
            result = super().__call__(source, seed=seed)
            return type(result)("refused", result.pixels)

    run(Refuses(), album, output, weights="other")
    assert not (output / "a.png").exists()
    write_bytes(old, output / "a.png")
    assert run(Refuses(), album, output, weights="other")["a.png"].resumed
    assert not (output / "a.png").exists()


def test_a_stop_leaves_nothing_without_a_record(
    anonymizer, album: Path, tmp_path: Path, monkeypatch
) -> None:
    output, append = tmp_path / "out", Manifest.append

    def stopped(self: Manifest, entry) -> None:
        if entry.input == "copied.png":
            raise KeyboardInterrupt
        append(self, entry)

    monkeypatch.setattr(Manifest, "append", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(anonymizer, album, output)
    assert sorted(f.name for f in output.rglob("*")) == ["a.png", "manifest.jsonl"]


def test_two_runs_into_one_folder(anonymizer, album: Path, tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    with Manifest.open(path, key="first"):
        before = path.read_bytes()
        with pytest.raises(OutputError, match=r"in use.*another folder"):
            Manifest.open(path, key="second")
        assert path.read_bytes() == before, "the second run has left its key"
    with Manifest.open(path) as manifest:
        assert manifest.key == "first"


HOLD = """
import sys
from pathlib import Path
from camouflage.batch import Manifest
manifest = Manifest.open(Path(sys.argv[1]), key="first")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_dead_run_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(OutputError, match="another run"):
            Manifest.open(path)
        other.kill()
        other.wait()
        with Manifest.open(path) as manifest:
            assert manifest.key == "first"


def test_without_locks_it_runs(anonymizer, album: Path, tmp_path: Path, monkeypatch) -> None:
    """On Windows, and on a disk that knows no locks."""
    monkeypatch.setattr(manifest_module, "fcntl", None)
    with Manifest.open(tmp_path / "out" / "manifest.jsonl"):
        assert run(anonymizer, album, tmp_path / "out")["a.png"].state == "written"


def test_a_tampered_manifest_is_no_reason_to_trust(anonymizer, album, tmp_path: Path) -> None:
    """An entry of the wrong types counts as none; one that points elsewhere does not match."""
    output = tmp_path / "out"
    output.mkdir()
    digest = file_sha256(album / "a.png")
    (output / "manifest.jsonl").write_text(
        '{"key": 3}\n[1]\n{"input": ["a.png"], "state": "written"}\n'
        '{"state": "written"}\n{"output": {"a": 1}, "output_sha256": "00"}\n'
        f'{{"input": "a.png", "state": "written", "output": "../album/a.png", '
        f'"input_sha256": "{digest}", "output_sha256": "{digest}"}}\n'
    )
    outcome = run(anonymizer, album, output)["a.png"]
    assert outcome.state == "written"
    assert not outcome.resumed
    assert file_sha256(output / "a.png") != digest
