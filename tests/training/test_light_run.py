"""That CAMOUFLaGE-Light trains, goes on, and is exported as the product reads it."""

import pytest
import torch
import yaml
from diffusers import T2IAdapter

import training.export
from camouflage.adapters.attribute_adapter import adapter_features
from camouflage.adapters.image_prompt import load_image_prompt
from camouflage.annotators.image_encoder import load_image_encoder, penultimate_of
from camouflage.weights import check_sums
from training.frozen import load_unet
from training.light import LightModule
from training.light_data import LightData
from training.train import main

STEPS = 4


@pytest.fixture(scope="module", name="run")
def _run(workplace, light_config):
    """Two steps, then the same command to four."""
    path = light_config(workplace, "light", steps=2, interval=2, rate=1e-2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workplace)
        main(["fit", "--config", str(path), "--ckpt_path=last"])
        first = torch.load("runs/light/last.ckpt", weights_only=False)
        main(["fit", "--config", str(path), "--ckpt_path=last", f"--trainer.max_steps={STEPS}"])
        last = torch.load("runs/light/last.ckpt", weights_only=False)
    return workplace / "runs" / "light", first, last


@pytest.fixture(name="batch")
def _batch(workplace):
    runs = workplace / "runs"
    data = LightData(str(runs / "light-512"), str(runs / "base" / "vae"), batch_size=2)
    return next(iter(data.val_dataloader()))


@pytest.fixture(name="exported")
def _exported(run, workplace, tmp_path, monkeypatch):
    monkeypatch.chdir(workplace)
    folder, _, _ = run
    training.export.light(
        folder / "last.ckpt",
        output=tmp_path / "out",
        config=folder / "config.yaml",
        dtype="float32",
    )
    return tmp_path / "out"


def test_a_run_goes_on_where_it_was(run):
    _, first, last = run
    assert (first["global_step"], last["global_step"]) == (2, STEPS)
    assert (first["light"]["samples"], last["light"]["samples"]) == (16, 8 * STEPS)
    (optimizer,) = last["optimizer_states"]
    assert {float(s["step"]) for s in optimizer["state"].values()} == {float(STEPS)}
    assert last["LightData"]["prepared"]["pictures"] == {"heldout": 3, "train": 5}
    assert last["state_dict"].keys() == last["current_model_state"].keys()


def test_a_checkpoint_is_weights_average_and_optimizer(run):
    """16 bytes a parameter, and little else: no frozen network is in it."""
    folder, _, last = run
    parameters = sum(value.numel() for value in last["state_dict"].values())
    assert {name.split(".")[0] for name in last["state_dict"]} == {
        "resampler",
        "attention",
        "adapter",
    }
    assert (folder / "last.ckpt").stat().st_size < 16 * parameters * 1.2 + 200_000


@torch.no_grad()
def test_the_export_draws_as_the_module(exported, run, workplace, batch, monkeypatch):
    monkeypatch.chdir(workplace)
    module = LightModule("runs/base", "runs/farl", resampler_width=64).eval()
    module.load_state_dict(run[2]["state_dict"])
    t, noise = torch.tensor([200, 700]), torch.randn_like(batch["z_0"])
    none = torch.zeros(2, dtype=torch.bool)
    expected, abar = module.predict(batch, t, noise, none, none)

    check_sums(exported)
    unet = load_unet(workplace / "runs" / "base").eval()
    load_image_prompt(unet, exported / "ip_adapter")
    adapter = T2IAdapter.from_pretrained(exported / "adapter").eval()
    encoder = load_image_encoder(workplace / "runs" / "farl")
    hidden = penultimate_of(encoder, batch["encoder_pixels"])
    found = unet(
        abar.sqrt() * batch["z_0"] + (1 - abar).sqrt() * noise,
        t,
        encoder_hidden_states=module.contexts(batch, none),
        added_cond_kwargs={"image_embeds": [hidden[:, None]]},
        down_intrablock_additional_residuals=adapter_features(adapter, unet, batch["maps"]),
    ).sample
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)  # sums in another order
    fresh = LightModule("runs/base", "runs/farl", resampler_width=64).eval()
    assert not torch.allclose(fresh.predict(batch, t, noise, none, none)[0], expected, atol=1e-2)


def test_training_goes_on_from_an_export(exported, run, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    module = LightModule("runs/base", "runs/farl", weights=str(exported))
    state = run[2]["state_dict"]
    assert module.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert all(p.requires_grad for p in module.parameters())


def test_another_unet_is_refused(run, workplace, new_base, tmp_path, monkeypatch):
    monkeypatch.chdir(workplace)
    folder, _, last = run
    new_base(tmp_path / "base", seed=9)
    module = LightModule(str(tmp_path / "base"), "runs/farl", resampler_width=64)
    with pytest.raises(ValueError, match="another unet_sha256"):
        module.on_load_checkpoint(last)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["model"]["init_args"]["base"] = str(tmp_path / "base")
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match="another unet_sha256"):
        training.export.light(
            folder / "last.ckpt", output=tmp_path / "out", config=tmp_path / "other.yaml"
        )
    assert not (tmp_path / "out").exists()
