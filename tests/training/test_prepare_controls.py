"""Pictures to latents with control maps: what is stored, read, and learned from."""

from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

import training.encode_controls
import training.export
from camouflage.adapters.fused import read_fused_weights
from camouflage.denoise.latents import encode, pixels_from_pictures
from camouflage.pipelines.base import BasePipeline
from camouflage.weights import CONTROLS
from training.control_data import ControlData, control_sample
from training.encode_controls import controls, lossless
from training.frozen import load_autoencoder
from training.fused import FusedModule
from training.latents import LatentData
from training.prepare import app
from training.shards import ControlsPrepared, read_samples
from training.squares import squares_of


@pytest.fixture(name="stored")
def _stored(workplace):
    return workplace / "runs" / "controls-512"


def rows(folder: Path, split: str) -> list[dict]:
    return [control_sample(one, names=list(CONTROLS)) for one in read_samples(folder, split)]


@pytest.fixture(name="samples")
def _samples(stored):
    return rows(stored, "train")


def test_a_sample_is_the_latent_the_maps_and_the_caption(workplace, samples, drawn_annotators):
    pictures = [np.asarray(Image.open(path)) for path in sorted((workplace / "pictures").iterdir())]
    squares = [squares_of(picture, 64, 1)[0] for picture in pictures]
    vae = load_autoencoder(str(workplace / "runs" / "base" / "vae"))
    with torch.no_grad():
        latents = encode(vae, pixels_from_pictures(squares))
    assert len(samples) == ControlsPrepared.read(workplace / "runs/controls-512").samples["train"]
    for sample in samples:
        place = int(((latents - sample["z_0"]) ** 2).sum((1, 2, 3)).argmin())
        torch.testing.assert_close(sample["z_0"], latents[place], atol=2e-3, rtol=2e-3)  # float16
        for name in CONTROLS:
            drawn = drawn_annotators().drawn(squares[place], name)
            assert np.array_equal(sample[name].permute(1, 2, 0).numpy(), drawn), name
        assert sample["caption"] == "a picture 64"


@pytest.mark.parametrize("shape", [(8, 8, 3), (5, 9, 3)])
def test_maps_are_stored_without_loss(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    found = training.encode_controls.read_maps({"pose.webp": lossless(pixels)}, ["pose"])
    assert np.array_equal(found["pose"].permute(1, 2, 0).numpy(), pixels)


def test_batches_have_what_they_say(workplace, stored):
    data = ControlData(str(stored), str(workplace / "runs/base/vae"), batch_size=2, workers=0)
    for loader in (data.train_dataloader, data.val_dataloader):
        data.trainer = None
        batch = next(iter(loader()))
        assert batch["z_0"].shape == (2, 4, 8, 8)
        assert batch["z_0"].dtype == torch.float32
        assert all(batch[name].shape == (2, 3, 64, 64) for name in CONTROLS)
        assert all(batch[name].dtype == torch.uint8 for name in CONTROLS)
        assert batch["caption"] == ["a picture 64"] * 2


def test_shards_of_another_command_are_refused(workplace, stored):
    with pytest.raises(ValueError, match=r"training\.prepare controls"):
        ControlData(str(workplace / "runs/latents-512"), str(workplace / "runs/base/vae"))
    with pytest.raises(ValueError, match=r"training\.prepare latents"):
        LatentData(str(stored), str(workplace / "runs/base/vae"))


def test_what_is_missing_is_said_before_any_picture_is_read(workplace, tmp_path, monkeypatch):
    monkeypatch.setenv("CAMOUFLAGE_MODELS", str(tmp_path))
    monkeypatch.setattr("training.preparation.find_pictures", lambda _: pytest.fail("it was read"))
    output = CliRunner().invoke(
        app, ["controls", str(workplace / "pictures"), "--output", str(tmp_path / "out")]
    )
    assert output.exit_code == 1
    assert "annotator-depth" in str(output.exception)
    assert "captioner-blip" in str(output.exception)


def test_the_same_command_goes_on_and_another_does_not_mix(
    workplace, tmp_path, monkeypatch, drawn_annotators
):
    made = []

    def annotators(**place):
        made.append(drawn_annotators(**place))
        return made[-1]

    monkeypatch.setattr("training.encode_controls.SceneAnnotators", annotators)
    monkeypatch.setattr("training.encode_controls.weights.require", lambda names: None)
    settings = {
        "vae": str(workplace / "runs/base/vae"), "caption": False, "side": 64, "least_side": 0,
        "heldout": 0.2, "batch": 2, "workers": 0, "device": "cpu", "seed": 0, "shard": 3,
    }  # fmt: skip
    controls([workplace / "pictures"], output=tmp_path, **settings)
    shards = sorted(tmp_path.glob("*.tar"))
    before = {path.name: path.read_bytes() for path in shards}
    next(path for path in shards if path.name.startswith("train")).unlink()
    controls([workplace / "pictures"], output=tmp_path, **settings)
    assert {path.name: path.read_bytes() for path in sorted(tmp_path.glob("*.tar"))} == before
    assert sum(made[1].seen) == 3, "only what was missing was drawn again"
    assert {one["caption"] for one in rows(tmp_path, "train")} == {""}
    with pytest.raises(typer.BadParameter, match="captions"):
        controls([workplace / "pictures"], output=tmp_path, **settings | {"caption": True})


def test_the_fused_net_learns_from_them(workplace, samples):
    """The captions reach teachers and student, and the weights are the pipeline's own."""
    module = FusedModule(str(workplace / "runs" / "scene"))
    assert module.control_weights == {
        "depth": 0.5, "normals": 0.5, "segmentation": 0.5, "pose": 1.0, "lineart": 0.5,
    }  # fmt: skip
    assert module.student.config["conditioning_channels"] == 15
    batch = {name: torch.stack([one[name] for one in samples]) for name in ("z_0", *CONTROLS)}
    captions = [one["caption"] for one in samples]
    t = torch.full((len(samples),), 500)
    _, told = module.noised(batch | {"caption": captions}, t, torch.Generator())
    _, untold = module.noised(batch, t, torch.Generator())
    assert told.shape == untold.shape
    assert not torch.allclose(told, untold)
    assert module.validation_errors(batch | {"caption": captions}, 0)["residuals"] > 0.1


def test_the_export_is_taken_by_the_pipeline(workplace, tmp_path, monkeypatch):
    module = FusedModule(str(workplace / "runs" / "scene"))
    state = {
        "state_dict": module.state_dict(),
        "hyper_parameters": dict(module.hparams),
        "global_step": 2,
    }
    module.on_save_checkpoint(state)
    torch.save(state, tmp_path / "last.ckpt")
    training.export.fused(
        tmp_path / "last.ckpt",
        output=tmp_path / "net",
        whole=False,
        dtype="float32",
        max_shard_size="5GB",
    )
    found = read_fused_weights(tmp_path / "net", CONTROLS)
    assert list(found.items()) == list(module.control_weights.items())
    training.export.fused(
        tmp_path / "last.ckpt",
        output=tmp_path / "all",
        whole=True,
        dtype="float32",
        max_shard_size="5GB",
    )
    pipe = BasePipeline.from_pretrained(tmp_path / "all")
    pipe.require_fused(pipe.config["default_weights"])
