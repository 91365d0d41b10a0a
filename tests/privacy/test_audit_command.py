"""``camouflage audit``: a state for every picture of any tool's folder, and the exit status."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from skimage.data import astronaut
from typer.testing import CliRunner

from camouflage import cli, obfuscate
from camouflage.audit import Recogniser
from camouflage.audit import folders as module
from camouflage.audit.carried import carried
from camouflage.audit.folders import Audited, audit_pairs, summary
from camouflage.audit.pairs import find_pairs
from camouflage.errors import NonFiniteResult, SettingError
from camouflage.subjects.faces import FaceDetector

ORIGINAL = astronaut()[:256, 100:356].copy()
BOX = (75, 40, 180, 190)
COVERED = obfuscate.solid(ORIGINAL, [BOX])
NOBODY = np.full((64, 64, 3), 120, np.uint8)
runner = CliRunner()


@pytest.fixture(scope="module")
def tools() -> dict:
    return {"recogniser": Recogniser(), "detector": FaceDetector(threads=1)}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("in", "out"):
        (tmp_path / name / "deep").mkdir(parents=True)
    return tmp_path / "in", tmp_path / "out"


def save(path: Path, pixels: np.ndarray, **settings: object) -> None:
    Image.fromarray(pixels).save(path, **settings)


def states(originals: Path, results: Path, tools: dict) -> dict[str, str]:
    return {
        one.pair.result_name or one.pair.name: one.state
        for one in audit_pairs(find_pairs(originals, results), **tools)
    }


def one(tmp_path: Path, tools: dict, *, result: bytes, suffix: str = ".png") -> Audited:
    save(tmp_path / "original.png", ORIGINAL)
    (tmp_path / f"result{suffix}").write_bytes(result)
    pairs = find_pairs(tmp_path / "original.png", tmp_path / f"result{suffix}")
    return next(iter(audit_pairs(pairs, **tools)))


def encoded(pixels: np.ndarray, kind: str = "PNG", **settings: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **settings)
    return buffer.getvalue()


def test_every_picture_has_a_state(folders: tuple[Path, Path], tools: dict) -> None:
    originals, results = folders
    for name in ("good.png", "same.png", "deep/other.png", "broken.png", "missing.png", "two.jpg"):
        save(originals / name, ORIGINAL)
    save(originals / "nobody.png", NOBODY)
    (originals / "notes.txt").write_text("no picture")
    save(results / "good.png", COVERED)
    save(results / "same.png", ORIGINAL)
    save(results / "deep" / "other.webp", COVERED)
    (results / "broken.png").write_bytes(b"no picture")
    save(results / "nobody.png", NOBODY)
    save(results / "two.png", COVERED)
    save(results / "two.webp", ORIGINAL)
    save(results / "good.sheet.jpg", ORIGINAL)
    (results / "manifest.jsonl").write_text("{}")
    assert states(originals, results, tools) == {
        "good.png": "passed",
        "same.png": "failed",
        "deep/other.webp": "passed",
        "broken.png": "unreadable",
        "missing.png": "missing",
        "nobody.png": "nobody",
        "two.png": "passed",
        "two.webp": "failed",
        "good.sheet.jpg": "unpaired",
    }


def test_masks_are_passed_over_and_what_only_has_their_name_is_not(
    folders: tuple[Path, Path], tools: dict
) -> None:
    originals, results = folders
    mask = np.zeros((256, 256), np.uint8)
    mask[40:190, 75:180] = 255
    for name in ("a.jpg", "deep/b.png", "c.png"):
        save(originals / name, ORIGINAL)
        save((results / name).with_suffix(".png"), COVERED)
        save((results / name).with_suffix(".mask.png"), mask)
    save(originals / "a.mask.png", mask)  # of an earlier run
    save(results / "c.mask.png", ORIGINAL[..., 0])  # a picture of a person
    save(results / "nobodys.mask.png", mask)
    save(results / "a.sheet.jpg", ORIGINAL)
    (results / "deep" / "b.mask.png").unlink()
    (results / "deep" / "b.mask.png").write_bytes(b"damaged")
    assert states(originals, results, tools) == {
        "a.png": "passed",
        "deep/b.png": "passed",
        "c.png": "passed",
        "c.mask.png": "unpaired",
        "nobodys.mask.png": "unpaired",
        "a.sheet.jpg": "unpaired",
        "deep/b.mask.png": "unpaired",
    }


def test_the_command(folders: tuple[Path, Path], tmp_path: Path) -> None:
    originals, results = folders
    report = tmp_path / "report.json"
    for name in ("a.png", "b.png"):
        save(originals / name, ORIGINAL)
    save(results / "a.png", COVERED)
    arguments = ["audit", str(originals), str(results)]
    outcome = runner.invoke(cli.app, [*arguments, "--report", str(report)])
    assert outcome.exit_code == 0, outcome.output
    assert "missing    b.png" in outcome.output
    assert runner.invoke(cli.app, [*arguments, "--require-all"]).exit_code == 1
    written = json.loads(report.read_text())
    assert written["summary"]["states"]["passed"] == 1
    assert written["pictures"][0]["faces"][0]["distance"] > 0.6
    assert report.stat().st_mode & 0o077 == 0
    assert str(tmp_path) not in report.read_text()

    save(results / "b.png", ORIGINAL)
    outcome = runner.invoke(cli.app, [*arguments, "--json"])
    assert outcome.exit_code == 1
    lines = [json.loads(line) for line in outcome.stdout.splitlines() if line.startswith("{")]
    assert [line.get("state") for line in lines] == ["passed", "failed", None]
    assert lines[-1]["summary"]["passed"] is False
    assert "face 1 of 1" in lines[1]["reasons"][0]


@pytest.mark.skipif(os.name != "posix", reason="such names are those of POSIX")
def test_names_do_not_reach_the_terminal_as_they_are(folders: tuple[Path, Path]) -> None:
    originals, results = folders
    save(originals / "good.png", ORIGINAL)
    save(results / "good.png", COVERED)
    save(results / "\x1b[2Jalone.png", COVERED)
    (originals / "\x1b[2Jbroken.png").write_bytes(b"no picture")
    (results / "\x1b[2Jbroken.png").write_bytes(b"no picture")
    outcome = runner.invoke(cli.app, ["audit", str(originals), str(results)])
    assert outcome.exit_code == 1
    assert "\\x1b[2Jalone.png" in outcome.output
    assert "\\x1b[2Jbroken.png: expected a picture" in outcome.output
    assert "\x1b" not in outcome.output


def test_a_stricter_threshold(folders: tuple[Path, Path]) -> None:
    originals, results = folders
    save(originals / "a.png", ORIGINAL)
    save(results / "a.png", COVERED)
    arguments = ["audit", str(originals), str(results), "--threshold"]
    assert runner.invoke(cli.app, [*arguments, "0.6"]).exit_code == 0
    assert runner.invoke(cli.app, [*arguments, "1.9"]).exit_code == 1


def test_wrong_usage_is_status_2(folders: tuple[Path, Path], tmp_path: Path) -> None:
    originals, results = folders
    save(originals / "a.png", ORIGINAL)
    save(results / "other.png", COVERED)
    for arguments in (
        [str(originals), str(results)],  # no pair at all
        [str(originals), str(tmp_path / "nowhere")],
        [str(originals), str(originals)],
        [str(originals), str(tmp_path)],  # the originals inside the results
        [str(originals / "a.png"), str(results)],
        [str(originals / "a.png"), str(results / "other.png"), "--threshold", "0"],
        [str(originals / "a.png"), str(results / "other.png"), "--report", "a.png"],
        [str(originals)],
    ):
        outcome = runner.invoke(cli.app, ["audit", *arguments])
        assert outcome.exit_code == 2, (arguments, outcome.output)
        assert str(tmp_path) not in outcome.output.replace("\n", "")


def test_two_files_of_any_names(tmp_path: Path, tools: dict) -> None:
    assert one(tmp_path, tools, result=encoded(COVERED)).state == "passed"
    assert one(tmp_path, tools, result=encoded(ORIGINAL)).state == "failed"


def test_links_out_of_a_folder_are_not_followed(
    folders: tuple[Path, Path], tmp_path: Path, tools: dict
) -> None:
    originals, results = folders
    save(originals / "a.png", ORIGINAL)
    save(originals / "b.png", ORIGINAL)
    save(results / "b.png", COVERED)
    (tmp_path / "aside").mkdir()
    save(tmp_path / "aside" / "a.png", COVERED)
    (results / "a.png").symlink_to(tmp_path / "aside" / "a.png")
    (results / "more").symlink_to(tmp_path / "aside")
    found = list(audit_pairs(find_pairs(originals, results), **tools))
    by_name = {one.pair.result_name: one for one in found}
    assert by_name["a.png"].state == "unreadable"
    assert "link" in by_name["a.png"].reasons[0]
    assert by_name["more"].state == "unpaired"
    assert not summary(found, threshold=0.6, require_all=False)["passed"]


@pytest.mark.parametrize("side", [128, 200, 512])
def test_another_size_is_judged_at_the_smaller_one(tmp_path: Path, tools: dict, side: int) -> None:
    for pixels, state in ((COVERED, "passed"), (ORIGINAL, "failed")):
        resized = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))
        assert one(tmp_path, tools, result=encoded(resized)).state == state


def test_another_shape_fails(tmp_path: Path, tools: dict) -> None:
    for pixels in (COVERED[:-3], COVERED[:, :100]):
        found = one(tmp_path, tools, result=encoded(pixels))
        assert found.state == "failed"
        assert "expected a result" in found.reasons[0]


def test_a_face_the_detector_missed_in_the_original_fails(
    tmp_path: Path, tools: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody found at first, and then somebody on the result who is as before."""
    looks: list[int] = []

    class Blind(FaceDetector):
        def detect(self, pixels: np.ndarray) -> tuple:
            looks.append(1)
            return () if len(looks) == 1 else super().detect(pixels)

    blind = {**tools, "detector": Blind(threads=1)}
    found = one(tmp_path, blind, result=encoded(ORIGINAL))
    assert found.state == "failed"
    assert "missed" in found.reasons[0]


def test_trouble_with_one_does_not_stop_the_others(
    folders: tuple[Path, Path], tools: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    originals, results = folders
    for name in ("a.png", "b.png"):
        save(originals / name, ORIGINAL)
        save(results / name, COVERED)
    real, calls = module.audit, []

    def failing(*arguments, **settings):
        calls.append(1)
        if len(calls) == 1:
            raise NonFiniteResult("not finite")
        return real(*arguments, **settings)

    monkeypatch.setattr(module, "audit", failing)
    assert states(originals, results, tools) == {"a.png": "failed", "b.png": "passed"}


def with_thumbnail(pixels: np.ndarray, thumbnail: np.ndarray) -> bytes:
    """A JPEG with an EXIF thumbnail of 64 px, as cameras write it."""
    small = encoded(np.asarray(Image.fromarray(thumbnail).resize((64, 64))), "JPEG", quality=80)
    header = b"MM\x00*\x00\x00\x00\x08" + b"\x00\x00" + (14).to_bytes(4, "big")
    entries = b"\x00\x02"
    for tag, value in ((0x0201, 14 + 2 + 24 + 4), (0x0202, len(small))):
        entries += tag.to_bytes(2, "big") + b"\x00\x04" + (1).to_bytes(4, "big")
        entries += value.to_bytes(4, "big")
    exif = b"Exif\x00\x00" + header + entries + b"\x00" * 4 + small
    picture = encoded(pixels, "JPEG", quality=95)
    return picture[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + picture[2:]


def test_a_thumbnail_of_the_original_fails(tmp_path: Path, tools: dict) -> None:
    found = one(tmp_path, tools, result=with_thumbnail(COVERED, ORIGINAL), suffix=".jpg")
    assert found.state == "failed"
    assert found.reasons == ("a picture inside the result's file shows the original",)
    turned = np.rot90(ORIGINAL).copy()
    assert one(tmp_path, tools, result=with_thumbnail(COVERED, turned), suffix=".jpg").reasons
    own = one(tmp_path, tools, result=with_thumbnail(COVERED, COVERED), suffix=".jpg")
    assert own.state == "passed"
    assert "1 more pictures" in " ".join(own.warnings)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_bytes_behind_the_end_fail(tmp_path: Path, tools: dict, kind: str) -> None:
    clean = encoded(COVERED, kind)
    suffix = f".{kind.lower()}"
    assert carried(clean).trailing == 0
    assert one(tmp_path, tools, result=clean + bytes(64), suffix=suffix).state == "passed"
    found = one(tmp_path, tools, result=clean + b"ftypmp42", suffix=suffix)
    assert found.reasons == ("8 bytes behind the picture's end cannot be judged",)


def test_an_original_under_transparency_fails(tmp_path: Path, tools: dict) -> None:
    """It is shown on white where the face is; the pixels are all there."""
    alpha = np.full((256, 256, 1), 255, np.uint8)
    x0, y0, x1, y1 = BOX
    alpha[y0:y1, x0:x1] = 0
    found = one(tmp_path, tools, result=encoded(np.concatenate([ORIGINAL, alpha], 2)))
    assert found.state == "failed"
    assert found.reasons[0].startswith("under its transparency")
    assert found.verdict is not None
    assert found.verdict.passed
    assert one(tmp_path, tools, result=encoded(np.concatenate([COVERED, alpha], 2))).state == (
        "passed"
    )


def test_metadata_is_a_warning(tmp_path: Path, tools: dict) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    exif.get_ifd(0x8825)[1] = "N"
    text = PngImagePlugin.PngInfo()
    text.add_text("who", "a name")
    jpeg = one(
        tmp_path, tools, suffix=".jpg",
        result=encoded(COVERED, "JPEG", quality=95, exif=exif, comment=b"a name", xmp=b"<x/>"),
    )  # fmt: skip
    assert jpeg.state == "passed"
    for kind in ("EXIF", "GPS", "XMP", "a comment"):
        assert kind in " ".join(jpeg.warnings)
    png = one(tmp_path, tools, result=encoded(COVERED, pnginfo=text))
    assert png.warnings == ("the result's file has PNG text",)
    assert not one(tmp_path, tools, result=encoded(COVERED)).warnings


def test_wrong_threshold(tools: dict) -> None:
    with pytest.raises(SettingError):
        list(audit_pairs((), threshold=0, **tools))


def test_any_trouble_with_one_result_is_its_state(tmp_path: Path, monkeypatch) -> None:
    """Decoders of metadata raise what they like."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (40, 40), "white").save(tmp_path / name / "x.png")

    def broken(data: bytes):
        raise ValueError("negative seek value -5")

    monkeypatch.setattr("camouflage.audit.folders.carried", broken)
    outcome = runner.invoke(cli.app, ["audit", str(tmp_path / "a"), str(tmp_path / "b"), "--json"])
    assert outcome.exit_code == 1
    assert '"unreadable"' in outcome.stdout
