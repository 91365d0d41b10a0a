"""Pictures to the samples of CAMOUFLaGE-Light: what is stored, captions, going on after a stop."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

import training.encode_light
from camouflage.annotators.attributes import AttributeNet, predict_attributes
from camouflage.annotators.image_encoder import encoder_input
from camouflage.denoise.latents import encode, pixels_from_pictures
from camouflage.subjects.faces import FaceDetector
from training.captions import read_captions
from training.encode_light import encoder_picture, light
from training.frozen import load_autoencoder, weights_sha256
from training.latents import LatentData
from training.prepare import app
from training.shards import LightPrepared, Prepared, read_blob, read_samples
from training.squares import squares_of


@pytest.fixture(name="runs")
def _runs(workplace):
    return workplace / "runs"


@pytest.fixture(name="photos")
def _photos(tmp_path, picture, face_picture):
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for number in range(4):
        Image.fromarray(picture(number, 64, 80)).save(folder / f"{number}.png")
    Image.fromarray(face_picture()).save(folder / "below" / "face.png")
    return folder


@pytest.fixture(name="prepare")
def _prepare(runs):
    def run(photos: Path, output: Path, **settings) -> None:
        defaults = {"side": 64, "encoder_side": 32, "heldout": 0.2, "workers": 0, "shard": 2}
        parts = {"vae": str(runs / "base" / "vae"), "attributes": str(runs / "facer")}
        light([photos], output=output, **(parts | defaults | settings))

    return run


def samples(output: Path) -> list[dict]:
    return [row for split in ("train", "heldout") for row in read_samples(output, split)]


def table(path: Path, rows: dict[str, str], columns=("file_name", "caption")) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows.items()])
    return path


def test_a_sample_is_what_the_product_makes_of_the_middle_square(
    photos, prepare, runs, tmp_path, face_picture
):
    prepare(photos, tmp_path / "out")
    with_faces = [r for r in map(read_blob, samples(tmp_path / "out")) if len(r["boxes_xyxy"])]
    assert len(with_faces) == 1
    (found,) = with_faces
    square = squares_of(face_picture(), 64, 1)[0]
    faces = FaceDetector().detect(square)
    points = [face.points_xy for face in faces]
    net = AttributeNet.from_pretrained(runs / "facer").eval()
    told = predict_attributes(net, [square] * len(faces), points)
    assert found["boxes_xyxy"].tolist() == [list(face.box_xyxy) for face in faces]
    assert np.array_equal(found["points_xy"].numpy(), np.stack(points))
    np.testing.assert_allclose(found["attributes"].numpy(), told, atol=1e-6)
    assert torch.equal(
        encoder_input([found["encoder_picture"].numpy()], 32), encoder_input([square], 32)
    )
    with torch.no_grad():
        z_0 = encode(load_autoencoder(str(runs / "base" / "vae")), pixels_from_pictures([square]))
    torch.testing.assert_close(found["z_0"].float(), z_0[0], atol=2e-3, rtol=0)  # float16
    assert found["z_0"].dtype == torch.float16
    assert set(found) == {"z_0", "encoder_picture", "boxes_xyxy", "points_xy", "attributes"}


def test_a_picture_without_a_face_and_without_a_caption_is_a_sample_too(photos, prepare, tmp_path):
    prepare(photos, tmp_path / "out")
    rows = samples(tmp_path / "out")
    assert len(rows) == 5
    assert {row["txt"] for row in rows} == {b""}
    shapes = [[read_blob(row)[n].shape for n in ("boxes_xyxy", "points_xy")] for row in rows]
    assert shapes.count([(0, 4), (0, 5, 2)]) == 4
    found = LightPrepared.read(tmp_path / "out")
    assert found.complete
    assert sum(found.samples.values()) == 5, "a sample is counted once, not by its files"
    assert (found.mirror, found.crops, found.captions) == (False, 1, "")


def test_the_encoders_picture_is_cut_exactly(picture):
    """uint8 levels survive the colours' normalisation and back."""
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    assert np.array_equal(encoder_picture(every, 16).numpy(), every)
    square = picture(3, 40, 40)
    stored = encoder_picture(square, 24).numpy()
    assert torch.equal(encoder_input([stored], 24), encoder_input([square], 24))


def test_captions_of_a_table_reach_their_pictures(photos, prepare, tmp_path, picture):
    rows = {f"{n}.png": f"picture,  {n}\n" for n in range(3)} | {"gone.png": "nobody"}
    prepare(photos, tmp_path / "out", captions=table(tmp_path / "c.csv", rows))
    seen = {}
    for row in samples(tmp_path / "out"):
        stored = read_blob(row)["encoder_picture"].numpy()
        for number in range(4):
            if np.array_equal(
                stored, encoder_picture(squares_of(picture(number, 64, 80), 64, 1)[0], 32).numpy()
            ):
                seen[number] = row["txt"].decode()
    assert seen == {0: "picture, 0", 1: "picture, 1", 2: "picture, 2", 3: ""}
    _, digest = read_captions(tmp_path / "c.csv", ["photos/0.png"])
    assert LightPrepared.read(tmp_path / "out").captions == digest


def test_a_table_names_pictures_clearly(tmp_path):
    one, two = ["a/x.png", "a/b/y.png"], ["a/x.png", "b/x.png"]
    both = table(tmp_path / "both.csv", {"a/x.png": "1", "b/y.png": "2"})
    assert read_captions(both, one)[0] == {"a/x.png": "1", "a/b/y.png": "2"}
    assert read_captions(both, two)[0] == {"a/x.png": "1"}
    bare = table(tmp_path / "bare.csv", {"x.png": "1"})
    with pytest.raises(ValueError, match="no row is of a picture"):
        read_captions(bare, two)
    with pytest.raises(ValueError, match=r"two captions of a/x\.png"):
        read_captions(table(tmp_path / "twice.csv", {"a/x.png": "1", "x.png": "2"}), one)
    with pytest.raises(ValueError, match=r"missing \['caption'\]"):
        read_captions(table(tmp_path / "c.csv", {"x.png": "1"}, ("file_name", "text")), one)


class Speaker:
    """In the place of BLIP."""

    def __call__(self, pictures) -> list[str]:
        return [f"about {int(picture.mean())}" for picture in pictures]


def test_the_captioner_tells_of_each_square(photos, prepare, tmp_path, monkeypatch):
    folder = tmp_path / "captioner"
    folder.mkdir()
    asked = []

    def from_folder(path, *, device):
        asked.append((path, device))
        return Speaker()

    monkeypatch.setattr(training.encode_light.Captioner, "from_folder", from_folder)
    prepare(photos, tmp_path / "out", caption=True, captioner=str(folder), device="cpu")
    assert asked == [(folder, "cpu")]
    texts = [row["txt"].decode() for row in samples(tmp_path / "out")]
    assert len(set(texts)) == 5
    assert all(text.startswith("about ") for text in texts)
    with pytest.raises(typer.BadParameter, match="not both"):
        prepare(photos, tmp_path / "x", caption=True, captions=tmp_path / "c.csv")


def test_an_interrupted_run_ends_the_same(photos, prepare, tmp_path, monkeypatch):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    captions = table(tmp_path / "c.csv", {f"{n}.png": str(n) for n in range(4)})
    prepare(photos, whole, captions=captions)
    true, calls = training.encode_light.faces_of, []

    def fourth_fails(*args):
        calls.append(0)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return true(*args)

    monkeypatch.setattr(training.encode_light, "faces_of", fourth_fails)
    with pytest.raises(KeyboardInterrupt):
        prepare(photos, stopped, captions=captions)
    done = {p.name: p.stat().st_mtime_ns for p in stopped.glob("*.tar")}
    assert len(done) == 2
    prepare(photos, stopped, captions=captions)
    assert {p.name for p in whole.glob("*.tar")} == {p.name for p in stopped.glob("*.tar")}
    for path in whole.glob("*.tar"):
        assert path.read_bytes() == (stopped / path.name).read_bytes()
    assert {n: (stopped / n).stat().st_mtime_ns for n in done} == done, "not written again"
    assert LightPrepared.read(stopped) == LightPrepared.read(whole)


def test_other_settings_and_captions_do_not_mix(photos, prepare, runs, tmp_path):
    prepare(photos, tmp_path / "out")
    prepared = LightPrepared.read(tmp_path / "out")
    assert prepared.attributes_sha256 == weights_sha256(runs / "facer")
    with pytest.raises(typer.BadParameter, match="encoder_side_px"):
        prepare(photos, tmp_path / "out", encoder_side=48)
    captions = table(tmp_path / "c.csv", {"1.png": "one"})
    with pytest.raises(typer.BadParameter, match="captions"):
        prepare(photos, tmp_path / "out", captions=captions)


def test_small_and_broken_pictures_are_listed(photos, prepare, tmp_path, picture):
    (photos / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    Image.fromarray(picture(8, 20, 90)).save(photos / "small.png")
    prepare(photos, tmp_path / "out")
    listed = (tmp_path / "out" / "left_out.jsonl").read_text()
    assert "too small: 20 px" in listed
    assert "unreadable" in listed
    assert LightPrepared.read(tmp_path / "out").left_out == {"unreadable": 1, "too small": 1}


def test_shards_of_the_two_kinds_are_told_apart(runs):
    with pytest.raises(ValueError, match=r"training\.prepare latents"):
        LatentData(str(runs / "light-512"), str(runs / "base" / "vae"))
    with pytest.raises(ValueError, match=r"training\.prepare light"):
        LightPrepared.read(runs / "latents-512")
    with pytest.raises(FileNotFoundError, match=r"training\.prepare light"):
        LightPrepared.read(runs)
    assert Prepared.read(runs / "latents-512").complete


def test_the_command_line(photos, runs, tmp_path):
    captions = table(tmp_path / "c.csv", {"1.png": "one"})
    options = {
        "--vae": runs / "base" / "vae", "--attributes": runs / "facer", "--captions": captions,
        "--output": tmp_path / "out", "--side": 64, "--encoder-side": 32, "--heldout": 0.2,
        "--workers": 0,
    }  # fmt: skip
    words = [str(word) for pair in options.items() for word in pair]
    result = CliRunner().invoke(app, ["light", str(photos), *words])
    assert result.exit_code == 0, result.output
    assert "1 of 5 pictures have a caption" in result.output
    assert sum(LightPrepared.read(tmp_path / "out").samples.values()) == 5
