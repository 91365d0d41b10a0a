"""Every YAML of configs/training runs, goes on from its checkpoint, and is exported.

Two steps each; paths, classes and the sizes of the networks are those of the files.
"""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from webdataset.compat import WebDataset

import training.export
from camouflage.annotators.landmarks import LandmarkNet
from camouflage.compose.upscaling import Upscaler
from camouflage.mini.autoencoder import SmallAutoencoder
from camouflage.pipelines.base import BasePipeline
from training.train import main

FOLDER = Path(__file__).parents[2] / "configs" / "training"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def shortened(name: str, steps: int) -> dict:
    """The configuration with few steps, no loggers and nothing slow."""
    config = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    data = config["data"]["init_args"]
    data |= {"batch_size": 2, "epoch_samples": 4, "workers": 0}
    if name in ("identity-sd15", "light-sd15"):  # the real weights are gigabytes
        config["model"]["init_args"]["base"] = "runs/base"
        data["vae"] = "runs/base/vae"
    if name == "light-sd15":
        config["model"]["init_args"] |= {"image_encoder": "runs/farl", "resampler_width": 64}
    if name == "fused-sd15":
        config["model"]["init_args"]["pipeline"] = "runs/scene"
        data["vae"] = "runs/scene/vae"
    if name == "encoder-mini":  # it starts from more samples than its embedding has numbers
        data |= {"batch_size": 4, "epoch_samples": 80}
    trainer = config["trainer"]
    trainer |= {"max_steps": steps, "logger": False, "accelerator": "cpu"}
    trainer |= {"limit_val_batches": 1, "num_sanity_val_steps": 0}
    for callback in trainer["callbacks"]:
        if callback["class_path"].endswith("ModelCheckpoint"):
            callback["init_args"] |= {"every_n_train_steps": steps, "save_last": "link"}
    return config


def fit(config: dict, path: Path, *more: str) -> None:
    path.write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(path), *more])


def last(name: str) -> dict:
    return torch.load(f"runs/{name}/last.ckpt", map_location="cpu", weights_only=False)


@pytest.fixture(scope="module", name="trained")
def _trained(workplace):
    """Each configuration, run once for two steps; its folder."""

    @functools.cache
    def run(name: str) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(workplace)
            fit(shortened(name, 2), workplace / f"{name}.yaml")
        return workplace

    return run


def test_the_denoiser_takes_mixed_precision_with_clipped_gradients(trained, monkeypatch):
    """As training/README.md advises for a GPU: a fused optimizer would be refused."""
    folder = trained("denoiser")
    monkeypatch.chdir(folder)
    config = shortened("denoiser", 1)
    config["trainer"]["callbacks"].pop()
    config["trainer"] |= {"precision": "bf16-mixed", "enable_checkpointing": False}
    fit(config, folder / "mixed.yaml")


def test_there_are_configurations():
    assert {"autoencoder", "denoiser", "identity-sd15", "landmarks"} <= set(NAMES)
    assert {"encoder-mini", "attributes-mini", "light-mini", "light-sd15"} <= set(NAMES)
    assert {"fused-mini", "fused-sd15", "upscaler"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_trains(name, trained, monkeypatch):
    monkeypatch.chdir(trained(name))
    checkpoint = last(name)
    assert checkpoint["global_step"] == 2
    weights = [v for v in checkpoint["state_dict"].values() if v.is_floating_point()]
    assert all(torch.isfinite(v).all() for v in weights)


@pytest.mark.parametrize("name", NAMES)
def test_the_resolved_configuration_stands_beside_the_checkpoint_only(name, trained):
    folder = trained(name)
    resolved = yaml.safe_load((folder / "runs" / name / "config.yaml").read_text())
    assert resolved["trainer"]["max_steps"] >= 2
    assert resolved["model"]["class_path"].startswith("training.")
    assert not (folder / "config.yaml").exists()
    assert not (folder / "lightning_logs").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_says_where_its_things_are(name):
    """Checkpoints and logs of a part are in runs/NAME, as training/README.md says."""
    trainer = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["trainer"]
    places = [
        part["init_args"].get("save_dir") or part["init_args"].get("dirpath")
        for part in [*trainer["logger"], *trainer["callbacks"]]
    ]
    assert {p for p in places if p} == {f"runs/{name}"}
    wandb = [p for p in trainer["logger"] if p["class_path"].endswith("WandbLogger")]
    assert all(logger["init_args"]["offline"] is True for logger in wandb)


def test_a_run_goes_on_from_its_checkpoint(trained, monkeypatch):
    folder = trained("landmarks")
    monkeypatch.chdir(folder)
    before = last("landmarks")
    assert before["global_step"] == 2
    config = shortened("landmarks", 3)
    config["trainer"]["callbacks"][0]["init_args"]["dirpath"] = "runs/resumed"
    fit(config, folder / "resumed.yaml", "--ckpt_path", "runs/landmarks/last.ckpt")
    after = last("resumed")
    assert after["global_step"] == 3
    steps = [s["step"] for s in after["optimizer_states"][0]["state"].values()]
    assert {float(s) for s in steps} == {3.0}
    old, new = before["state_dict"], after["state_dict"]
    assert torch.equal(old["model.mean_xy"], new["model.mean_xy"]), "set once, at the start"
    moved = max(float((old[k] - new[k]).abs().max()) for k in old)
    assert 0 < moved < 1e-3, "one more small step of the warm-up, not a start from new weights"


def test_a_checkpoint_of_the_denoiser_holds_averaged_weights(trained, monkeypatch):
    monkeypatch.chdir(trained("denoiser"))
    checkpoint = last("denoiser")
    averaged, current = checkpoint["state_dict"], checkpoint["current_model_state"]
    assert averaged.keys() == current.keys()
    # A zero convolution starts at 0; the average starts with the first step and is slow (0.999),
    # the warm-up makes the second step twice as large: 1/3 of the way, and 1 if not averaged.
    zero = "controls.landmarks.controlnet_mid_block.weight"
    assert 0 < averaged[zero].abs().max() < 0.5 * current[zero].abs().max()
    assert not any("frozen" in key or "vae" in key for key in averaged)


def test_export_of_the_autoencoder_normalises_its_latents(trained, monkeypatch, tmp_path):
    monkeypatch.chdir(trained("autoencoder"))
    quick = functools.partial(training.export.normalise, batches=1)
    monkeypatch.setattr(training.export, "normalise", quick)
    training.export.autoencoder(
        Path("runs/autoencoder/last.ckpt"), output=tmp_path, crops=Path("runs/crops")
    )
    model = SmallAutoencoder.from_pretrained(tmp_path, torch_dtype=torch.float32)
    assert (model.latent_std != 1).all()
    assert torch.isfinite(model.latent_mean).all()
    assert [p.suffix for p in tmp_path.iterdir() if p.name != "config.json"] == [".safetensors"]


def test_export_of_the_landmark_network(trained, monkeypatch, tmp_path):
    monkeypatch.chdir(trained("landmarks"))
    training.export.landmarks(Path("runs/landmarks/last.ckpt"), output=tmp_path)
    net = LandmarkNet.from_pretrained(tmp_path, torch_dtype=torch.float32)
    expected = last("landmarks")["state_dict"]["model.mean_xy"]
    torch.testing.assert_close(net.mean_xy, expected, atol=1e-3, rtol=0)  # fp16


def test_export_of_the_upscaler(trained, monkeypatch, tmp_path):
    monkeypatch.chdir(trained("upscaler"))
    training.export.upscaler(Path("runs/upscaler/last.ckpt"), output=tmp_path / "made")
    net = Upscaler.load(str(tmp_path / "made"), side=128).net
    expected = last("upscaler")["state_dict"]["model.difference.weight"]
    torch.testing.assert_close(net.difference.weight, expected, atol=1e-3, rtol=1e-3)  # fp16
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == [
        "SHA256SUMS",
        "config.json",
        "diffusion_pytorch_model.safetensors",
    ]


def test_faces_too_small_for_the_upscaler_are_left_out(workplace):
    shards = (workplace / "runs" / "upscaling").glob("*.tar")
    keys = {
        sample["__key__"]
        for shard in shards
        for sample in WebDataset(str(shard), shardshuffle=False)
    }
    assert keys == {f"face-{number}" for number in range(12) if number != 3}


def test_the_exported_pipeline_redraws_a_picture(trained, monkeypatch, tmp_path):
    folder = trained("denoiser")
    monkeypatch.chdir(folder)
    training.export.pipeline(
        Path("runs/denoiser/last.ckpt"),
        output=tmp_path,
        config=folder / "denoiser.yaml",
        parts=Path("runs/mini"),
    )
    weights = list(tmp_path.rglob("*.safetensors"))
    assert max(path.stat().st_size for path in weights) < 16e6
    assert sum(path.stat().st_size for path in weights) < 70e6
    assert not [p for p in tmp_path.rglob("*") if p.suffix in {".bin", ".pt", ".pkl", ".ckpt"}]
    pipe = BasePipeline.from_pretrained(str(tmp_path), torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    picture = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    image = pipe(picture, num_inference_steps=2).images[0]
    assert image.size == (128, 128)
    averaged = last("denoiser")["state_dict"]["unet.conv_in.weight"]
    torch.testing.assert_close(pipe.unet.conv_in.weight, averaged, atol=1e-3, rtol=1e-3)  # fp16
