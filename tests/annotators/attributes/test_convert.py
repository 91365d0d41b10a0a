"""``camouflage models`` turns small files in the published layouts into folders that load."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from transformers import CLIPVisionModelWithProjection
from typer.testing import CliRunner

from camouflage.annotators.attributes import AttributeNet
from camouflage.annotators.attributes.network import CLIP_MEAN, CLIP_STD
from camouflage.cli import app
from camouflage.errors import WeightsError
from camouflage.weights import MODELS, TABLE, find, load_model, where
from camouflage.weights.architecture import check_folder_is

from .published import Facer, Farl, varied

FARL_FILE = "FaRL-Base-Patch16-LAIONFace20M-ep64.pth"
FACER_FILE = "face_attribute.farl.celeba.pt"
WIDE = {"width": 128, "layers": 2, "heads": 2}  # 64 channels a head, as in every CLIP


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(MODELS, str(tmp_path / "models"))
    return tmp_path / "models"


def run(*arguments: str, status: int = 0) -> str:
    outcome = CliRunner().invoke(app, ["models", *arguments], env={"COLUMNS": "200"})
    assert outcome.exit_code == status, outcome.output
    return outcome.output


def hash_of(file: Path) -> str:
    return f"--sha256={file.name}={hashlib.sha256(file.read_bytes()).hexdigest()}"


@torch.no_grad()
def test_facers_file(tmp_path: Path, models: Path, pixels) -> None:
    facer, file = varied(Facer(**WIDE)), tmp_path / FACER_FILE
    torch.save(facer.state_dict(), file)
    assert "give the one that you trust" in run("convert", "attributes-facer", str(file), status=2)
    run("convert", "attributes-facer", str(file), hash_of(file))
    folder = models / "attributes-facer"
    mean, std = (torch.tensor(c).view(3, 1, 1) for c in (CLIP_MEAN, CLIP_STD))
    expected = facer((pixels - mean) / std)
    for net in (
        AttributeNet.from_pretrained(folder),
        load_model(AttributeNet, find("attributes-facer", download=False), dtype=torch.float32),
    ):
        torch.testing.assert_close(net(pixels), expected, atol=1e-5, rtol=1e-5)
    assert "as it should be" in run("verify", "attributes-facer")
    assert '"here": "folder"' in run("list", "--json")
    card = (folder / "README.md").read_text()
    assert "github.com/FacePerceiver/facer" in card
    assert "huggingface" not in card


@torch.no_grad()
def test_farls_file(tmp_path: Path, models: Path, pixels) -> None:
    farl, file = varied(Farl(**WIDE)), tmp_path / FARL_FILE
    torch.save({"epoch": 64, "state_dict": farl.state_dict()}, file)
    run("convert", "farl", str(file), hash_of(file))
    encoder = CLIPVisionModelWithProjection.from_pretrained(models / "farl")
    close = encoder(pixel_values=pixels).image_embeds
    torch.testing.assert_close(close, farl.visual(pixels), atol=1e-5, rtol=1e-5)
    load_model(CLIPVisionModelWithProjection, models / "farl", dtype=torch.float32)
    assert "hidden_size is 128, expected 768" in run("verify", "farl", status=1)
    config = json.loads((models / "farl" / "config.json").read_text())
    assert config["architectures"] == ["CLIPVisionModelWithProjection"]


def test_a_folder_beside_which_the_hubs_files_lie(tmp_path: Path, models: Path) -> None:
    """Its configuration is of a whole CLIP, and its weights are not those that are converted."""
    source = tmp_path / "source"
    source.mkdir()
    torch.save(varied(Farl(**WIDE)).state_dict(), source / FARL_FILE)
    (source / "config.json").write_text('{"model_type": "clip"}')
    (source / "model.safetensors").write_bytes(b"other")
    run("convert", "farl", str(source), hash_of(source / FARL_FILE))
    CLIPVisionModelWithProjection.from_pretrained(models / "farl")
    assert json.loads((models / "farl" / "config.json").read_text())["model_type"] != "clip"


@pytest.mark.parametrize("name", ["farl", "attributes-facer"])
def test_another_network_is_refused_and_leaves_nothing(
    tmp_path: Path, models: Path, name: str
) -> None:
    file = tmp_path / TABLE[name].pickles[0].name
    torch.save({"other.weight": torch.ones(1)}, file)
    assert file.name in run("convert", name, str(file), hash_of(file), status=1)
    assert list(models.iterdir()) == []


@pytest.mark.filterwarnings("ignore:.*torch.jit:Warning")
def test_a_torchscript_archive_says_what_to_do(tmp_path: Path, models: Path) -> None:
    file = tmp_path / FACER_FILE
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    shown = run("convert", "attributes-facer", str(file), hash_of(file), status=1)
    assert "TorchScript" in shown
    assert "torch.jit.load" in shown


def test_what_is_not_on_the_hub_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*args, local_files_only: bool = False, **wanted) -> str:
        from huggingface_hub.errors import LocalEntryNotFoundError

        assert local_files_only, "the hub was asked for what it does not have"
        raise LocalEntryNotFoundError("not here")

    monkeypatch.setattr("huggingface_hub.snapshot_download", asked)
    assert where("attributes-facer") == "missing"
    for ask in (("fetch",), ("verify",), ("fetch", "--again")):
        shown = run(*ask, "attributes-facer", status=1)
        assert f"download {FACER_FILE} from https://github.com/FacePerceiver/facer" in shown
    with pytest.raises(WeightsError, match="not on the hub"):
        find("attributes-facer")
    assert "attributes-facer" in run("list")


CLIP = {"model_type": "clip", "vision_config": {"patch_size": 16}}


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (CLIP, ""),
        ({"model_type": "clip_vision_model", "patch_size": 16, "hidden_size": 768}, ""),
        (CLIP | {"vision_config": {}}, "patch_size is 32, expected 16"),
        (CLIP | {"vision_config": {"hidden_size": 1024}}, "hidden_size is 1024"),
        ({"model_type": "siglip", "patch_size": 16}, "model_type is siglip"),
        ({"model_type": "clip_vision_model", "patch_size": 16, "image_size": 336}, "336"),
    ],
)
def test_the_architecture_of_farl(config: dict, problem: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    if not problem:
        check_folder_is("farl", tmp_path, "farl")
        return
    with pytest.raises(WeightsError, match=problem):
        check_folder_is("farl", tmp_path, "farl")
