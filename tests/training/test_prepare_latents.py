"""Pictures to shards of latents: what is kept, what is left out, and going on after a stop."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image

import training.encode
import training.preparation
from camouflage.denoise.latents import encode, pixels_from_pictures
from training.encode import latents
from training.frozen import load_autoencoder
from training.shards import Prepared, read_latents, shard_paths, vae_facts
from training.split import fingerprint, near_copies
from training.squares import squares_of
from training.survey import find_pictures, look


@pytest.fixture(name="vae")
def _vae(workplace):
    return workplace / "runs" / "base" / "vae"


@pytest.fixture(name="pictures")
def _pictures(tmp_path, picture):
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for number in range(6):
        Image.fromarray(picture(number)).save(folder / f"{number}.png")
    Image.fromarray(picture(7)).save(folder / "below" / "7.png")
    return folder


def prepare(pictures: Path, vae: Path, output: Path, **settings) -> None:
    defaults = {"side": 32, "heldout": 0.2, "workers": 0, "shard": 2}
    latents([pictures], vae=str(vae), output=output, **(defaults | settings))


def left_out(output: Path) -> dict[str, str]:
    lines = (output / "left_out.jsonl").read_text().splitlines()
    return {line["name"]: line["reason"] for line in map(json.loads, lines)}


def test_the_published_autoencoder_is_known_by_defaults(sd15_folders, pictures, tmp_path):
    """Its settings are of diffusers 0.4.2, which had no scaling factor."""
    vae = sd15_folders / "sd-vae-ft-mse"
    assert "scaling_factor" not in json.loads((vae / "config.json").read_text())
    facts = vae_facts(vae)
    assert (facts["scaling_factor"], facts["shift_factor"]) == (0.18215, 0.0)
    prepare(pictures, vae, tmp_path / "out")
    prepared = Prepared.read(tmp_path / "out")
    assert prepared.scaling_factor == load_autoencoder(str(vae)).config["scaling_factor"]
    prepared.require(vae)


def test_every_picture_is_used_once_or_listed(pictures, vae, tmp_path, capsys, picture):
    (pictures / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (pictures / "notes.txt").write_text("no picture by its name")
    (pictures / "copy.png").write_bytes((pictures / "3.png").read_bytes())
    Image.fromarray(picture(8, 20, 90)).save(pictures / "small.png")
    output = tmp_path / "out"
    prepare(pictures, vae, output)
    reasons = left_out(output)
    assert set(reasons) == {"photos/torn.jpg", "photos/copy.png", "photos/small.png"}
    assert reasons["photos/torn.jpg"].startswith("unreadable")
    assert reasons["photos/small.png"] == "too small: 20 px"
    assert reasons["photos/copy.png"] == "copy: of photos/3.png"
    assert "torn.jpg" in capsys.readouterr().err
    found = Prepared.read(output)
    assert found.complete
    assert found.left_out == {"unreadable": 1, "too small": 1, "copy": 1}
    samples = {split: list(read_latents(output, split)) for split in ("train", "heldout")}
    assert {split: len(rows) for split, rows in samples.items()} == found.samples
    assert sum(found.samples.values()) == sum(found.pictures.values()) == 7
    assert found.samples["heldout"] == 2
    assert all(len(Path(p).read_bytes()) > 0 for p in shard_paths(output, "train"))
    assert len(shard_paths(output, "train")) == 3, "two samples a shard"


def test_a_latent_is_the_mode_of_the_upright_square(vae, tmp_path, picture):
    """Exif orientation is applied; the mirror image is encoded by itself."""
    folder = tmp_path / "photos"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(picture(1, 32, 32)).save(folder / "a.png", exif=exif)
    Image.fromarray(picture(2, 32, 32)).save(folder / "b.png")
    prepare(folder, vae, tmp_path / "out", heldout=0.5)
    rows = [
        row for split in ("train", "heldout") for _, row in read_latents(tmp_path / "out", split)
    ]
    model = load_autoencoder(str(vae))
    for square in (np.rot90(picture(1, 32, 32), -1), picture(2, 32, 32)):
        with torch.no_grad():
            z_0 = encode(model, pixels_from_pictures([square]))[0].half()
            mirrored = encode(model, pixels_from_pictures([square[:, ::-1]]))[0].half()
        # float16: another batch may round the last bit otherwise
        near = [r for r in rows if torch.allclose(r["z_0"], z_0, atol=2e-3)]
        assert len(near) == 1
        torch.testing.assert_close(near[0]["mirrored"], mirrored, atol=2e-3, rtol=0)
        assert near[0]["z_0"].dtype == torch.float16
        assert not torch.allclose(near[0]["mirrored"], z_0.flip(-1), atol=2e-3)


def test_squares_lie_along_the_longer_side(picture):
    wide = picture(0, 32, 80)
    assert np.array_equal(squares_of(wide, 32, 1), wide[None, :, 24:56])
    ends = squares_of(wide, 32, 2)
    assert np.array_equal(ends, np.stack([wide[:, :32], wide[:, 48:]]))
    tall = wide.transpose(1, 0, 2)
    assert np.array_equal(squares_of(np.ascontiguousarray(tall), 32, 2), ends.transpose(0, 2, 1, 3))
    assert len(squares_of(picture(0, 64, 64), 32, 5)) == 1, "those that coincide are taken once"
    assert squares_of(picture(0, 67, 1001), 32, 3).shape == (3, 32, 32, 3)


def test_an_interrupted_run_loses_one_shard_at_most_and_ends_the_same(
    pictures, vae, tmp_path, monkeypatch
):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    prepare(pictures, vae, whole)
    true, calls = training.encode.encoded, []

    def third_fails(*args, **kwargs):
        calls.append(0)
        for count, sample in enumerate(true(*args, **kwargs)):
            if len(calls) == 3 and count == 1:
                raise KeyboardInterrupt
            yield sample

    monkeypatch.setattr(training.encode, "encoded", third_fails)
    with pytest.raises(KeyboardInterrupt):
        prepare(pictures, vae, stopped)
    monkeypatch.setattr(training.encode, "encoded", true)
    done = {p.name: p.stat().st_mtime_ns for p in stopped.glob("*.tar")}
    assert len(done) == 2
    with pytest.raises(ValueError, match="not complete"):
        Prepared.read(stopped).require(vae)
    prepare(pictures, vae, stopped)
    assert not list(stopped.glob(".*.part"))
    for path in sorted(whole.glob("*.tar")):
        assert path.read_bytes() == (stopped / path.name).read_bytes()
    assert {n: (stopped / n).stat().st_mtime_ns for n in done} == done, "not written again"
    assert Prepared.read(stopped) == Prepared.read(whole)


def test_a_torn_record_of_the_look_is_gone_on_with(pictures, tmp_path, monkeypatch):
    files, record = find_pictures([pictures]), tmp_path / "pictures.jsonl"
    seen = look(files, record, workers=0)
    text = record.read_bytes()
    record.write_bytes(text[: len(text) // 2])
    again = look(files, record, workers=0)
    assert again == seen
    assert sorted(record.read_bytes().splitlines()) == sorted(text.splitlines())


def test_a_picture_that_changed_meanwhile_is_listed(pictures, vae, tmp_path, monkeypatch, picture):
    plan = training.preparation.make_plan

    def then_change(*args, **kwargs):
        result = plan(*args, **kwargs)
        Image.fromarray(picture(99)).save(pictures / "2.png")
        (pictures / "4.png").unlink()
        return result

    monkeypatch.setattr(training.preparation, "make_plan", then_change)
    prepare(pictures, vae, tmp_path / "out")
    reasons = left_out(tmp_path / "out")
    assert reasons["photos/2.png"].startswith("changed")
    assert reasons["photos/4.png"].startswith("unreadable")
    found = Prepared.read(tmp_path / "out")
    assert sum(found.samples.values()) == 5


def test_two_sets_of_settings_do_not_mix(pictures, vae, tmp_path, new_base, picture):
    prepare(pictures, vae, tmp_path / "out")
    with pytest.raises(typer.BadParameter, match="side_px"):
        prepare(pictures, vae, tmp_path / "out", side=40)
    Image.fromarray(picture(50)).save(pictures / "new.png")
    with pytest.raises(typer.BadParameter, match="plan_sha256"):
        prepare(pictures, vae, tmp_path / "out")


def test_near_copies_stay_on_one_side(picture):
    rows = [fingerprint(picture(number, 200, 260)) for number in range(12)]
    assert len(set(near_copies(rows))) == 12, "different pictures are not merged"
    scaled = Image.fromarray(picture(3, 200, 260)).resize((150, 115), Image.Resampling.LANCZOS)
    groups = near_copies([*rows, fingerprint(np.asarray(scaled))])
    assert groups[3] == groups[-1]
    flips = [0, 0b111, 0b1111 << 30, 1 << 63]
    a, b, c, d = near_copies(flips)
    assert a == b == d != c


def test_sources_of_one_name_are_refused(tmp_path):
    for place in ("x", "y"):
        (tmp_path / place / "photos").mkdir(parents=True)
    with pytest.raises(ValueError, match="different names"):
        find_pictures([tmp_path / "x" / "photos", tmp_path / "y" / "photos"])
    with pytest.raises(ValueError, match="no picture"):
        find_pictures([tmp_path / "x"])
