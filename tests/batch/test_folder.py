"""Folders: one state an input, nothing written but what passed, and going on after a stop."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camouflage.batch import Manifest, Outcome, find_jobs, run_folder
from camouflage.batch.manifest import file_sha256
from camouflage.errors import OutputError, SettingError
from camouflage.picture import Picture
from camouflage.write import write_bytes

STATES = {
    "a.png": "written",
    "broken.jpg": "failed",
    "copied.png": "copied",
    "crash.png": "failed",
    "deep/b.jpg": "written",
    "nan.png": "failed",
    "nobody.png": "nobody",
    "refused.png": "refused",
}


def run(
    anonymizer, folder: Path, output: Path, *, key: str | None = "7", weights: str = "w",
    sheet: bool = False, overwrite: bool = False,
) -> list[Outcome]:  # fmt: skip
    found = find_jobs([folder], output=output, sheet=sheet)
    with Manifest.open(output / "manifest.jsonl", key=key) as manifest:
        outcomes = run_folder(
            anonymizer, found.jobs, output=output, manifest=manifest, weights=weights,
            sheet=sheet, overwrite=overwrite,
        )  # fmt: skip
        return list(outcomes)


def files(folder: Path) -> list[str]:
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())


def entries(output: Path) -> dict[str, dict]:
    lines = [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()]
    return {line["input"]: line for line in lines if "state" in line}


def test_every_input_ends_in_one_state(anonymizer, album: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    outcomes = run(anonymizer, album, output)
    assert {o.job.relative: o.state for o in outcomes} == STATES
    assert {name: entry["state"] for name, entry in entries(output).items()} == STATES
    assert files(output) == ["a.png", "copied.png", "deep/b.jpg", "manifest.jsonl"]


def test_what_is_written_is_the_result(anonymizer, album: Path, tmp_path: Path) -> None:
    run(anonymizer, album, tmp_path / "out")
    before, after = (Picture.open(f / "a.png").pixels for f in (album, tmp_path / "out"))
    assert not (before == after).any()


def test_the_entry(anonymizer, album: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(anonymizer, album, output)
    entry = entries(output)["deep/b.jpg"]
    assert entry["output"] == "deep/b.jpg"
    assert entry["input_sha256"] == file_sha256(album / "deep/b.jpg")
    assert entry["output_sha256"] == file_sha256(output / "deep/b.jpg")
    assert entry["seed"] == "7"
    assert entry["weights"] == "w"
    assert entry["recipe_sha256"] == anonymizer.recipe.sha256
    assert (entry["threshold"], entry["attempts"]) == (0.6, len(anonymizer.recipe.ladder))
    assert entry["faces"][0]["distances"] == [0.5, 0.7]
    assert entry["seconds"]["total"] > 0
    failed = entries(output)["crash.png"]
    assert failed["error"]["type"] == "MemoryError"
    assert failed["output"] is None


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_the_manifest_is_private_and_names_no_folder(
    anonymizer, album: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    run(anonymizer, album, output)
    assert stat.S_IMODE((output / "manifest.jsonl").stat().st_mode) == 0o600
    assert str(tmp_path) not in (output / "manifest.jsonl").read_text()


def test_a_second_run_does_only_what_is_not_done(anonymizer, album: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(anonymizer, album, output, key=None)
    before = {name: file_sha256(output / name) for name in ("a.png", "deep/b.jpg")}
    anonymizer.calls.clear()
    outcomes = run(anonymizer, album, output, key=None)
    finished = {name for name, state in STATES.items() if state != "failed"}
    assert {o.job.relative for o in outcomes if o.resumed} == finished
    assert {o.job.relative: o.state for o in outcomes} == STATES
    assert "a.png" not in [name for name, _ in anonymizer.calls]
    assert before == {name: file_sha256(output / name) for name in before}


@pytest.mark.parametrize("what", ["input", "output", "recipe", "weights", "key", "gone"])
def test_a_change_is_noticed(anonymizer, album: Path, tmp_path: Path, what: str) -> None:
    output = tmp_path / "out"
    run(anonymizer, album, output)
    anonymizer.calls.clear()
    options: dict = {}
    if what == "input":
        Image.new("RGB", (5, 5), "red").save(album / "a.png")
    elif what == "recipe":
        anonymizer.recipe = anonymizer.recipe.changed({"steps": 8})
    elif what in ("weights", "key"):
        options[what] = "other"
    elif what == "gone":
        (output / "a.png").unlink()
    else:
        (output / "a.png").write_bytes(b"tampered")
    outcomes = {o.job.relative: o for o in run(anonymizer, album, output, **options)}
    assert not outcomes["a.png"].resumed
    # A file that is not what the manifest says may be the user's own: it is kept and reported.
    assert outcomes["a.png"].state == ("failed" if what == "output" else "written")


def test_a_result_that_does_not_pass_any_more_is_removed(
    anonymizer, album: Path, tmp_path: Path
) -> None:
    """A changed recipe refuses what an earlier one passed: the old file must not stay."""
    output = tmp_path / "out"
    run(anonymizer, album, output, sheet=True)
    assert (output / "a.png").exists()
    assert (output / "a.sheet.jpg").exists()
    call = type(anonymizer).__call__

    class Refuses(type(anonymizer)):
        def __call__(self, source, *, seed):
            result = call(self, source, seed=seed)
            return type(result)("refused", result.pixels)

    outcomes = run(Refuses(), album, output, weights="other", sheet=True)
    assert {o.state for o in outcomes} <= {"refused", "failed"}
    assert files(output) == ["manifest.jsonl"]


def test_a_foreign_file_is_kept_unless_told(anonymizer, album: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "a.png").write_bytes(b"mine")
    outcomes = {o.job.relative: o.state for o in run(anonymizer, album, output)}
    assert outcomes["a.png"] == "failed"
    assert (output / "a.png").read_bytes() == b"mine"
    outcomes = {o.job.relative: o.state for o in run(anonymizer, album, output, overwrite=True)}
    assert outcomes["a.png"] == "written"


def test_a_killed_run_is_finished(anonymizer, album: Path, tmp_path: Path) -> None:
    """Killed between the file and its entry, the worst moment: the next run knows its file."""
    output = tmp_path / "out"
    run(anonymizer, album, output)
    made = file_sha256(output / "a.png")
    lines = (output / "manifest.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if "state" not in json.loads(line)]
    (output / "manifest.jsonl").write_text("".join(kept) + '{"input": "a.png", "state": "wri')
    (output / ".camouflage-half.partial").write_bytes(b"half")
    outcomes = run(anonymizer, album, output, key=None)
    assert {o.job.relative: o.state for o in outcomes} == STATES
    assert not any(o.resumed or o.redone for o in outcomes)
    assert file_sha256(output / "a.png") == made
    assert ".camouflage-half.partial" not in files(output)
    assert entries_that_parse(output)["a.png"]["state"] == "written"


def entries_that_parse(output: Path) -> dict[str, dict]:
    found = {}
    for line in (output / "manifest.jsonl").read_text().split("\n"):
        if line.endswith("}"):
            value = json.loads(line)
            if "state" in value:
                found[value["input"]] = value
    return found


def test_no_record_no_work(
    anonymizer, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    manifest = Manifest.open(output / "manifest.jsonl", key="7")
    (output / "manifest.jsonl").unlink()
    (output / "manifest.jsonl").mkdir()
    jobs = find_jobs([album], output=output).jobs
    with pytest.raises(OutputError):
        list(run_folder(anonymizer, jobs, output=output, manifest=manifest, weights="w"))
    assert files(output) == []


def test_sheets(anonymizer, album: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(anonymizer, album, output, sheet=True)
    sheets = [name for name in files(output) if "sheet" in name]
    assert sheets == ["a.sheet.jpg", "copied.sheet.jpg", "deep/b.sheet.jpg"]
    sheet = Picture.open(output / "a.sheet.jpg").pixels.astype(int)
    assert sheet.shape == (12, 16 + 8 + 16, 3)
    before = Picture.open(album / "a.png").pixels
    assert np.abs(sheet[:, :12] - before[:, :12]).mean() < 12
    if os.name == "posix":
        assert stat.S_IMODE((output / "a.sheet.jpg").stat().st_mode) == 0o600


def test_a_failed_write_leaves_no_sheet(
    anonymizer, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(data: bytes, path: Path, **options: bool) -> None:
        if path.name == "a.png":
            raise OutputError("No space left on device")
        write_bytes(data, path, **options)

    monkeypatch.setattr("camouflage.batch.folder.write_bytes", full)
    outcomes = {o.job.relative: o for o in run(anonymizer, album, tmp_path / "out", sheet=True)}
    assert outcomes["a.png"].state == "failed"
    assert not [name for name in files(tmp_path / "out") if name.startswith("a.")]


def test_links_out_of_the_folder_are_not_followed(anonymizer, album: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    Image.new("RGB", (4, 4)).save(outside / "secret.png")
    (album / "link.png").symlink_to(outside / "secret.png")
    (album / "folder").symlink_to(outside)
    (album / "inside.png").symlink_to(album / "a.png")
    outcomes = {o.job.relative: o for o in run(anonymizer, album, tmp_path / "out")}
    assert outcomes["link.png"].state == outcomes["folder"].state == "failed"
    assert "link" in outcomes["link.png"].message
    assert outcomes["inside.png"].state == "written"
    assert not any("secret" in name for name, _ in anonymizer.calls)


def test_the_output_inside_the_input_is_left_out(anonymizer, album: Path) -> None:
    output = album / "out"
    run(anonymizer, album, output)
    again = run(anonymizer, album, output)
    assert {o.job.relative: o.state for o in again} == STATES


def test_names_that_meet(album: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (4, 4)).save(other / "a.png")
    with pytest.raises(SettingError, match=r"a\.png"):
        find_jobs([album / "a.png", other / "a.png"], output=tmp_path / "out")
    Image.new("RGB", (4, 4)).save(album / "a.jpg")
    find_jobs([album], output=tmp_path / "out")
    with pytest.raises(SettingError, match=r"a\.sheet\.jpg"):
        find_jobs([album], output=tmp_path / "out", sheet=True)


def test_never_over_an_input(album: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="over an input"):
        find_jobs([album / "a.png"], output=album)
    (tmp_path / "alias").symlink_to(album)
    with pytest.raises(SettingError, match="over an input"):
        find_jobs([album / "a.png"], output=tmp_path / "alias")


def test_what_may_hold_people_is_never_passed_over(album: Path, tmp_path: Path, anonymizer) -> None:
    for name in ("film.mp4", "phone.HEIC", "old.gif"):
        (album / name).write_bytes(b"x")
    found = find_jobs([album], output=tmp_path / "out")
    assert found.passed_over == 1  # notes.txt
    outcomes = {o.job.relative: o.state for o in run(anonymizer, album, tmp_path / "out")}
    assert [outcomes[name] for name in ("film.mp4", "phone.HEIC", "old.gif")] == ["failed"] * 3


@pytest.mark.parametrize("name", ["ünï 写真 фото.png", "line\u2028break.png", "a'b\"c.png"])
def test_names_in_any_script(anonymizer, tmp_path: Path, name: str) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(folder / name)
    assert run(anonymizer, folder, output)[0].state == "written"
    assert run(anonymizer, folder, output)[0].resumed
