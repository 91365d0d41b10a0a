"""Learning the upscaler: its samples, and that it learns from them."""

import csv

import cv2
import lightning as L
import numpy as np
import pytest
import torch
import webdataset as wds

from camouflage.mini.upscaling import SmallUpscaler, enlarged, places_of
from camouflage.pipelines import BasePipeline
from training.encode_upscaling import FACTOR, samples
from training.prepare import decode
from training.upscaling import PatchDiscriminator, UpscalingModule
from training.upscaling_data import UpscalingData, spoiled


def face(seed: int, side: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.indices((side, side)) / side
    waves = sum(
        np.sin(120 * rng.uniform(0.3, 1) * (x * a + y * b)) for a, b in rng.normal(size=(4, 2))
    )
    colours = rng.uniform(60, 200, 3) + 25 * waves[..., None]
    return np.clip(colours, 0, 255).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Six faces of 64 px whose targets have 128."""
    folder = tmp_path_factory.mktemp("upscaling")
    for split, count in (("train", 4), ("heldout", 2)):
        with wds.ShardWriter(f"{folder / split}-%06d.tar", maxcount=9, verbose=0) as sink:
            for i in range(count):
                target = face(i, 128)
                drawn = cv2.GaussianBlur(target, (0, 0), 1.5)[::2, ::2]
                key = f"{split}-{i}"
                sink.write({"__key__": key, "target.png": png(target), "drawn.png": png(drawn)})
    return folder


def test_a_still_sample_is_what_was_stored(shards):
    (batch,) = UpscalingData(shards, batch_size=2, workers=0).val_dataloader()
    assert batch["target"].shape == (2, 3, 128, 128)
    assert batch["drawn"].shape == (2, 3, 64, 64)
    target = (batch["target"][0].permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(target - face(0, 128)).max() < 0.6
    assert torch.equal(batch["places"][1], places_of(64))


def test_training_samples_are_cut_at_one_place(shards):
    data = UpscalingData(
        shards, batch_size=4, epoch_samples=8, workers=0, window=32, spoil=0.0, relight=0.0
    )
    for batch in data.train_dataloader():
        assert batch["target"].shape == (4, 3, 64, 64)
        small = torch.nn.functional.avg_pool2d(batch["target"], 2)
        apart = (small - batch["drawn"]).abs().mean()
        assert apart < 0.6 * (small - batch["drawn"].roll(9, -1)).abs().mean()
        steps = batch["places"].diff(dim=-1)[:, 0]
        assert torch.allclose(steps, torch.tensor(2 / 64), atol=1e-6), "places of the whole crop"


@pytest.mark.parametrize("window", [3, 30])
def test_a_window_that_does_not_fit_the_network_is_refused(shards, window):
    with pytest.raises(ValueError, match="multiple of 4"):
        UpscalingData(shards, window=window)


def test_what_is_spoiled_is_softer_or_harder():
    pixels = face(3, 64)
    detail = np.abs(np.diff(pixels.astype(int), axis=0)).mean()
    got = [
        np.abs(np.diff(spoiled(pixels, np.random.default_rng(i)).astype(int), axis=0)).mean()
        for i in range(20)
    ]
    assert min(got) < 0.97 * detail
    assert max(got) > 1.03 * detail


def test_samples_are_what_the_autoencoder_draws_at_half_the_size():
    vae = BasePipeline.from_pretrained("tiny").vae
    targets = [(f"a{i}", face(i, 128)) for i in range(3)]
    made = list(samples(vae, iter(targets), side=64, noise=0.0))
    assert [one["__key__"] for one in made] == ["a0", "a1", "a2"]
    for (_, target), one in zip(targets, made, strict=True):
        assert np.array_equal(decode(one["target.png"]), target)
        assert decode(one["drawn.png"]).shape == (128 // FACTOR, 128 // FACTOR, 3)
    noisy = list(samples(vae, iter(targets), side=64, noise=0.5))
    assert any(a["drawn.png"] != b["drawn.png"] for a, b in zip(made, noisy, strict=True))


def test_freshly_made_it_enlarges():
    net, pixels = SmallUpscaler(), torch.rand(2, 3, 32, 32) * 2 - 1
    assert torch.equal(net(pixels), enlarged(pixels))
    assert torch.equal(net(pixels), net(pixels, places_of(32).expand(2, -1, -1, -1)))


def test_a_discriminator_tells_where_and_shows_what_it_saw():
    scores, features = PatchDiscriminator()(torch.rand(2, 5, 64, 64))
    assert scores.shape == (2, 1, 8, 8)
    assert [one.shape[-1] for one in features] == [32, 16, 8]


def test_it_learns_and_both_sides_count(shards, tmp_path):
    """Sharper than mere enlarging, after some steps with the discriminators at work."""
    torch.manual_seed(0)
    module = UpscalingModule(alone=10, learning_rate=1e-3)
    before = {name: one.clone() for name, one in module.critics.named_parameters()}
    data = UpscalingData(
        shards, batch_size=4, epoch_samples=80, workers=0, window=32, spoil=0.0, relight=0.0
    )
    logger = L.pytorch.loggers.CSVLogger(tmp_path)
    trainer = L.Trainer(
        max_steps=160,
        accelerator="cpu",
        logger=logger,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    last = trainer.callback_metrics
    assert last["val/psnr"] > last["val/psnr_enlarged"] + 0.5
    assert last["val/detail"] > last["val/detail_enlarged"]
    assert any(not torch.equal(one, before[k]) for k, one in module.critics.named_parameters())
    logger.save()
    with open(f"{logger.log_dir}/metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert any(row.get("train/unreal") for row in rows)


def test_going_on_from_a_folder(tmp_path):
    net = SmallUpscaler()
    torch.nn.init.normal_(net.difference.weight, std=0.01)
    net.save_pretrained(tmp_path)
    module = UpscalingModule(weights=str(tmp_path))
    assert torch.equal(module.model.difference.weight, net.difference.weight)
