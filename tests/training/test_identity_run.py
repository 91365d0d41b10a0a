"""That an identity ControlNet learns, and what its checkpoint, export, card and report are."""

import json

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel

import training.export
import training.report_identity
from camouflage.weights import SUMS, file_sha256
from training.identity import IdentityModule
from training.shards import read_latents
from training.train import main

STEPS = 80


@pytest.fixture(scope="module", name="velocity_base")
def _velocity_base(workplace, new_base):
    """Of a velocity model a few steps show in the picture, of a noise model in the loss only."""
    new_base(workplace / "runs" / "velocity", prediction_type="v_prediction")
    return workplace / "runs" / "velocity"


@pytest.fixture(scope="module", name="run")
def _run(workplace, velocity_base, identity_config):
    """The configuration, its numbers made small, run until it has learned something."""
    path = identity_config(workplace, "learned", steps=STEPS, interval=STEPS // 2, rate=1e-2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workplace)
        base = f"--model.base={velocity_base}"
        main(["fit", "--config", str(path), base, f"--data.epoch_samples={4 * STEPS}"])
    return workplace / "runs" / "learned"


@pytest.fixture(scope="module", name="checkpoint")
def _checkpoint(run):
    return torch.load(run / "last.ckpt", weights_only=True)


@pytest.fixture(scope="module", name="exported")
def _exported(run, workplace):
    folder = workplace / "runs" / "identity-controlnet"
    training.export.identity(
        run / "last.ckpt", output=folder, base=str(workplace / "runs/velocity")
    )
    return folder


def test_it_learns(velocity_base, workplace, checkpoint):
    """Held-out latents, the averaged weights: the loss is well under that of the start."""
    module, fresh = (IdentityModule(str(velocity_base)).eval() for _ in range(2))
    module.load_state_dict(checkpoint["state_dict"])
    held = [
        row["z_0"].float() for _, row in read_latents(workplace / "runs/latents-512", "heldout")
    ]
    with torch.no_grad():
        found = module.validation_measures(torch.stack(held), 0)
        start = fresh.validation_measures(torch.stack(held), 0)
    assert found["untrained"] == start["loss"]
    # 0.43 of the start and 4 dB more were measured; the limits leave room for another machine
    assert found["loss"] < 0.7 * start["loss"]
    assert found["from_noise_db"] > start["from_noise_db"] + 2


def test_the_checkpoint_knows_what_the_card_says(checkpoint, run):
    assert checkpoint["global_step"] == STEPS
    assert checkpoint["identity"]["samples"] == 8 * STEPS
    measured = checkpoint["identity"]["measured"]
    assert measured["step"] == STEPS // 2, "the checkpoint comes before the epoch's validation"
    assert measured["val/loss"] < 0.9 * measured["val/untrained"]
    assert checkpoint["LatentData"]["prepared"]["pictures"] == {"train": 8, "heldout": 2}
    assert {path.name for path in run.glob("*.ckpt")} == {
        "last.ckpt",
        f"step={STEPS // 2}.ckpt",
        f"step={STEPS}.ckpt",
    }


def test_the_export_is_the_average_in_another_precision(exported, checkpoint):
    net = ControlNetModel.from_pretrained(exported, dtype=torch.float16)
    state = checkpoint["state_dict"]
    assert len(net.state_dict()) == len(state)
    for name, value in net.state_dict().items():
        assert torch.equal(value, state[f"identity.{name}"].half()), name


def test_the_export_at_full_precision_is_exact_and_sharded(
    run, velocity_base, tmp_path, checkpoint
):
    training.export.identity(
        run / "last.ckpt",
        output=tmp_path,
        base=str(velocity_base),
        dtype="float32",
        max_shard_size="50KB",
    )
    assert len(list(tmp_path.glob("*-of-*.safetensors"))) > 1
    net = ControlNetModel.from_pretrained(tmp_path)
    for name, value in net.state_dict().items():
        assert torch.equal(value, checkpoint["state_dict"][f"identity.{name}"]), name
    lines = (tmp_path / SUMS).read_text().splitlines()
    listed = dict(reversed(line.split("  ")) for line in lines)
    weights = {path.name for path in tmp_path.iterdir()} - {SUMS, "README.md"}
    assert set(listed) == weights
    assert all(file_sha256(tmp_path / name) == digest for name, digest in listed.items())


def test_the_export_names_no_path_of_this_machine(exported, workplace):
    for file in (exported / "config.json", exported / "README.md", exported / SUMS):
        assert str(workplace) not in file.read_text()


@torch.no_grad()
def test_the_export_is_the_identity_of_a_pipeline(exported, pipeline_of):
    net = ControlNetModel.from_pretrained(exported, dtype=torch.float32)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    image = pipeline_of(net)(picture, anonymization_scale=0.0, num_inference_steps=2)
    assert image.images[0].size == (64, 64)


def test_the_card_has_the_facts(exported):
    card = (exported / "README.md").read_text()
    for fact in (
        "| base | `velocity` |",
        f"| steps | {STEPS} (averaged weights) |",
        f"| samples seen | {8 * STEPS} |",
        "| learning rate | 0.01 |",
        "| pictures | 8 for training, 2 held out |",
        "| reconstruction from strong noise | not measured |",
    ):
        assert fact in card, fact
    for heading in ("Intended", "Not intended", "## Known failures"):
        assert heading in card


def test_the_report_stands_beside_the_untrained_start(
    exported, run, workplace, velocity_base, tmp_path
):
    """Then the card takes it up, and no other weights do."""
    training.report_identity.main(
        exported,
        base=str(velocity_base),
        vae=str(velocity_base / "vae"),
        latents=workplace / "runs/latents-512",
        output=tmp_path,
        steps=8,
        batch=2,
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["pictures"] == 2
    # Few steps of a tiny net, 0.4 dB after 60 steps: a random decoder shows little
    assert report["trained"]["psnr_db"] > report["untrained"]["psnr_db"] + 0.2
    assert report["trained"]["loss"] < 0.7 * report["untrained"]["loss"]
    table = (tmp_path / "report.md").read_text()
    assert f"| {report['untrained']['psnr_db']:.4g} | {report['trained']['psnr_db']:.4g} |" in table
    settings = {"base": str(velocity_base), "report": tmp_path / "report.json"}
    training.export.identity(run / "last.ckpt", output=tmp_path / "again", **settings)
    card = (tmp_path / "again" / "README.md").read_text()
    assert f"PSNR {report['trained']['psnr_db']:.2f} dB" in card
    with pytest.raises(ValueError, match="other weights"):
        training.export.identity(
            run / "last.ckpt", output=tmp_path / "other", dtype="bfloat16", **settings
        )


def test_the_export_refuses_another_base(run, new_base, tmp_path):
    new_base(tmp_path / "base", seed=9)
    with pytest.raises(ValueError, match="another UNet"):
        training.export.identity(
            run / "last.ckpt", output=tmp_path / "out", base=str(tmp_path / "base")
        )


def test_training_goes_on_from_an_export(exported, module_of):
    again = module_of(weights=str(exported)).identity.state_dict()
    net = ControlNetModel.from_pretrained(exported, dtype=torch.float32).state_dict()
    assert all(torch.equal(again[name], net[name]) for name in net)
