"""Building a pool, and its command, with networks that are stand-ins."""

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from camouflage.annotators.landmarks import LandmarkNet
from camouflage.errors import NonFiniteResult, SettingError, WeightsError
from camouflage.subjects.crops import align, template
from camouflage.subjects.faces import Face
from camouflage.swap import FacePool, build_pool, command

CLI = CliRunner()
SHA = "cd" * 32


class Eyes:
    """A face in the middle of every picture that is not black, a larger one if it is wide."""

    def detect(self, pixels):
        if not pixels.any():
            return ()
        height, width = pixels.shape[:2]
        boxes = [(8, 8, height - 8, height - 8)]
        if width > height:
            boxes.insert(0, (height, 8, height + 40, 48))
        return tuple(
            Face(
                box_xyxy=box,
                points_xy=template(box[2] - box[0]) + np.array(box[:2]),
                score=0.9 - 0.1 * i,
            )
            for i, box in enumerate(boxes)  # the best score first, not the largest
        )


class Colours:
    """An encoder of the mean colour."""

    name, sha256 = "colours", SHA

    def __init__(self):
        self.seen = []

    def __call__(self, crops):
        self.seen += crops
        return np.stack([crop.reshape(-1, 3).mean(0) for crop in crops])


def small_net():
    torch.manual_seed(0)
    return LandmarkNet(channels=(8, 8, 8), features=8).eval()


def save(path, colour, *, width=100):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((100, width, 3), colour, np.uint8)).save(path)
    return path


def build(pictures, output, **options):
    encoder = options.pop("embed", Colours())
    return build_pool(
        pictures,
        output=output,
        side=64,
        landmarker=small_net(),
        embed=encoder,
        detector=Eyes(),
        encoder_name="colours",
        encoder_sha256=SHA,
        suffix=".png",
        **options,
    )


@pytest.fixture(name="photos")
def _photos(tmp_path):
    folder = tmp_path / "photos"
    save(folder / "a.png", (200, 10, 10))
    save(folder / "b.png", (10, 200, 10))
    save(folder / "c.png", (11, 201, 10))  # nearly b
    save(folder / "d.png", (0, 0, 0))  # nobody
    save(folder / "f.png", (10, 10, 200), width=160)
    (folder / "e.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture either")
    return folder


def test_a_pool_of_a_folder(photos, tmp_path):
    told = []
    encoder = Colours()
    built = build(
        [*sorted(photos.glob("*.*g")), photos / "gone.png"],
        tmp_path / "pool",
        embed=encoder,
        tell=lambda name, reason: told.append((name, reason)),
    )
    assert (built.count, built.doubles) == (3, 1)
    assert dict(built.skipped).keys() == {"d.png", "e.jpg", "gone.png"}
    assert dict(built.skipped)["d.png"] == "no face was found"
    assert {name for name, reason in told if not reason} == {"a.png", "b.png", "f.png"}
    assert len(told) == 7
    pool = FacePool.load(tmp_path / "pool")
    assert (len(pool), pool.side, pool.encoder_name) == (3, 64, "colours")
    assert pool.face(1).pixels[32, 32].tolist() == [10, 200, 10]
    face = Eyes().detect(np.ones((100, 100, 3), np.uint8))[0]
    expected = align(face.points_xy, side=64).to_crop(face.points_xy)
    assert np.allclose(pool.face(0).five_xy, expected)
    assert pool.nearest(np.array([0, 0, 1.0]))[0][0] == 2
    assert {crop.shape for crop in encoder.seen} == {(84, 84, 3)}  # the larger face's box


def test_embeddings_come_in_batches_and_stay_with_their_faces(tmp_path):
    rng = np.random.default_rng(0)
    colours = rng.integers(1, 255, (40, 3))
    paths = [save(tmp_path / "many" / f"{i:02}.png", c) for i, c in enumerate(colours)]
    build(paths, tmp_path / "pool", same_face=1.0)
    pool = FacePool.load(tmp_path / "pool")
    assert len(pool) > 30
    for i in range(len(pool)):
        colour = pool.face(i).pixels[32, 32].astype(float)
        assert pool.nearest(colour, k=1)[1][0] < 2e-3


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"embed": lambda crops: np.ones((1, 4))}, SettingError, "rows of the encoder"),
        ({"embed": lambda crops: np.full((len(crops), 4), np.nan)}, NonFiniteResult, "finite"),
        ({"least_face_px": 1000}, SettingError, "at least one face"),
        ({"same_face": 2}, SettingError, "same_face"),
    ],
)
def test_what_goes_wrong_leaves_nothing(photos, tmp_path, options, error, reason):
    with pytest.raises(error, match=reason):
        build(sorted(photos.glob("*.png")), tmp_path / "pool", **options)
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]


@pytest.fixture(name="_small")
def _small(monkeypatch):
    monkeypatch.setattr(command, "load_encoder", lambda name: Colours())
    monkeypatch.setattr(command, "load_landmarker", small_net)
    monkeypatch.setattr(command, "load_detector", Eyes)


def run(*arguments):
    return CLI.invoke(command.app, ["build", *map(str, arguments)])


@pytest.mark.usefixtures("_small")
def test_the_command(photos, tmp_path):
    pool = tmp_path / "pool"
    done = run(photos, "--output", pool, "--side", 64, "--format", "png")
    assert done.exit_code == 0, done.output
    assert "3 faces, 1 left out as doubles, 2 pictures without" in done.stdout
    assert "left out d.png: no face was found" in done.stderr
    assert "e.jpg" in done.stderr
    assert str(tmp_path) not in done.output
    assert len(FacePool.load(pool)) == 3
    again = run(photos, "--output", pool)
    assert again.exit_code == 1
    assert "exists already" in again.stderr
    assert run(photos, "--output", pool, "--overwrite", "--side", 32).exit_code == 0
    assert FacePool.load(pool).side == 32


@pytest.mark.usefixtures("_small")
def test_nothing_usable_is_1_and_wrong_usage_2(photos, tmp_path):
    save(tmp_path / "black" / "a.png", 0)
    none = run(tmp_path / "black", "--output", tmp_path / "pool")
    assert none.exit_code == 1
    assert "at least one face" in none.stderr
    assert not (tmp_path / "pool").exists()
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", "--output", tmp_path / "pool").exit_code == 2
    assert run(tmp_path / "missing", "--output", tmp_path / "pool").exit_code == 2
    assert run(photos, "--output", photos / "pool").exit_code == 2
    assert run(photos, "--output", tmp_path / "pool", "--side", 5).exit_code == 2
    assert run("--help").exit_code == 0


@pytest.mark.parametrize(("error", "status"), [(SettingError, 2), (WeightsError, 1)])
def test_an_encoder_that_cannot_be_loaded(photos, tmp_path, monkeypatch, error, status):
    def none(name):
        raise error(f"no encoder {name}")

    monkeypatch.setattr(command, "load_encoder", none)
    done = run(photos, "--output", tmp_path / "pool", "--encoder", "x")
    assert done.exit_code == status
    assert "no encoder x" in done.stderr
    assert not (tmp_path / "pool").exists()
