"""Every scope, end to end through the command line, by small random weights of the hub's layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image
from typer.testing import CliRunner

from camouflage import cli
from camouflage.recipe import Recipe
from camouflage.weights import write_sums

from .small_models import write_annotators

QUICK = {
    "scene_px": 128,
    "steps": 2,
    "strength": 1.0,
    "small_face_px": 16,
    "ladder": [{"anonymization_scale": 0.0, "strength": 0.0}],
    # The network of normals has no small size: see `test_all_five_maps`.
    "control_weights": {"normals": 0.0},
}


@pytest.fixture(scope="module")
def annotators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("annotators")
    write_annotators(folder, normals=False)
    for entry in folder.iterdir():
        write_sums(entry)
    return folder


@pytest.fixture
def models(sd15_models, annotators: Path) -> Path:
    """A user's folder of models: Stable Diffusion and what annotates for it."""
    folder = sd15_models()
    for entry in annotators.iterdir():
        (folder / entry.name).symlink_to(entry, target_is_directory=True)
    return folder


def recipe_file(folder: Path, **changes) -> Path:
    path = folder / "quick.yaml"
    path.write_text(Recipe.load("sd15").changed({**QUICK, **changes}).dump())
    return path


def photo(folder: Path, pixels: np.ndarray, name: str = "photo.png") -> Path:
    folder.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / name)
    return folder / name


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(cli.app, [str(one) for one in arguments])
    assert result.exit_code == status, result.output
    return result.output


def entry(output: Path) -> dict:
    lines = (output / "manifest.jsonl").read_text().splitlines()
    return json.loads(lines[-1])


def astronaut() -> np.ndarray:
    return skimage.data.astronaut()


def test_a_scene_is_redrawn_whole(models: Path, tmp_path: Path) -> None:
    source, output = photo(tmp_path / "in", astronaut()), tmp_path / "out"
    recipe = recipe_file(tmp_path)
    run("anonymize", source, "-o", output, "--recipe", recipe, "--write-masks", "--show-maps")
    result = np.asarray(Image.open(output / "photo.png"))
    assert result.shape == (512, 512, 3)
    assert (np.abs(result.astype(int) - astronaut()).max(2) > 4).mean() > 0.9
    assert np.asarray(Image.open(output / "photo.mask.png")).min() == 255
    assert [face["method"] for face in entry(output)["faces"]] == ["redrawn"]
    assert Image.open(output / "photo.maps.jpg").width > 256 * 4


def test_a_scene_without_anybody_is_redrawn_too(models: Path, tmp_path: Path) -> None:
    """No detector decides whether a scene is redrawn."""
    pixels = skimage.data.coffee()[:200, :300]
    source, output = photo(tmp_path / "in", pixels), tmp_path / "out"
    run("anonymize", source, "-o", output, "--recipe", recipe_file(tmp_path))
    assert (entry(output)["state"], entry(output)["faces"]) == ("written", [])
    result = np.asarray(Image.open(output / "photo.png"))
    assert (np.abs(result.astype(int) - pixels).max(2) > 4).mean() > 0.9


def test_small_faces_of_a_scene_are_drawn_again_as_crops(models: Path, tmp_path: Path) -> None:
    outputs = {}
    for small_px in (0, 4096):
        folder = tmp_path / str(small_px)
        source = photo(folder, astronaut())
        recipe = recipe_file(folder, small_face_px=small_px)
        run("anonymize", source, "-o", folder / "out", "--recipe", recipe, "--seed", 3)
        outputs[small_px] = np.asarray(Image.open(folder / "out" / "photo.png"))
    differs = (outputs[0] != outputs[4096]).any(2)
    x0, y0, x1, y1 = entry(tmp_path / "0" / "out")["faces"][0]["box_xyxy"]
    assert differs[y0:y1, x0:x1].mean() > 0.9
    assert not differs[300:].any()


def test_faces_leave_the_rest_as_it_is(models: Path, tmp_path: Path) -> None:
    source, output = photo(tmp_path / "in", astronaut()), tmp_path / "out"
    recipe = recipe_file(tmp_path)
    run("anonymize", source, "-o", output, "--recipe", recipe, "--scope", "faces", "--prompt", "a")
    result = np.asarray(Image.open(output / "photo.png"))
    assert np.array_equal(result[300:], astronaut()[300:])
    x0, y0, x1, y1 = entry(output)["faces"][0]["box_xyxy"]
    inside = np.s_[y0 + 20 : y1 - 20, x0 + 20 : x1 - 20]
    assert np.abs(result[inside].astype(int) - astronaut()[inside]).mean() > 10


def test_people_without_a_face_are_redrawn(models: Path, tmp_path: Path, monkeypatch) -> None:
    from camouflage.annotators.scene import Person, SceneAnnotators

    pixels = skimage.data.coffee()
    person = Person(box_xyxy=(100, 50, 220, 350), score=0.9)
    monkeypatch.setattr(SceneAnnotators, "people", lambda self, pictures: [[person]])
    source, output = photo(tmp_path / "in", pixels), tmp_path / "out"
    recipe = recipe_file(tmp_path)
    beside = ("--write-masks", "--show-maps")
    run("anonymize", source, "-o", output, "--recipe", recipe, "--scope", "people", *beside)
    mask = np.asarray(Image.open(output / "photo.mask.png")) > 0
    result = np.asarray(Image.open(output / "photo.png"))
    assert mask[60:340, 110:210].all()
    assert np.array_equal(result[~mask], pixels[~mask])
    assert not mask[:, 300:].any()
    assert [f["box_xyxy"] for f in entry(output)["faces"]] == [[100, 50, 220, 350]]


def test_people_whom_nobody_sees_end_as_nobody(models: Path, tmp_path: Path, monkeypatch) -> None:
    from camouflage.annotators.scene import SceneAnnotators

    monkeypatch.setattr(SceneAnnotators, "people", lambda self, pictures: [[]])
    source, output = photo(tmp_path / "in", skimage.data.coffee()), tmp_path / "out"
    recipe = recipe_file(tmp_path)
    run("anonymize", source, "-o", output, "--recipe", recipe, "--scope", "people", status=1)
    assert entry(output)["state"] == "nobody"
    assert not (output / "photo.png").exists()


def test_what_is_missing_is_said_before_any_picture_is_read(
    sd15_models, tmp_path: Path, monkeypatch
) -> None:
    sd15_models()
    source, output = tmp_path / "in" / "photo.png", tmp_path / "out"
    source.parent.mkdir()
    source.write_bytes(b"no picture at all")
    recipe = recipe_file(tmp_path)
    said = run("anonymize", source, "-o", output, "--recipe", recipe, status=1)
    for name in ("annotator-depth", "annotator-pose", "captioner-blip"):
        assert name in said
    assert "annotator-normals" not in said, "a control of weight 0 needs no annotator"


@pytest.mark.parametrize("scope", ["scene", "people"])
def test_mini_redraws_faces_only(scope: str, tmp_path: Path) -> None:
    source = photo(tmp_path / "in", astronaut())
    said = run("anonymize", source, "-o", tmp_path / "out", "--scope", scope, status=2)
    assert "use scope 'faces'" in " ".join(said.split())


def test_a_prompt_is_refused_where_there_is_no_text(tmp_path: Path) -> None:
    source = photo(tmp_path / "in", astronaut())
    said = run("anonymize", source, "-o", tmp_path / "out", "--prompt", "a man", status=2)
    assert "prompt" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "cuda:7"], "cannot be used here"),
        (["--device", "toaster"], "cannot be used here"),
        (["--dtype", "int8"], "bfloat16"),
        (["--low-memory"], "leave it out"),
    ],
)
def test_a_place_that_there_is_not_is_wrong_usage(options, message: str, tmp_path: Path) -> None:
    source, output = photo(tmp_path / "in", astronaut()), tmp_path / "out"
    said = run("anonymize", source, "-o", output, *options, status=2)
    assert message in " ".join(said.split())
    assert not output.exists()
