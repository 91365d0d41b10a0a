"""Layouts, and which file is whose result."""

import json
from pathlib import Path

import pytest

from camouflage.errors import SettingError
from camouflage.evaluate.dataset import Dataset, find_results


def files(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def test_a_folder_is_a_person(tmp_path):
    data = Dataset.load(files(tmp_path, "ann/1.jpg", "ann/2.png", "bob/1.jpg", "bob/notes.txt"))
    assert [(p.name, p.person) for p in data.photos] == [
        ("ann/1.jpg", "ann"), ("ann/2.png", "ann"), ("bob/1.jpg", "bob"),
    ]  # fmt: skip
    assert data.has_other_photos()
    assert [p.name for p in data.probes(1)] == ["ann/1.jpg", "bob/1.jpg"]
    assert len(data.probes(None)) == 3
    with pytest.raises(SettingError):
        data.probes(0)


def test_a_flat_folder_with_identities(tmp_path):
    folder = files(tmp_path / "flat", "1.jpg", "2.jpg", "3.jpg")
    names = tmp_path / "names.json"
    names.write_text(json.dumps({"1": "ann", "2.jpg": "ann", "3": 7}))
    data = Dataset.load(folder, identities=names)
    assert [p.person for p in data.photos] == ["ann", "ann", "7"]
    names.write_text(json.dumps({"1": "ann"}))
    with pytest.raises(SettingError, match=r"no person for 2 photographs, for example 2.jpg"):
        Dataset.load(folder, identities=names)
    for text in ("[]", "{"):
        names.write_text(text)
        with pytest.raises(SettingError):
            Dataset.load(folder, identities=names)


def test_without_identities_a_file_is_a_person(tmp_path):
    data = Dataset.load(files(tmp_path, "1.jpg", "2.jpg"))
    assert [p.person for p in data.photos] == ["1", "2"]
    assert not data.has_other_photos()


@pytest.mark.parametrize("names", [[], ["ann/1.jpg"], ["ann/1.jpg", "2.jpg"]])
def test_what_cannot_be_evaluated_is_refused(tmp_path, names):
    with pytest.raises(SettingError):
        Dataset.load(files(tmp_path, *names))
    with pytest.raises(SettingError):
        Dataset.load(tmp_path / "missing")


def test_results_by_name_suffix_and_counter(tmp_path):
    photos = Dataset.load(
        files(tmp_path / "in", *(f"{p}/{i}.jpg" for p in "ab" for i in "12"))
    ).photos
    out = files(tmp_path / "out", "a/1.png", "a/2-12345.jpg", "b/1_0.webp", "b/x.jpg", "sheet.png")
    found = find_results(out, photos)
    assert {name: path.name for name, path in found.items()} == {
        "a/1.jpg": "1.png", "a/2.jpg": "2-12345.jpg", "b/1.jpg": "1_0.webp",
    }  # fmt: skip


def test_a_name_with_a_number_is_not_another_s_counter(tmp_path):
    photos = Dataset.load(
        files(tmp_path / "in", "Gul/Gul_0001.jpg", "Gul/Gul_0002.jpg", "B/B.jpg")
    ).photos
    found = find_results(files(tmp_path / "out", "Gul/Gul_0001.png"), photos)
    assert list(found) == ["Gul/Gul_0001.jpg"]


def test_two_results_of_one_original_are_an_error_unless_one_has_its_name(tmp_path):
    photos = Dataset.load(files(tmp_path / "in", "a.jpg", "b.jpg")).photos
    with pytest.raises(SettingError, match=r"2 files could be the result of a.jpg"):
        find_results(files(tmp_path / "out", "a.png", "a.webp"), photos)
    found = find_results(files(tmp_path / "out", "a.jpg"), photos)
    assert found["a.jpg"].name == "a.jpg"
