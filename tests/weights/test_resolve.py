"""Where weights are looked for, in which order, and every way in which they cannot be used."""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from camouflage.errors import SettingError, WeightsError
from camouflage.weights import (
    GROUPS,
    MIRROR,
    SUMS,
    TABLE,
    fetch,
    find,
    require,
    table,
    where,
    write_sums,
)
from camouflage.weights import hub as the_hub

from .conftest import edit

VAE = TABLE["sd-vae-ft-mse"]
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def vae(sd15_folders: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sd15_folders / VAE.name, tmp_path / "vae"))


@pytest.fixture
def published(vae: Path, hub, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small autoencoder as if it were the published one: its hashes are the table's."""
    files = tuple(
        replace(f, sha256=hashlib.sha256((vae / f.name).read_bytes()).hexdigest())
        for f in VAE.files
    )
    monkeypatch.setitem(table.TABLE, VAE.name, replace(VAE, files=files))
    hub.folders[VAE.repository] = vae
    return vae


def test_the_order(published: Path, hub, models: Path, tmp_path: Path) -> None:
    given = Path(shutil.copytree(published, tmp_path / "given"))
    own = Path(shutil.copytree(published, models / VAE.name))
    hub.is_cached = True
    assert find(VAE.name, at=given) == given
    assert find(VAE.name) == own
    shutil.rmtree(own)
    assert find(VAE.name, download=False) == published
    assert hub.calls == []
    hub.is_cached = False
    assert find(VAE.name) == published
    assert [call["repository"] for call in hub.calls] == [VAE.repository]
    assert hub.calls[0]["revision"] == VAE.revision
    assert not any(p.endswith((".bin", ".ckpt")) for p in hub.calls[0]["allow_patterns"])


def test_where(published: Path, hub, models: Path) -> None:
    assert where(VAE.name) == "missing"
    hub.is_cached = True
    assert where(VAE.name) == "cache"
    (published / WEIGHTS).rename(published / "elsewhere")
    assert where(VAE.name) == "missing"
    models.mkdir()
    (models / VAE.name).mkdir()
    assert where(VAE.name) == "folder"


def test_a_mirror_comes_before_the_hub(
    published: Path, hub, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR, "https://mirror.example")
    assert find(VAE.name) == published
    assert [call["endpoint"] for call in hub.calls] == ["https://mirror.example"]
    assert hub.calls[0]["token"] is False
    hub.error = OSError("refused")
    with pytest.raises(WeightsError, match="cannot be fetched"):
        find(VAE.name)
    assert [call.get("endpoint") for call in hub.calls[1:]] == ["https://mirror.example", None]
    assert "token" not in hub.calls[2]


@pytest.mark.parametrize(
    "address",
    [
        "http://mirror.example", "mirror.example", "https://", "ftp://mirror.example", "/mirror",
        "http://localhost.example", "http://localhost@mirror.example", "https://[1",
    ],
)  # fmt: skip
def test_a_mirror_is_asked_by_https(
    hub, models: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv(MIRROR, address)
    with pytest.raises(SettingError, match=f"{MIRROR}: expected an address that begins with https"):
        find("detector-person")
    assert hub.calls == []


@pytest.mark.parametrize("address", ["http://localhost:80", "http://127.0.0.1:80/", "http://[::1]"])
def test_a_mirror_on_this_machine(
    published: Path, hub, models: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv(MIRROR, address)
    assert find(VAE.name) == published
    assert hub.calls[0]["endpoint"] == address.rstrip("/")


def test_without_download_nothing_is_asked(published: Path, hub, models: Path) -> None:
    with pytest.raises(WeightsError, match="camouflage models fetch sd-vae-ft-mse"):
        find(VAE.name, download=False)
    assert hub.calls == []


def test_offline_says_so(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub itself, in its offline mode and with an empty cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="no network, offline mode"):
        find("detector-person")


def http_error(kind: type[HfHubHTTPError]) -> HfHubHTTPError:
    return kind("no", response=SimpleNamespace(headers={}, request=None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk became full"),
        (http_error(RepositoryNotFoundError), "no folder and no repository of the hub"),
        (http_error(HfHubHTTPError), "no network, offline mode, or the hub does not answer"),
        (HfHubHTTPError.__bases__[0]("dropped"), "or the hub does not answer"),
        (TimeoutError("too slow"), "or the hub does not answer"),
    ],
    ids=["full", "unknown", "http", "dropped", "too slow"],
)
def test_a_download_that_fails(hub, models: Path, error: Exception, message: str) -> None:
    hub.error = error
    with pytest.raises(WeightsError, match=message):
        find("detector-person")


def test_no_room_is_known_before_the_download(
    hub, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(the_hub.shutil, "disk_usage", lambda folder: usage(9e9, 8e9, 1e9))
    with pytest.raises(WeightsError, match=r"expected 11\.6 GB free .* has 1\.0 GB"):
        require(["sd15"])
    with pytest.raises(WeightsError, match=r"captioner-blip: expected 1\.9 GB free"):
        fetch("captioner-blip")
    assert hub.calls == []


def test_a_wrong_hash(published: Path, hub, models: Path) -> None:
    hub.is_cached = True
    data = bytearray((published / WEIGHTS).read_bytes())
    data[-100] ^= 1
    (published / WEIGHTS).write_bytes(data)
    with pytest.raises(WeightsError, match=r"damaged.*fetch --again sd-vae-ft-mse"):
        find(VAE.name)
    shutil.copytree(published, models / VAE.name)
    with pytest.raises(WeightsError, match="replace the folder sd-vae-ft-mse"):
        find(VAE.name)


def test_weights_of_ones_own_have_a_list(vae: Path, models: Path, hub) -> None:
    """Their hashes are not the table's, so that without a list they are refused."""
    own = Path(shutil.copytree(vae, models / VAE.name))
    with pytest.raises(WeightsError, match="damaged, incomplete or changed"):
        find(VAE.name)
    write_sums(own)
    assert find(VAE.name) == own
    (own / SUMS).write_text((own / SUMS).read_text().replace("a", "b"))
    with pytest.raises(WeightsError, match=r"config|diffusion|SHA256SUMS"):
        find(VAE.name)
    (own / SUMS).unlink()
    assert find(VAE.name, at=own) == own


def test_a_part_that_is_missing(vae: Path, models: Path) -> None:
    (vae / WEIGHTS).unlink()
    with pytest.raises(WeightsError, match=f"{WEIGHTS} not in its folder"):
        find(VAE.name, at=vae)


def test_split_weights_are_whole_with_all_their_parts(sd15_folders: Path, tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    model = AutoencoderKL.from_pretrained(sd15_folders / VAE.name)
    model.save_pretrained(tmp_path / "split", max_shard_size="20KB")
    assert find(VAE.name, at=tmp_path / "split")
    next((tmp_path / "split").glob("*-00002-of-*.safetensors")).unlink()
    with pytest.raises(WeightsError, match=f"{WEIGHTS} not in its folder"):
        find(VAE.name, at=tmp_path / "split")


@pytest.mark.parametrize(
    ("name", "file", "changed", "message"),
    [
        (VAE.name, "config.json", {"latent_channels": 16}, "latent_channels is 16, expected 4"),
        (VAE.name, "config.json", {"scaling_factor": 0.13025}, "scaling_factor is 0.13025"),
        (VAE.name, "config.json", {"_class_name": "AutoencoderTiny"}, "AutoencoderTiny"),
        ("controlnet-pose", "config.json", {"cross_attention_dim": 2048}, "2048, expected 768"),
        ("controlnet-pose", "config.json", {"conditioning_channels": 4}, "expected 3"),
        ("realistic-vision-5.1", "unet/config.json", {"in_channels": 9}, "in_channels is 9"),
        (
            "realistic-vision-5.1",
            "unet/config.json",
            {"cross_attention_dim": 2048, "addition_embed_type": "text_time"},
            "cross_attention_dim is 2048, expected 768; .*text_time",
        ),
        (
            "realistic-vision-5.1",
            "unet/config.json",
            {"cross_attention_dim": 1024, "use_linear_projection": True},
            "use_linear_projection is True, expected False",
        ),
        ("realistic-vision-5.1", "text_encoder/config.json", {"hidden_size": 1024}, "1024"),
        (
            "realistic-vision-5.1",
            "scheduler/scheduler_config.json",
            {"prediction_type": "flow"},
            "prediction_type is flow, expected epsilon or v_prediction",
        ),
    ],
)
def test_another_architecture(
    sd15_folders: Path, tmp_path: Path, name: str, file: str, changed: dict, message: str
) -> None:
    folder = Path(shutil.copytree(sd15_folders / name, tmp_path / "other"))
    edit(folder / file, **changed)
    with pytest.raises(WeightsError, match=f"{name}: another architecture .*{message}"):
        find(name, at=folder)


def test_a_configuration_that_cannot_be_read(vae: Path) -> None:
    (vae / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"expected config\.json, as JSON"):
        find(VAE.name, at=vae)


def test_everything_that_is_wrong_is_said_at_once(sd15_models, hub) -> None:
    models = sd15_models("realistic-vision-5.1", "controlnet-pose")
    edit(models / "controlnet-pose" / "config.json", cross_attention_dim=1024)
    with pytest.raises(WeightsError) as caught:
        require(["sd15"], download=False)
    lines = str(caught.value).splitlines()
    assert {line.split(":")[0] for line in lines} == set(GROUPS["sd15"]) - {"realistic-vision-5.1"}
    assert any("1024" in line for line in lines)
    assert str(models.parent) not in str(caught.value)


def test_names_that_are_not_in_the_table() -> None:
    for action in (find, fetch, where):
        with pytest.raises(SettingError, match="nonesuch"):
            action("nonesuch")


def test_a_revision_is_kept_with_its_hashes(published: Path, hub, models: Path) -> None:
    commit = "f" * 40
    assert fetch(VAE.name, revision=commit) == models / VAE.name
    assert hub.calls[-1]["revision"] == commit
    assert find(VAE.name) == models / VAE.name
    assert (models / VAE.name / SUMS).is_file()
    assert sorted(folder.name for folder in models.iterdir()) == [VAE.name]
    with pytest.raises(WeightsError, match="there already"):
        fetch(VAE.name, revision=commit)
    with pytest.raises(SettingError, match="published as pickles"):
        fetch("annotator-lineart", revision=commit)


def test_fetching_again(published: Path, hub, models: Path) -> None:
    hub.is_cached = True
    assert fetch(VAE.name) == published
    assert hub.calls == []
    assert fetch(VAE.name, again=True) == published
    assert hub.calls[-1]["force_download"] is True


def test_fetching_again_checks_the_folder_that_is_taken(published: Path, hub, models: Path) -> None:
    own = Path(shutil.copytree(published, models / VAE.name))
    assert fetch(VAE.name, again=True) == own
    (own / WEIGHTS).write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=r"replace the folder sd-vae-ft-mse .*, or remove it"):
        fetch(VAE.name, again=True)
    assert hub.calls == []
