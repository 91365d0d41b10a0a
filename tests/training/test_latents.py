"""Shards of latents to batches, in one process and in several."""

import json
from types import SimpleNamespace

import pytest
import torch

from training.latents import LatentData
from training.shards import PREPARED, read_latents


@pytest.fixture(name="data_of")
def _data_of(workplace):
    def make(**settings) -> LatentData:
        defaults = {"batch_size": 2, "epoch_samples": 8, "workers": 0, "shuffle": 4}
        runs = workplace / "runs"
        return LatentData(
            str(runs / "latents-512"), str(runs / "base" / "vae"), **(defaults | settings)
        )

    return make


def drawn(data: LatentData, rank: int = 0, world: int = 1, step: int = 0) -> torch.Tensor:
    """All of one epoch, in order."""
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world, global_step=step)
    return torch.cat([batch["z_0"] for batch in data.train_dataloader()])


def test_a_batch_is_latents_and_nothing_else(data_of):
    batches = list(data_of().train_dataloader())
    assert len(batches) == 4
    assert set(batches[0]) == {"z_0"}
    assert batches[0]["z_0"].shape == (2, 4, 8, 8)
    assert batches[0]["z_0"].dtype == torch.float32


def test_the_order_follows_from_the_seed(data_of):
    assert torch.equal(drawn(data_of()), drawn(data_of()))
    assert not torch.equal(drawn(data_of()), drawn(data_of(seed=1)))


def test_a_run_that_goes_on_and_a_second_epoch_see_another_order(data_of):
    assert not torch.equal(drawn(data_of()), drawn(data_of(), step=500))
    loader = data_of().train_dataloader()
    first, second = (torch.cat([batch["z_0"] for batch in loader]) for _ in range(2))
    assert not torch.equal(first, second)


def test_processes_see_different_samples(data_of):
    first, second = (drawn(data_of(epoch_samples=32), rank, 2) for rank in (0, 1))
    assert len(first) == len(second) == 32
    assert not torch.equal(first, second)


def test_workers_share_the_epoch_and_see_different_samples(data_of):
    rows = drawn(data_of(workers=2, epoch_samples=32))
    assert len(rows) == 32
    batches = rows.split(2)  # the workers' batches alternate
    assert not torch.equal(torch.cat(batches[::2]), torch.cat(batches[1::2]))


def test_pictures_and_mirror_images_both_come(data_of, workplace):
    stored = [row for _, row in read_latents(workplace / "runs" / "latents-512", "train")]
    plain = {tuple(row["z_0"].flatten()[:4].tolist()) for row in stored}
    mirrored = {tuple(row["mirrored"].flatten()[:4].tolist()) for row in stored}
    seen = [tuple(z.flatten()[:4].tolist()) for z in drawn(data_of(epoch_samples=64))]
    assert set(seen) <= plain | mirrored
    assert 10 < sum(one in plain for one in seen) < 54


def test_the_held_out_latents_are_all_there_and_stay_the_same(data_of):
    first, second = (
        torch.cat([batch["z_0"] for batch in data_of().val_dataloader()]) for _ in range(2)
    )
    assert len(first) == 2
    assert torch.equal(first, second)


def test_latents_of_another_autoencoder_are_refused(workplace, tmp_path, new_base, data_of):
    new_base(tmp_path, seed=4)
    with pytest.raises(ValueError, match="another autoencoder: their vae_sha256"):
        LatentData(str(workplace / "runs" / "latents-512"), str(tmp_path / "vae"))
    config = tmp_path / "same" / "config.json"
    config.parent.mkdir()
    vae = workplace / "runs" / "base" / "vae"
    for file in vae.iterdir():
        (config.parent / file.name).write_bytes(file.read_bytes())
    settings = json.loads(config.read_text())
    config.write_text(json.dumps(settings | {"scaling_factor": 0.5}))
    with pytest.raises(ValueError, match="scaling_factor"):
        LatentData(str(workplace / "runs" / "latents-512"), str(config.parent))


def test_a_folder_without_shards_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=PREPARED):
        LatentData(str(tmp_path), str(tmp_path))
