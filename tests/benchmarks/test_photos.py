"""Probes and gallery from folders of people."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from benchmarks.photos import Photo, by_person, gallery_rows, main_face, split
from camouflage.audit import Embeddings
from camouflage.errors import SettingError
from camouflage.subjects.faces import Face


def face(x: float, y: float, size: float, score: float = 0.9) -> Face:
    """An upright face whose box has its middle at (x, y)."""
    points = np.array([[-0.2, -0.1], [0.2, -0.1], [0, 0.1], [-0.15, 0.3], [0.15, 0.3]])
    half = size / 2
    box = tuple(round(v) for v in (x - half, y - half, x + half, y + half))
    return Face(box_xyxy=box, points_xy=points * size + np.array([x, y]), score=score)


class ByColour:
    """Finds one face in every picture that is not black; knows people by their colour."""

    def __init__(self) -> None:
        self.seen = 0

    def detect(self, pixels):
        self.seen += 1
        return (face(16, 16, 20),) if pixels.any() else ()

    def embed(self, pixels, faces):
        rows = np.zeros((len(faces), 128))
        rows[:, :3] = pixels[16, 16] / 255
        return Embeddings(rows=rows)


@pytest.fixture(name="folder")
def _folder(tmp_path):
    for i, name in enumerate(("ann", "bob", "eve")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for j in range(3):
            pixels = np.full((32, 32, 3), (80 * i + 20, 10 * j, 5), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{j}.png")
    (tmp_path / "photos" / "ann" / "notes.txt").write_text("not a picture")
    (tmp_path / "photos" / "nobody").mkdir()
    return tmp_path / "photos"


def test_a_folder_is_a_person(folder):
    people = by_person(folder)
    assert list(people) == ["ann", "bob", "eve"]
    assert [p.path.name for p in people["ann"]] == ["0.png", "1.png", "2.png"]
    assert list(by_person(folder, limit=2)) == ["ann", "bob"]


def test_one_person_is_no_crowd(tmp_path):
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "0.png").touch()
    with pytest.raises(SettingError):
        by_person(tmp_path)


def test_a_probe_is_never_in_the_gallery(folder):
    probes, gallery = split(by_person(folder), photos_per_person=2)
    assert len(probes) == 6
    assert [p.path.name for p in gallery] == ["2.png"] * 3
    assert not {p.path for p in probes} & {p.path for p in gallery}


@pytest.mark.parametrize("photos_per_person", [0, 3, 9])
def test_everybody_needs_probes_and_a_gallery(folder, photos_per_person):
    with pytest.raises(SettingError):
        split(by_person(folder), photos_per_person=photos_per_person)


def test_the_photograph_is_of_the_large_face_in_the_middle():
    middle, beside, small = face(125, 125, 90), face(52, 110, 100), face(125, 128, 20)
    assert main_face([beside, middle, small], (250, 250)) is middle
    assert main_face([small], (250, 250)) is small
    assert main_face([], (250, 250)) is None


def test_the_gallery_is_cached_by_content_and_keeps_no_copy_of_a_probe(folder, tmp_path):
    fake, cache = ByColour(), tmp_path / "gallery.npz"
    _, others = split(by_person(folder), photos_per_person=1)
    black = folder / "eve" / "2.png"
    Image.new("RGB", (32, 32)).save(black)
    settings = {"cache": cache, "detector": fake, "recogniser": fake}
    rows, names = gallery_rows(others, leave_out=frozenset(), **settings)
    assert names == ["ann", "ann", "bob", "bob", "eve"], "no face in the last one"
    assert rows.shape == (5, 128)
    assert fake.seen == 6
    again, _ = gallery_rows(others, leave_out=frozenset(), **settings)
    assert fake.seen == 6
    assert np.array_equal(rows, again)
    moved = Photo(person="ann", path=(folder / "ann" / "1.png").rename(folder / "ann" / "x.png"))
    gallery_rows([moved], leave_out=frozenset(), **settings)
    assert fake.seen == 6, "the same bytes under another name"
    copy = hashlib.sha256(moved.path.read_bytes()).hexdigest()
    assert gallery_rows([moved], leave_out=frozenset({copy}), **settings)[1] == []
