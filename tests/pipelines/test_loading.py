"""save_pretrained and from_pretrained, and the names of the sizes."""

import importlib.resources
import json

import pytest
import torch
from diffusers import MultiControlNetModel
from safetensors.torch import load_file, save_file

from camouflage.errors import SettingError, WeightsError
from camouflage.mini.autoencoder import SmallAutoencoder
from camouflage.pipelines import BasePipeline
from camouflage.pipelines.tiny import tiny_pipeline
from camouflage.weights import SUMS, write_sums


def weights(pipe):
    return {
        f"{name}.{key}": value
        for name, module in pipe.components.items()
        if isinstance(module, torch.nn.Module)
        for key, value in module.state_dict().items()
    }


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def public(config):
    return {key: value for key, value in config.items() if not key.startswith("_")}


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def folder(shared_pipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    shared_pipe.save_pretrained(folder, max_shard_size="20KB")
    return folder


def test_loads_bit_for_bit(pipe, redraw, folder):
    again = quiet(BasePipeline.from_pretrained(folder))
    assert_same_weights(weights(pipe), weights(again))
    assert torch.equal(redraw(), redraw(pipe=again))
    assert public(again.config) == public(pipe.config)
    assert again.text_encoder is None


def test_large_modules_are_split_and_only_safetensors_written(folder):
    assert len(list((folder / "unet").glob("*.safetensors"))) > 1
    assert {file.suffix for file in folder.rglob("*.*")} == {".safetensors", ".json"}


def test_optional_parts_may_be_missing(pipe, redraw, folder):
    again = quiet(BasePipeline.from_pretrained(folder, identity_controlnet=None))
    assert again.identity_controlnet is None
    one = {"anonymization_scale": 1}
    assert torch.equal(redraw(**one), redraw(pipe=again, **one))


def test_halves_load_as_float32(tmp_path):
    half = BasePipeline.from_pretrained("tiny", dtype=torch.float16)
    half.save_pretrained(tmp_path)
    again = BasePipeline.from_pretrained(tmp_path, dtype=torch.float32)
    wide = {key: value.float() for key, value in weights(half).items()}
    assert {value.dtype for value in weights(half).values()} == {torch.float16}
    assert {value.dtype for value in weights(again).values()} == {torch.float32}
    assert_same_weights(wide, weights(again))


def test_from_pipe_shares_every_component(pipe):
    other = BasePipeline.from_pipe(pipe)
    assert other.components.keys() == pipe.components.keys()
    assert all(other.components[name] is part for name, part in pipe.components.items())
    assert other.config["random_weights"] is True


def test_random_weights_are_known_as_such_and_others_are_not(pipe, folder):
    assert BasePipeline.from_pretrained("tiny").config["random_weights"] is True
    assert BasePipeline.from_pretrained(folder).config["random_weights"] is True
    assert BasePipeline.from_pretrained("mini").config["random_weights"] is False
    made = BasePipeline(**pipe.components, controls=pipe.config["controls"])
    assert made.config["random_weights"] is False


def test_pickles_are_refused(folder):
    with pytest.raises(SettingError, match="safetensors"):
        BasePipeline.from_pretrained(folder, use_safetensors=False)


def test_tiny_is_the_same_each_time_and_leaves_the_global_seed_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = BasePipeline.from_pretrained("tiny"), tiny_pipeline()
    assert torch.equal(torch.rand(1), expected)
    assert_same_weights(weights(first), weights(second))


def test_tiny_takes_dtype_only():
    with pytest.raises(SettingError, match="variant"):
        BasePipeline.from_pretrained("tiny", variant="fp16")


def test_mini_is_a_folder_inside_the_package(folder, monkeypatch):
    inside = folder / "package"
    inside.mkdir()
    (inside / "weights").symlink_to(folder)
    monkeypatch.setattr(importlib.resources, "files", lambda package: inside)
    with pytest.raises(WeightsError, match="SHA256SUMS"):
        BasePipeline.from_pretrained("mini")
    write_sums(folder)
    again = BasePipeline.from_pretrained("mini")
    assert again.config["size_px"] == 64
    (folder / SUMS).unlink()
    (inside / "weights").unlink()
    with pytest.raises(WeightsError, match="training"):
        BasePipeline.from_pretrained("mini")


def test_small_autoencoder_and_null_context_are_found_by_their_modules(tmp_path):
    pipe = tiny_pipeline()
    pipe.vae = SmallAutoencoder(latent_channels=4, channels=(8, 8), layers=1)
    pipe.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["vae"] == ["camouflage.mini.autoencoder", "SmallAutoencoder"]
    assert index["null_context"] == ["camouflage.mini.context", "NullContext"]
    assert_same_weights(weights(pipe), weights(BasePipeline.from_pretrained(tmp_path)))


def test_a_net_too_many_is_refused(pipe):
    parts = pipe.components
    fewer = MultiControlNetModel(list(pipe.controlnet.nets)[:2])
    with pytest.raises(WeightsError, match="2 ControlNets"):
        BasePipeline(**{**parts, "controlnet": fewer}, controls=pipe.config["controls"])


def test_a_pipeline_without_any_context_is_refused(pipe):
    parts = {**pipe.components, "null_context": None}
    with pytest.raises(WeightsError, match="null_context"):
        BasePipeline(**parts, controls=pipe.config["controls"])


def test_weights_that_are_missing_are_refused(tmp_path):
    """diffusers leaves such parameters without numbers, and says so in its log only."""
    tiny_pipeline().save_pretrained(tmp_path)
    file = next((tmp_path / "unet").glob("*.safetensors"))
    tensors = load_file(file)
    del tensors[sorted(tensors)[0]]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"unet: .*missing"):
        BasePipeline.from_pretrained(tmp_path)
