"""Which pictures are meant, and under which names: links, loops, and names that meet."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from camouflage.batch import Manifest, find_jobs, outcome_json, run_folder
from camouflage.batch.jobs import folded
from camouflage.batch.report import people_lines
from camouflage.errors import SettingError

posix = pytest.mark.skipif(os.name != "posix", reason="links and names are those of POSIX")


def picture(path: Path, colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), colour).save(path)
    return path


def names(inputs: list[Path], output: Path) -> dict[str, str]:
    return {job.relative: job.problem for job in find_jobs(inputs, output=output).jobs}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("IMG_1.JPG", "img_1.jpg"),
        (unicodedata.normalize("NFC", "é.png"), unicodedata.normalize("NFD", "é.png")),
        (unicodedata.normalize("NFD", "É.png"), unicodedata.normalize("NFC", "é.PNG")),
        ("ΣΊΣΥΦΟΣ.png", "σίσυφος.png"),
        ("Ж/a.png", "ж/a.png"),
        ("STRAẞE.png", "straße.png"),
        ("ᾳ.png", unicodedata.normalize("NFD", "ᾳ.png")),
        ("각.png", unicodedata.normalize("NFD", "각.png")),
    ],
)
def test_names_that_are_one_on_many_disks(tmp_path: Path, one: str, other: str) -> None:
    picture(tmp_path / "1" / one)
    picture(tmp_path / "2" / other)
    with pytest.raises(SettingError, match="one name on many disks"):
        find_jobs([tmp_path / "1", tmp_path / "2"], output=tmp_path / "out")


@pytest.mark.parametrize(
    ("one", "other"),
    [("straße.png", "strasse.png"), ("ﬁ.png", "fi.png"), ("1.png", "¹.png"), ("и.png", "й.png")],
)
def test_names_that_are_two(tmp_path: Path, one: str, other: str) -> None:
    picture(tmp_path / "1" / one)
    picture(tmp_path / "2" / other)
    assert len(names([tmp_path / "1", tmp_path / "2"], tmp_path / "out")) == 2
    assert folded(one) != folded(other)


def test_a_sheet_meets_in_another_case(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "A.Sheet.JPG")
    find_jobs([tmp_path / "in"], output=tmp_path / "out")
    with pytest.raises(SettingError, match="many disks"):
        find_jobs([tmp_path / "in"], output=tmp_path / "out", sheet=True)


def test_a_picture_is_named_as_a_folder(tmp_path: Path) -> None:
    picture(tmp_path / "1" / "a.png")
    picture(tmp_path / "2" / "A.png" / "b.png")
    with pytest.raises(SettingError, match=r"A\.png and a\.png"):
        find_jobs([tmp_path / "1", tmp_path / "2"], output=tmp_path / "out")


@pytest.mark.parametrize("name", ["manifest.jsonl", "RECIPE.yaml"])
def test_an_input_named_as_a_file_of_ours(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SettingError):
        find_jobs([tmp_path / name], output=tmp_path / "out")


@posix
def test_every_way_out_of_a_folder(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "in"
    secret = picture(outside / "secret.png")
    inside = picture(folder / "deep" / "a.png")
    (folder / "absolute.png").symlink_to(secret)
    (folder / "relative.png").symlink_to("../outside/secret.png")
    (folder / "twice.png").symlink_to("relative.png")
    (folder / "dangling.png").symlink_to(tmp_path / "nothing.png")
    (folder / "folder").symlink_to(outside)
    (folder / "up").symlink_to("..")
    (folder / "beside.png").symlink_to(tmp_path / "in2.png")  # "in" is how this name starts
    picture(tmp_path / "in2.png")
    (folder / "near.png").symlink_to(inside)
    (folder / "again").symlink_to("deep")
    (folder / "self").symlink_to(".")
    (folder / "loop.png").symlink_to("loop.png")
    found = names([folder], tmp_path / "out")
    out = {"absolute.png", "relative.png", "twice.png", "dangling.png", "folder", "up"}
    out |= {"beside.png"}
    assert {name for name, problem in found.items() if problem} == out
    assert {name for name, problem in found.items() if not problem} == {
        "deep/a.png",
        "near.png",
        "loop.png",
    }


@posix
def test_what_becomes_of_links(anonymizer, tmp_path: Path) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    picture(tmp_path / "secret.png")
    picture(folder / "a.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "gone.png").symlink_to("nothing.png")
    (folder / "out.png").symlink_to("../secret.png")
    jobs = find_jobs([folder], output=output).jobs
    with Manifest.open(output / "manifest.jsonl") as manifest:
        outcomes = list(run_folder(anonymizer, jobs, output=output, manifest=manifest, weights="w"))
    states = {o.job.relative: o.state for o in outcomes}
    expected = {"a.png": "written", "gone.png": "failed", "loop.png": "failed", "out.png": "failed"}
    assert states == expected
    assert [name for name, _ in anonymizer.calls] == ["a.png"]
    assert str(tmp_path) not in "".join(o.message for o in outcomes)


@posix
def test_an_input_that_is_a_link_is_meant(tmp_path: Path) -> None:
    picture(tmp_path / "real" / "a.png")
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "b.png").symlink_to("real/a.png")
    found = names([tmp_path / "folder", tmp_path / "b.png"], tmp_path / "out")
    assert found == {"a.png": "", "b.png": ""}


@posix
@pytest.mark.parametrize("spelled", ["in/out", "in/deep/../out", "alias/out", "link"])
def test_the_output_inside_the_input_however_spelled(
    tmp_path: Path, spelled: str, monkeypatch
) -> None:
    folder = tmp_path / "in"
    picture(folder / "a.png")
    (folder / "deep").mkdir()
    picture(folder / "out" / "result.png")
    picture(folder / "out" / "deep" / "result.png")
    picture(folder / "outside" / "b.png")
    (tmp_path / "alias").symlink_to("in")
    (tmp_path / "link").symlink_to("in/out")
    assert set(names([folder], tmp_path / spelled)) == {"a.png", "outside/b.png"}
    monkeypatch.chdir(tmp_path)
    assert set(names([Path("in")], Path(spelled))) == {"a.png", "outside/b.png"}


@posix
def test_over_an_input_by_another_name(tmp_path: Path) -> None:
    """On a disk that knows no case, ``Album`` and ``album`` are one; a hard link stands for it."""
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "IN").mkdir()
    os.link(tmp_path / "in" / "a.png", tmp_path / "IN" / "a.png")
    with pytest.raises(SettingError, match="over an input"):
        find_jobs([tmp_path / "in"], output=tmp_path / "IN")


def test_among_the_inputs(tmp_path: Path) -> None:
    """The next run would take such a result for an input."""
    picture(tmp_path / "photos" / "photos" / "a.png")
    picture(tmp_path / "photos" / "b.png")
    with pytest.raises(SettingError, match="among the inputs"):
        find_jobs([tmp_path / "photos"], output=tmp_path)
    assert set(names([tmp_path / "photos" / "b.png"], tmp_path)) == {"b.png"}


NAMES = [
    "写真 😀.png", "\u202eright-to-left.png", "שלום.png", "a\nb.png", "\x1b[2Jclear.png",
    "[bold]x.png", "-rf.png", " .png", "%s{0}.png", unicodedata.normalize("NFD", "Ångström.png"),
    "x" * 240 + ".png",
]  # fmt: skip


@posix
@pytest.mark.parametrize("name", [*NAMES, os.fsdecode(b"\xff\xfe.png")])
def test_any_name(anonymizer, tmp_path: Path, name: str) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    try:
        picture(folder / name)
        picture(folder / f"refused{name}")
    except OSError:
        pytest.skip("not on this disk")
    for resumed in (False, True):
        jobs = find_jobs([folder], output=output).jobs
        with Manifest.open(output / "manifest.jsonl", key="7") as manifest:
            outcomes = {
                o.job.relative: o
                for o in run_folder(anonymizer, jobs, output=output, manifest=manifest, weights="w")
            }
        assert outcomes[name].state == "written"
        assert outcomes[name].resumed is resumed
    assert (output / name).exists()
    lines = people_lines(outcomes.values())
    assert len(lines) == 1
    assert lines[0].isprintable()
    machine = outcome_json(outcomes[name])
    assert machine.isascii()
    assert json.loads(machine)["input"] == name


@posix
@pytest.mark.skipif(sys.platform == "darwin", reason="longer names are possible there")
def test_a_name_that_is_too_long_for_its_sheet(anonymizer, tmp_path: Path) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    picture(folder / ("x" * 251 + ".png"))
    picture(folder / "y.png")
    jobs = find_jobs([folder], output=output, sheet=True).jobs
    with Manifest.open(output / "manifest.jsonl") as manifest:
        outcomes = list(
            run_folder(anonymizer, jobs, output=output, manifest=manifest, weights="w", sheet=True)
        )
    assert [o.state for o in outcomes] == ["failed", "written"]
    assert "File name too long" in outcomes[0].message
    assert sorted(f.name for f in output.iterdir()) == ["manifest.jsonl", "y.png", "y.sheet.jpg"]


def test_masks_of_an_earlier_run_are_passed_over(tmp_path: Path) -> None:
    """By name, and by what is in them: a photograph is an input whatever it is called."""
    folder = tmp_path / "album"
    mask = Image.new("L", (4, 4))
    mask.paste(255, (1, 1, 3, 3))
    for name in ("a.jpg", "deep/b.png", "c.webp", "d.png"):
        picture(folder / name)
    for name in ("a.mask.png", "deep/b.mask.png", "nobodys.mask.png", "deep/a.mask.png"):
        mask.save(folder / name)
    Image.new("L", (4, 4), 128).save(folder / "c.mask.png")
    picture(folder / "d.mask.png")
    (folder / "notes.txt").write_text("no picture")
    found = find_jobs([folder], output=tmp_path / "out", masks=False)
    assert {job.relative for job in found.jobs} == {
        "a.jpg", "deep/b.png", "c.webp", "d.png",
        "nobodys.mask.png", "deep/a.mask.png", "c.mask.png", "d.mask.png",
    }  # fmt: skip
    assert found.passed_over == 3
    named = [folder / "a.jpg", folder / "a.mask.png"]
    assert set(names(named, tmp_path / "out")) == {"a.jpg"}
    assert set(names(named[1:], tmp_path / "out")) == {"a.mask.png"}, "who names it alone means it"


@posix
def test_a_pipe_named_as_a_mask_is_not_waited_for(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    os.mkfifo(tmp_path / "in" / "a.mask.png")
    assert "a.mask.png" in names([tmp_path / "in"], tmp_path / "out")


def test_the_film_of_a_photograph_takes_no_names(tmp_path: Path) -> None:
    """Of a film nothing is written, so nothing stands beside it: phones write such pairs."""
    folder = tmp_path / "album"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(folder / "IMG_1.jpg")
    (folder / "IMG_1.MOV").write_bytes(b"film")
    jobs = find_jobs([folder], output=tmp_path / "out", sheet=True).jobs
    names = {job.relative: job.beside() for job in jobs}
    assert names["IMG_1.MOV"] == ()
    assert "IMG_1.sheet.jpg" in names["IMG_1.jpg"]
