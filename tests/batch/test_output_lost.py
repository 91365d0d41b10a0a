"""A full disk, a lost folder, a manifest that cannot be written: the run ends and says why."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camouflage import write
from camouflage.batch import Manifest, Outcome, find_jobs, run_folder
from camouflage.errors import OutputError, OutputLost

NAMES = ("a.png", "b.jpg", "deep/c.png")


@pytest.fixture
def small_album(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        noise = np.random.default_rng(number).integers(200, 255, (20, 30, 3), np.uint8)
        Image.fromarray(noise).save(folder / name)
    return folder


def run(anonymizer, folder: Path, output: Path, *, sheet: bool = False) -> list[Outcome]:
    jobs = find_jobs([folder], output=output, sheet=sheet).jobs
    with Manifest.open(output / "manifest.jsonl", key="7") as manifest:
        return list(
            run_folder(anonymizer, jobs, output=output, manifest=manifest, weights="w", sheet=sheet)
        )


def run_or_message(anonymizer, folder: Path, output: Path) -> tuple[list[Outcome], str]:
    try:
        return run(anonymizer, folder, output), ""
    except OutputLost as error:
        return [], str(error)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.jsonl"
    }


def failing(function: Callable, *, at: int, error: int, log: list[int]) -> Callable:
    """``function``, that raises from its call number ``at`` on, as a full disk does."""

    def called(*args, **kwargs):
        log.append(1)
        if len(log) > at:
            raise OSError(error, os.strerror(error))
        return function(*args, **kwargs)

    return called


@pytest.mark.parametrize("named", [False, True], ids=["nameless", "named"])
@pytest.mark.parametrize("point", ["write", "fsync", "link", "mkdir"])
def test_a_full_disk_at_every_call(
    anonymizer, small_album: Path, tmp_path: Path, monkeypatch, point: str, named: bool
) -> None:
    if named:
        monkeypatch.setattr(write, "_nameless", lambda folder: None)
    whole = tmp_path / "whole"
    run(anonymizer, small_album, whole)
    for at in range(100):
        output, log = tmp_path / f"{at}", []
        with monkeypatch.context() as patch:
            fails = failing(getattr(os, point), at=at, error=errno.ENOSPC, log=log)
            patch.setattr(os, point, fails)
            outcomes, message = run_or_message(anonymizer, small_album, output)
        assert outcomes or "No space left" in message
        assert outcomes or "free some space" in message
        if output.exists():  # nothing but whole results, under their own names
            assert contents(output).items() <= contents(whole).items()
        if outcomes:  # the disk filled up after the last call
            assert len(log) <= at
            assert at > 0
            break
        again = run(anonymizer, small_album, output)
        assert [o.state for o in again] == ["written"] * 3
        assert contents(output) == contents(whole)
    else:
        pytest.fail("it never got through")


def test_a_write_of_a_part_is_gone_on_with(tmp_path: Path, monkeypatch) -> None:
    write_some = os.write
    monkeypatch.setattr(os, "write", lambda d, data: write_some(d, data[:3]))
    write.write_bytes(b"0123456789", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_half_a_line_in_the_manifest(anonymizer, small_album: Path, tmp_path: Path, monkeypatch):
    """The disk fills up within a line: the rest of the manifest stays readable."""
    output, write_some, left = tmp_path / "out", os.write, [60]  # bytes

    def filling(descriptor: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write_some(descriptor, data[: left[0]])
        left[0] -= written
        return written

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", filling)
        with pytest.raises(OutputLost):
            run(anonymizer, small_album, output)
    assert not (output / "manifest.jsonl").read_bytes().endswith(b"\n")
    assert [o.state for o in run(anonymizer, small_album, output)] == ["written"] * 3
    lines = (output / "manifest.jsonl").read_text().splitlines()
    noted = [json.loads(line).get("about_to_write") for line in lines if line.endswith("}")]
    assert set(NAMES) < set(noted), "the line after the half one is lost as well"
    assert all(o.resumed for o in run(anonymizer, small_album, output))


@pytest.mark.parametrize("code", [errno.EROFS, errno.EIO, errno.EDQUOT, errno.ENODEV])
def test_what_else_ends_a_run(anonymizer, small_album, tmp_path, monkeypatch, code: int) -> None:
    monkeypatch.setattr(os, "link", failing(os.link, at=1, error=code, log=[]))
    with pytest.raises(OutputLost, match="same command again"):
        run(anonymizer, small_album, tmp_path / "out")
    assert list(contents(tmp_path / "out")) == ["a.png"]
    assert [name for name, _ in anonymizer.calls] == ["a.png", "b.jpg"]


def test_one_bad_name_ends_no_run(anonymizer, small_album, tmp_path, monkeypatch) -> None:
    """What is wrong with one output only is that input's failure."""
    link = os.link

    def picky(source, target, **options):
        if Path(target).name == "b.jpg":
            raise OSError(errno.ENAMETOOLONG, "File name too long")
        return link(source, target, **options)

    monkeypatch.setattr(os, "link", picky)
    outcomes = run(anonymizer, small_album, tmp_path / "out")
    assert [o.state for o in outcomes] == ["written", "failed", "written"]
    assert "b.jpg could not be written: File name too long" in outcomes[1].message


class Meanwhile:
    """An anonymizer, during whose work on b.jpg something happens."""

    def __init__(self, anonymizer, happens: Callable[[], object]) -> None:
        self.anonymizer, self.happens, self.recipe = anonymizer, happens, anonymizer.recipe

    def __call__(self, source, *, seed):
        if source.name == "b.jpg":
            self.happens()
        return self.anonymizer(source, seed=seed)


def test_the_folder_is_removed(anonymizer, small_album: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    gone = Meanwhile(anonymizer, lambda: shutil.rmtree(output))
    with pytest.raises(OutputLost, match=r"manifest\.jsonl is gone"):
        run(gone, small_album, output)
    assert not output.exists()
    assert [o.state for o in run(anonymizer, small_album, output)] == ["written"] * 3


def test_the_folder_is_replaced(anonymizer, small_album: Path, tmp_path: Path) -> None:
    """Another folder under the same name: nothing is written there without a record."""
    output = tmp_path / "out"

    def replace() -> None:
        output.rename(tmp_path / "moved")
        output.mkdir()
        (output / "manifest.jsonl").write_text("")

    with pytest.raises(OutputLost, match="gone"):
        run(Meanwhile(anonymizer, replace), small_album, output)
    assert contents(output) == {}
    assert list(contents(tmp_path / "moved")) == ["a.png"]


@pytest.mark.skipif(os.name != "posix", reason="rights are those of POSIX")
def test_the_folder_may_not_be_written_any_more(
    anonymizer, small_album: Path, tmp_path: Path, monkeypatch
) -> None:
    """Not thousands of failures: the manifest is open, so only the results would fail."""
    output, access, link = tmp_path / "out", os.access, os.link

    def forbid() -> None:  # as chmod does for who is not root
        def refused(*_, **__):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(os, "link", refused)
        monkeypatch.setattr(os, "rename", refused)
        monkeypatch.setattr(os, "access", lambda path, mode: path != output and access(path, mode))

    with pytest.raises(OutputLost, match="may not be written"):
        run(Meanwhile(anonymizer, forbid), small_album, output)
    monkeypatch.setattr(os, "link", link)
    assert list(contents(output)) == ["a.png"]


def test_an_old_result_that_cannot_be_removed_ends_the_run(
    anonymizer, small_album: Path, tmp_path: Path, monkeypatch
) -> None:
    output = tmp_path / "out"
    run(anonymizer, small_album, output)
    anonymizer.recipe = anonymizer.recipe.changed({"steps": 8})

    def refused(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(OutputLost, match=r"a\.png could not be removed"):
        run(anonymizer, small_album, output)


@pytest.mark.parametrize("what", ["folder", "link", "pipe", "file as folder"])
def test_a_manifest_that_cannot_be(tmp_path: Path, what: str) -> None:
    path = tmp_path / "out" / "manifest.jsonl"
    path.parent.mkdir()
    if what == "folder":
        path.mkdir()
    elif what == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path = tmp_path / "file" / "manifest.jsonl"
        path.parent.write_bytes(b"")
    with pytest.raises(OutputError, match=r"manifest\.jsonl") as caught:
        Manifest.open(path)
    assert str(tmp_path) not in str(caught.value)
    assert not (tmp_path / "elsewhere").exists()


def test_nothing_is_recorded_in_a_closed_manifest(tmp_path: Path) -> None:
    manifest = Manifest.open(tmp_path / "manifest.jsonl")
    manifest.close()
    with pytest.raises(OutputLost, match="closed"):
        manifest.about_to_write("a.png", sha256="0")
