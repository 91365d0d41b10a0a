"""The maker of results: what is swept, what is kept, what is made again."""

from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from benchmarks import reidentify
from benchmarks.reidentify import (
    make_results,
    parse_sweep,
    recipes,
    results_folder,
)
from camouflage.anonymizer import Anonymizer
from camouflage.errors import AuditRefused, SettingError
from camouflage.evaluate.dataset import Dataset
from camouflage.recipe import Recipe
from camouflage.subjects.faces import Face

BASE = Recipe.load("mini")


def test_a_sweep_has_a_key_and_values():
    assert parse_sweep("anonymization_scale=0,1.25") == {"anonymization_scale": [0, 1.25]}
    assert parse_sweep("identity=learned,analytic") == {"identity": ["learned", "analytic"]}
    for text in ("a", "=1", "a="):
        with pytest.raises(SettingError):
            parse_sweep(text)


def test_each_value_is_a_recipe_of_its_own():
    found = recipes(BASE, ["anonymization_scale=0,2", "control_weights.lineart=0"])
    assert found["anonymization_scale=2"].anonymization_scale == 2.0
    assert found["control_weights.lineart=0"].control_weights["lineart"] == 0.0
    others = {k: v for k, v in BASE.control_weights.items() if k != "lineart"}
    assert found["control_weights.lineart=0"].control_weights.items() >= others.items()
    with pytest.raises(SettingError):
        recipes(BASE, ["nonsense=1"])


def test_results_of_other_settings_or_weights_lie_elsewhere(tmp_path, monkeypatch):
    here = results_folder(tmp_path, BASE, "k", gate=False)
    assert here == results_folder(tmp_path, BASE, "k", gate=False)
    assert here != results_folder(tmp_path, BASE.changed({"steps": 9}), "k", gate=False)
    assert here != results_folder(tmp_path, BASE, "k", gate=True)
    assert here != results_folder(tmp_path, BASE, "other", gate=False)
    monkeypatch.setattr(reidentify, "weights_of", lambda model, **kwargs: "other weights")
    assert here != results_folder(tmp_path, BASE, "k", gate=False)


@dataclass
class Faces:
    """One face in the middle."""

    def detect(self, pixels):
        points = np.array([[-9, -9], [9, -9], [0, 2], [-7, 12], [7, 12]]) + 48.0
        return (Face(box_xyxy=(30, 24, 66, 74), points_xy=points, score=0.9),)


@pytest.fixture(name="photos")
def _photos(tmp_path):
    for person in ("ann", "bob"):
        (tmp_path / "in" / person).mkdir(parents=True)
        for i in range(2):
            noise = np.random.default_rng(i).integers(0, 255, (96, 96, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "in" / person / f"{i}.jpg")
    return Dataset.load(tmp_path / "in").photos


@pytest.fixture(name="anonymizer", scope="module")
def _anonymizer():
    made = Anonymizer.from_recipe(
        Recipe.load("mini").changed(
            {"model": "tiny", "upscaler": None, "steps": 2, "strength": 1.0}
        )
    )
    made.detector = Faces()  # type: ignore[assignment]
    return made


def test_a_stopped_run_goes_on(photos, anonymizer, tmp_path):
    out = tmp_path / "out"
    make_results(anonymizer, photos[:2], out, gate=False)
    first = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert len(first) == 2
    make_results(anonymizer, photos, out, gate=False)
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert len(after) == 4
    assert after.items() >= first.items()


def test_a_batch_over_pictures_is_what_each_alone_would_be(photos, anonymizer, tmp_path):
    make_results(anonymizer, photos, tmp_path / "all", gate=False)
    for photo in photos:
        make_results(anonymizer, [photo], tmp_path / "one", gate=False)
        pair = [
            np.asarray(Image.open((tmp_path / kind / photo.name).with_suffix(".png"))).astype(int)
            for kind in ("all", "one")
        ]
        assert np.abs(pair[0] - pair[1]).max() <= 1, photo.name
        original = np.asarray(Image.open(photo.path)).astype(int)
        assert np.abs(pair[0] - original).max() > 20


def test_a_refusal_leaves_no_file(photos, anonymizer, tmp_path, monkeypatch):
    def refused(self, source, *, seed):
        raise AuditRefused("no")

    monkeypatch.setattr(Anonymizer, "__call__", refused)
    make_results(anonymizer, photos, tmp_path / "gate", gate=True)
    assert not list((tmp_path / "gate").rglob("*.png"))


def test_where_nobody_is_found_no_original_is_written(photos, anonymizer, tmp_path, monkeypatch):
    monkeypatch.setattr(anonymizer.detector, "detect", lambda pixels: (), raising=False)
    make_results(anonymizer, photos, tmp_path / "nobody", gate=False)
    assert not list((tmp_path / "nobody").rglob("*.png"))
