"""The benchmark on pictures whose outcome is known: people are colours."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.attack import ControlFailed
from benchmarks.reidentify import (
    at_its_place,
    baselines,
    landmark_shift,
    measured,
    overlap,
    parse_sweep,
    prepared,
    recipes,
    run,
    without_gate,
)
from camouflage.audit import Embeddings
from camouflage.errors import NonFiniteResult, SettingError
from camouflage.recipe import Recipe
from camouflage.subjects.faces import Face

PEOPLE = {f"person {i}": 20 * i + 10 for i in range(8)}
SIDE = 64


def face(x: float = 32, y: float = 32, size: float = 40, score: float = 0.9) -> Face:
    points = np.array([[-0.2, -0.1], [0.2, -0.1], [0, 0.1], [-0.15, 0.3], [0.15, 0.3]])
    half = size / 2
    box = tuple(round(v) for v in (x - half, y - half, x + half, y + half))
    return Face(box_xyxy=box, points_xy=points * size + np.array([x, y]), score=score)


class Eyes:
    """Detector and recogniser: a face is there unless the middle is black or blue; its grey level
    is the person. The points of blue faces are found at the original's place alone."""

    def detect(self, pixels):
        red, _, blue = pixels[32, 32]
        return (face(),) if red and not blue else ()

    def embed(self, pixels, faces):
        rows = np.zeros((len(faces), 128))
        rows[:, 0] = pixels[32, 32, 0] / 255
        return Embeddings(rows=rows)


@pytest.fixture(name="setting")
def _setting(tmp_path):
    for name, level in PEOPLE.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for j in range(3):
            pixels = np.full((SIDE, SIDE, 3), (level + j, 0, 0), np.uint8)
            pixels[0, 0] = j
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{j}.png")
    output = tmp_path / "out"
    output.mkdir()
    eyes = {"detector": Eyes(), "recogniser": Eyes()}
    probes, gallery = prepared(tmp_path / "photos", output, photos_per_person=1, limit=None, **eyes)
    return probes, gallery, output, eyes


def somebody_else(picture, faces):
    pixels = picture.pixels.copy()
    pixels[..., 0] = (pixels[..., 0].astype(int) + 60) % 160
    return pixels


def same_but_hidden(picture, faces):
    """The detector finds nothing, the identity is untouched."""
    pixels = picture.pixels.copy()
    pixels[..., 2] = 9
    return pixels


def failing(picture, faces):
    raise NonFiniteResult("no numbers")


def rows_of(setting, **methods):
    probes, gallery, output, eyes = setting
    rows = run(probes, gallery, methods, output, details={"recipe": "none"}, **eyes)
    return {row.method: row for row in rows}


def test_the_outcomes_of_known_methods(setting):
    rows = rows_of(setting, somebody_else=somebody_else, hidden=same_but_hidden, failing=failing)
    assert rows["unchanged"].rank1.mean == 1
    assert rows["unchanged"].shift.mean == 0
    assert rows["somebody_else"].rank1.mean == 0
    assert rows["somebody_else"].found.mean == 1


def test_hiding_from_the_detector_is_no_anonymization(setting):
    hidden = rows_of(setting, hidden=same_but_hidden)["hidden"]
    assert hidden.rank1.mean == 1, "the original's points are used again"
    assert hidden.rank1_optimistic.mean == 0
    assert hidden.found.mean == 0
    assert hidden.shift.n == 0


def test_a_failure_counts_as_re_identified(setting):
    failed = rows_of(setting, failing=failing)["failing"]
    assert (failed.attempted, failed.written) == (len(PEOPLE), 0)
    assert failed.rank1.mean == 1
    assert failed.rank1_optimistic.mean == 0


def test_a_face_that_was_missed_counts_as_re_identified(setting):
    probes, _, _, eyes = setting
    missed = type(probes[0])(photo=probes[0].photo, picture=probes[0].picture, faces=(), face=None)
    outcome = measured(missed, somebody_else, **eyes)
    assert outcome.pixels is None
    assert rows_of(([*probes[1:], missed], *setting[1:]), x=somebody_else)["x"].rank1.mean == (
        pytest.approx(1 / len(PEOPLE))
    )


def test_another_error_than_ours_is_not_swallowed(setting):
    def broken(picture, faces):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        rows_of(setting, broken=broken)


def test_without_working_controls_there_are_no_results(setting):
    probes, gallery, output, eyes = setting
    gallery = type(gallery)(rows=gallery.rows, people=np.roll(gallery.people, 5))
    with pytest.raises(ControlFailed):
        rows_of((probes, gallery, output, eyes), x=somebody_else)
    assert not (output / "results.json").exists()


def test_what_is_written(setting):
    rows_of(setting, somebody_else=somebody_else, failing=failing)
    output = setting[2]
    report = json.loads((output / "results.json").read_text())
    assert report["details"]["people"] == len(PEOPLE)
    assert report["details"]["gallery"] == 2 * len(PEOPLE)
    assert report["details"]["controls"]["unchanged"] == 1
    assert [r["method"] for r in report["rows"]] == ["unchanged", "somebody_else", "failing"]
    table = (output / "table.md").read_text()
    assert "| somebody_else | 8 of 8 | 100.0% [100.0%, 100.0%] | 0.0% [0.0%, 0.0%] |" in table
    assert "| failing | 0 of 8 | 0.0% [0.0%, 0.0%] | 100.0% [100.0%, 100.0%] |" in table
    with Image.open(output / "sheet.png") as sheet:
        assert sheet.width == 3 * 160
    assert {p.name for p in output.iterdir()} == {
        "results.json",
        "table.md",
        "sheet.png",
        "gallery.npz",
    }


def test_baselines_change_the_face_and_nothing_else(setting):
    picture = setting[0][0].picture
    noisy = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    picture = type(picture).from_image(noisy)
    for name, method in baselines(margin=0.1).items():
        result = method(picture, [face()])
        assert np.array_equal(result[:8], picture.pixels[:8]), name
        assert (result[12:52, 12:52] != picture.pixels[12:52, 12:52]).mean() > 0.5, name


def test_without_the_gate_the_parts_of_the_anonymizer_are_used():
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    asked = []

    class Subject:
        def patch(self, redrawn):
            raise AssertionError("the order is the anonymizer's")

    class Fake:
        def subjects(self, picture, faces):
            return [Subject() for _ in faces]

        def redraw(self, subjects, key, attempt=0):
            asked.append((len(subjects), key, attempt))
            return [None] * len(subjects)

    with pytest.raises(AssertionError, match="order"):
        without_gate(Fake())(type("P", (), {"pixels": picture})(), [face(), face()])
    assert asked == [(2, "benchmark", 0)]


def test_a_sweep_is_a_recipe_for_each_value():
    base = Recipe.load("mini")
    found = recipes(base, ["anonymization_scale=0,0.5", "steps=4"])
    assert list(found) == ["anonymization_scale=0", "anonymization_scale=0.5", "steps=4"]
    assert found["anonymization_scale=0"].anonymization_scale == 0.0
    assert found["steps=4"] == base.changed({"steps": 4})
    assert recipes(base, []) == {"recipe": base}


@pytest.mark.parametrize("text", ["steps", "steps=", "=4", "unknown=3", "steps=many"])
def test_a_sweep_that_cannot_be_is_refused(text):
    with pytest.raises(SettingError):
        recipes(Recipe.load("mini"), [text])


def test_values_of_a_sweep_are_read_as_yaml():
    assert parse_sweep("a=1,0.5,learned,true") == {"a": [1, 0.5, "learned", True]}


def test_the_face_at_the_place_is_the_one_that_overlaps():
    original = face(100, 100, 40)
    moved, elsewhere, faint = face(104, 100, 40), face(300, 100, 40), face(100, 100, 40, 0.4)
    assert overlap(original, original) == 1
    assert overlap(original, elsewhere) == 0
    assert overlap(original, face(120, 100, 40)) == pytest.approx(1 / 3)
    assert at_its_place([elsewhere, faint, moved], original) is moved
    assert at_its_place([elsewhere, faint], original) is None


def test_shift_is_in_eye_distances():
    assert landmark_shift(face(size=50), face(x=36, y=29, size=50)) == pytest.approx(5 / (0.4 * 50))
