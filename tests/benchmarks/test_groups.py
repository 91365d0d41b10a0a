"""What is kept of whom, counted."""

from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import webdataset as wds
from PIL import Image

import benchmarks.groups as groups
from benchmarks.groups import Kept, between, chosen, kept, table
from camouflage.annotators.readout import Readout
from camouflage.anonymizer import Anonymizer


@pytest.fixture(scope="module")
def anonymizer() -> Anonymizer:
    return Anonymizer.from_recipe("mini")


def test_people_are_those_an_eye_put_into_a_group(tmp_path, monkeypatch):
    looks = {
        "a": (1.0, np.nan, np.nan, np.nan),
        "b": (0.0, 3.0, 0.0, 0.0),
        "c": (np.nan, 1.0, 1.0, 0.0),
        "d": (0.0, 1.0, 0.0, 1.0),
        "e": (0.0, 2.0, np.nan, 0.0),
        "f": (np.nan, 3.0, 0.0, np.nan),
    }
    monkeypatch.setattr(groups, "read_judged", lambda: looks)
    with wds.TarWriter(str(tmp_path / "train-000000.tar")) as sink:
        for i, key in enumerate([*looks, "nobody"]):
            sink.write({"__key__": key, "png": np.full((160, 160, 3), 10 * i, np.uint8)})
    found = chosen(tmp_path, count=2)
    shades = {name: [int(one[0, 0, 0]) // 10 for one in some] for name, some in found.items()}
    assert shades == {"children": [0], "East Asian": [2], "dark skin": [1, 5], "light skin": [3]}
    assert len(chosen(tmp_path, count=1)["dark skin"]) == 1
    assert found["children"][0].shape == (320, 320, 3)


def test_of_a_person_before_and_after(anonymizer):
    portrait = np.asarray(Image.fromarray(skimage.data.astronaut()[:300, 80:380]))
    one = kept(anonymizer, Readout.load(), portrait, "seed")
    assert one.written
    assert 1 <= one.attempts <= 4
    assert one.distance > anonymizer.recipe.threshold
    assert not kept(anonymizer, Readout.load(), np.zeros_like(portrait), "seed").written


class Known:
    """An anonymizer whose recogniser knows two pictures by heart."""

    def __init__(self, before, after) -> None:
        self.rows = iter([np.array(before)[None], np.array(after)[None]])
        self.detector = self.recogniser = self

    def __call__(self, pixels, *, seed):
        face = SimpleNamespace(attempts=("one", "two"))
        return SimpleNamespace(state="passed", faces=(face,), image=Image.fromarray(pixels))

    def detect(self, pixels) -> list[str]:
        return ["a face"]

    def embed(self, pixels, faces):
        return SimpleNamespace(rows=next(self.rows))


def test_what_is_kept_of_a_person():
    """Numbers of an embedding are what is read of it."""

    def readout(rows):
        names = ("male", "child", "east_asian", "skin", "age")
        return SimpleNamespace(**{name: rows[:, i] for i, name in enumerate(names)})

    pixels = np.zeros((8, 8, 3), np.uint8)
    known = Known([0.9, 0.2, 0.7, 1.5, 40.0], [0.6, 0.8, 0.1, 2.0, 43.0])
    one = kept(known, readout, pixels, "seed")
    assert (one.written, one.attempts) == (True, 2)
    assert (one.sex, one.child, one.east_asian) == (1.0, 0.0, 0.0)
    assert (one.skin, one.years) == (0.5, 3.0)
    assert one.distance == pytest.approx(np.sqrt(0.3**2 + 0.6**2 + 0.6**2 + 0.5**2 + 3**2))
    nothing = kept(Known([np.nan] * 5, [0.6] * 5), readout, pixels, "seed")
    assert nothing.written
    assert np.isnan([nothing.sex, nothing.child, nothing.skin, nothing.distance]).all()


def test_groups_are_means_of_what_was_written():
    one = Kept(
        written=True, attempts=2, sex=1, child=1, east_asian=0, skin=0.2, years=4, distance=0.7
    )
    other = Kept(
        written=True, attempts=1, sex=0, child=1, east_asian=0, skin=0.4, years=8, distance=0.8
    )
    people = {"some": [one, other, Kept(written=False)], "none": [Kept(written=False)]}
    rows = table(people, {"some": 0.61, "none": np.nan})
    assert "| some | 3 | 0.61 | 2 | 1.50 | 50% | 100% | 0% | 0.30 | 6.0 | 0.75 |" in rows
    assert "| none | 1 | nan | 0 | - | - | - | - | - | - | - |" in rows


def test_the_distance_between_people(anonymizer):
    portrait = np.asarray(Image.fromarray(skimage.data.astronaut()[:300, 80:380]))
    assert between(anonymizer, [portrait, portrait]) == pytest.approx(0, abs=1e-6)
    assert np.isnan(between(anonymizer, [portrait]))
    assert np.isnan(between(anonymizer, []))
