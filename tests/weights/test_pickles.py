"""Pickles become safetensors after their hash matched, and none of their code runs."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from camouflage.errors import SettingError, WeightsError
from camouflage.weights import (
    SUMS,
    TABLE,
    Entry,
    atomic,
    convert,
    fetch,
    find,
    pickles,
    table,
    where,
    write_sums,
)

LINEART = TABLE["annotator-lineart"]
NORMALS = TABLE["annotator-normals"]


def sha256_of(folder: Path) -> dict[str, str]:
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.iterdir()}


def unpinned(entry: Entry) -> Entry:
    """As if nobody had published its hashes."""
    return replace(entry, files=tuple(replace(file, sha256=None) for file in entry.files))


class Malicious:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def known(lineart: Path, monkeypatch: pytest.MonkeyPatch):
    """The entry of line art with the hashes of the small pickles."""
    hashes = sha256_of(lineart)
    files = tuple(replace(file, sha256=hashes[file.name]) for file in LINEART.files)
    entry = replace(LINEART, files=files)
    monkeypatch.setitem(table.TABLE, LINEART.name, entry)
    return entry


def test_names_and_numbers_stay(known, lineart: Path, tmp_path: Path) -> None:
    target = convert(known, lineart, tmp_path / "out" / LINEART.name)
    fine = load_file(target / "sk_model.safetensors")
    assert list(fine) == ["model0.1.weight"]
    assert torch.equal(fine["model0.1.weight"], torch.arange(6.0).reshape(2, 3))
    assert {file.name for file in target.iterdir()} == {
        "sk_model.safetensors", "sk_model2.safetensors", "README.md", SUMS,
    }  # fmt: skip
    assert [folder.name for folder in target.parent.iterdir()] == [LINEART.name]
    card = (target / "README.md").read_text()
    assert all(text in card for text in (LINEART.licence, LINEART.repository, "sk_model2.pth"))
    done = subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=target, check=False)
    assert done.returncode == 0


def test_another_hash_is_refused_before_it_is_read(
    lineart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("it was read"))
    with pytest.raises(WeightsError, match=r"sk_model\.pth: damaged"):
        convert(LINEART, lineart, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_a_known_hash_one_must_be_given(lineart: Path, tmp_path: Path) -> None:
    entry = unpinned(LINEART)
    with pytest.raises(SettingError, match=r"--sha256 sk_model\.pth=HASH"):
        convert(entry, lineart, tmp_path / "out")
    assert convert(entry, lineart, tmp_path / "out", sha256=sha256_of(lineart)).is_dir()


def test_a_published_hash_has_the_last_word(
    known, lineart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the file has the hash that is given."""
    hashes = sha256_of(lineart)
    (lineart / "sk_model.pth").write_bytes(b"another")
    with pytest.raises(SettingError, match=r"sk_model\.pth is known, .* no other is taken"):
        convert(known, lineart, tmp_path / "out", sha256=sha256_of(lineart))
    with pytest.raises(WeightsError, match=r"sk_model\.pth: damaged"):
        convert(known, lineart, tmp_path / "out", sha256=hashes)
    torch.save({"model0.1.weight": torch.ones(2)}, lineart / "sk_model.pth")
    given = {name: digest.upper() for name, digest in sha256_of(lineart).items()}
    files = tuple(replace(f, sha256=given[f.name].lower()) for f in LINEART.files)
    assert convert(replace(LINEART, files=files), lineart, tmp_path / "out", sha256=given).is_dir()


def test_code_in_a_pickle_does_not_run(tmp_path: Path) -> None:
    published = tmp_path / "published"
    published.mkdir()
    torch.save({"model": Malicious(tmp_path / "made")}, published / "scannet.pt")
    with pytest.raises(WeightsError, match=r"scannet\.pt: not loaded"):
        convert(unpinned(NORMALS), published, tmp_path / "out", sha256=sha256_of(published))
    assert not (tmp_path / "made").exists()
    assert not (tmp_path / "out").exists()
    torch.load(published / "scannet.pt", weights_only=False)  # it would have
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "expected tensors by name, got list"),
        ({}, "expected tensors by name"),
        ({"a": torch.zeros(1), "b": 3}, r"expected tensors only, got others: \['b'\]"),
    ],
)
def test_tensors_only(content, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=message):
        pickles.tensors_of(tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes(b"no pickle")
    with pytest.raises(WeightsError, match="not loaded"):
        pickles.tensors_of(tmp_path / "a.pt")


@pytest.mark.parametrize("wrapper", [(), ("state_dict",), ("model",), ("model", "state_dict")])
def test_wrappers_and_prefixes_go(wrapper: tuple[str, ...], tmp_path: Path) -> None:
    content: dict = {"module.decoder.module.weight": torch.ones(1)}
    for key in wrapper:
        content = {key: content, "epoch": 1}
    torch.save(content, tmp_path / "a.pt")
    assert list(pickles.tensors_of(tmp_path / "a.pt")) == ["decoder.module.weight"]


def test_tensors_that_share_memory(tmp_path: Path) -> None:
    whole = torch.arange(8.0)
    published = tmp_path / "published"
    published.mkdir()
    state = {"a": whole, "b": whole, "c": whole[::2], "d": whole.reshape(2, 4).T}
    torch.save(state, published / "scannet.pt")
    target = convert(unpinned(NORMALS), published, tmp_path / "out", sha256=sha256_of(published))
    saved = load_file(target / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in state.items())


def test_a_full_disk_leaves_nothing(known, lineart: Path, tmp_path: Path, monkeypatch) -> None:
    def full(*args) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pickles, "_save", full)
    with pytest.raises(WeightsError, match="the disk is full"):
        convert(known, lineart, tmp_path / "models" / LINEART.name)
    assert list((tmp_path / "models").iterdir()) == []


def test_what_is_there_is_not_replaced_unasked(known, lineart: Path, tmp_path: Path) -> None:
    target = convert(known, lineart, tmp_path / "models" / LINEART.name)
    with pytest.raises(WeightsError, match="there already"):
        convert(known, lineart, target)
    (target / "old").touch()
    convert(known, lineart, target, overwrite=True)
    assert not (target / "old").exists()
    assert [folder.name for folder in target.parent.iterdir()] == [LINEART.name]


def test_one_file_and_configurations_that_go_with_it(tmp_path: Path, lineart: Path) -> None:
    published = tmp_path / "upernet"
    published.mkdir()
    torch.save({"head.weight": torch.ones(1)}, published / "pytorch_model.bin")
    (published / "config.json").write_text('{"model_type": "upernet"}')
    (published / "preprocessor_config.json").write_text("{}")
    (published / "other.txt").touch()
    entry = TABLE["annotator-segmentation"]
    target = convert(unpinned(entry), published, tmp_path / entry.name, sha256=sha256_of(published))
    names = {file.name for file in target.iterdir()}
    assert {"config.json", "preprocessor_config.json", "model.safetensors"} < names
    assert "other.txt" not in names
    assert find(entry.name, at=target) == target
    with pytest.raises(SettingError, match=r"expected a folder with sk_model\.pth"):
        convert(LINEART, lineart / "sk_model.pth", tmp_path / "out")
    with pytest.raises(SettingError, match="nothing to convert"):
        convert(TABLE["sd-vae-ft-mse"], published, tmp_path / "out")


def test_find_fetches_and_converts(known, lineart: Path, hub, models: Path) -> None:
    hub.folders[known.repository] = lineart
    hub.is_cached = True
    assert where(known.name) == "pickle"
    with pytest.raises(WeightsError, match="not here"):
        find(known.name, download=False)
    assert find(known.name) == models / known.name
    assert where(known.name) == "folder"
    assert find(known.name, download=False) == models / known.name


def test_tensors_of_another_network_are_refused(tmp_path: Path) -> None:
    published = tmp_path / "published"
    published.mkdir()
    torch.save({"other.weight": torch.ones(1)}, published / "scannet.pt")
    target = convert(unpinned(NORMALS), published, tmp_path / "out", sha256=sha256_of(published))
    with pytest.raises(WeightsError, match=r"model\.safetensors has no"):
        find(NORMALS.name, at=target)


def test_two_processes_convert_at_once(known, lineart: Path, hub, models: Path) -> None:
    """The other one is ready after this one looked, and before it has written a file."""
    hub.folders[known.repository] = lineart
    ready = Path(shutil.copytree(fetch(known.name), models.parent / "ready"))
    shutil.rmtree(models)

    def asked(repository: str, **wanted) -> str:
        if not wanted.get("local_files_only"):
            shutil.copytree(ready, models / known.name)
        return hub(repository, **wanted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.snapshot_download", asked)
        assert find(known.name) == models / known.name


def test_a_whole_folder_that_appears_meanwhile_is_as_good(tmp_path: Path) -> None:
    target = tmp_path / "models" / "new"
    with atomic.new_folder(target, overwrite=False) as part:
        (part / "a.txt").write_text("ours")
        target.mkdir()
        (target / "a.txt").write_text("theirs")
        write_sums(target)
    assert (target / "a.txt").read_text() == "theirs"
    assert [folder.name for folder in target.parent.iterdir()] == ["new"]
    with atomic.new_folder(target, overwrite=True) as part:
        (part / "a.txt").write_text("ours")
        shutil.rmtree(target)
    assert (target / "a.txt").read_text() == "ours"


def test_a_damaged_folder_that_appears_meanwhile_is_not(tmp_path: Path) -> None:
    target = tmp_path / "models" / "new"

    def make() -> None:
        with atomic.new_folder(target, overwrite=False) as part:
            (part / "a.txt").write_text("ours")
            target.mkdir()
            (target / "a.txt").write_text("theirs")
            write_sums(target)
            (target / "a.txt").write_text("damaged")

    with pytest.raises(WeightsError, match="new: cannot be written"):
        make()
    assert (target / "a.txt").read_text() == "damaged"
    assert [folder.name for folder in target.parent.iterdir()] == ["new"]
