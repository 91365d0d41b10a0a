"""Shards of CAMOUFLaGE-Light's samples to batches, in one process and in several."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from camouflage.annotators.attributes.network import CLIP_MEAN, CLIP_STD
from training.latents import SplitByNode
from training.light_data import LightData
from training.shards import read_blob, read_samples


@pytest.fixture(name="folder")
def _folder(workplace):
    return workplace / "runs" / "light-512"


@pytest.fixture(name="data_of")
def _data_of(folder):
    def make(**settings) -> LightData:
        defaults = {"batch_size": 2, "epoch_samples": 8, "workers": 0, "shuffle": 4}
        return LightData(str(folder), str(folder.parent / "base" / "vae"), **(defaults | settings))

    return make


def drawn(data: LightData, rank: int = 0, world: int = 1, step: int = 0) -> torch.Tensor:
    """The latents of one epoch, in order."""
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world, global_step=step)
    return torch.cat([batch["z_0"] for batch in data.train_dataloader()])


def by_hand(sample: dict) -> dict:
    """A row, written out: cells of 8 px, later and smaller boxes over earlier and larger ones."""
    found = {name: value.numpy() for name, value in read_blob(sample).items()}
    maps = np.zeros((41, 8, 8), np.float32)
    boxes = found["boxes_xyxy"]
    for i in sorted(range(len(boxes)), key=lambda i: -np.prod(boxes[i, 2:] - boxes[i, :2])):
        x0, y0, x1, y1 = (int(value // 8) for value in boxes[i])
        maps[:40, y0:y1, x0:x1] = found["attributes"][i][:, None, None]
    for x, y in found["points_xy"].reshape(-1, 2):
        at = [int(np.clip(np.floor(v * 7 / 64), 0, 7)) for v in (y, x)]
        maps[40, at[0], at[1]] = 1
    pixels = (found["encoder_picture"] / 255 - np.array(CLIP_MEAN)) / np.array(CLIP_STD)
    return {
        "z_0": torch.from_numpy(found["z_0"].astype(np.float32)),
        "encoder_pixels": torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32)),
        "maps": torch.from_numpy(maps),
        "caption": sample["txt"].decode(),
    }


def test_batches_equal_what_is_made_by_hand(data_of, folder):
    expected = [by_hand(sample) for sample in read_samples(folder, "train")]
    with_face = [row for row in expected if row["maps"].any()]
    assert 0 < len(with_face) < len(expected), "some have a face, some have none"
    known = {float(row["z_0"].sum()): row for row in expected}
    seen = set()
    for batch in data_of(epoch_samples=64).train_dataloader():
        assert set(batch) == {"z_0", "encoder_pixels", "maps", "caption"}
        assert batch["z_0"].shape == (2, 4, 8, 8)
        assert batch["encoder_pixels"].shape == (2, 3, 32, 32)
        assert batch["maps"].shape == (2, 41, 8, 8)
        for row in range(2):
            place = float(batch["z_0"][row].sum())
            seen.add(place)
            for name, value in known[place].items():
                if name == "caption":
                    assert batch[name][row] == value
                else:
                    assert batch[name].dtype == torch.float32
                    torch.testing.assert_close(batch[name][row], value, atol=1e-5, rtol=1e-5)
    assert seen == set(known), "all come"


def test_captions_are_texts_and_some_are_empty(data_of):
    batches = list(data_of(epoch_samples=64).train_dataloader())
    texts = [text for batch in batches for text in batch["caption"]]
    assert all(isinstance(text, str) for text in texts)
    assert set(texts) <= {"", "some colours", "a woman, smiling"}
    assert len(set(texts)) > 1


def test_the_order_follows_from_seed_step_and_process(data_of):
    assert torch.equal(drawn(data_of()), drawn(data_of()))
    assert not torch.equal(drawn(data_of()), drawn(data_of(seed=1)))
    assert not torch.equal(drawn(data_of()), drawn(data_of(), step=500))
    first, second = (drawn(data_of(epoch_samples=32), rank, 2) for rank in (0, 1))
    assert len(first) == len(second) == 32
    assert not torch.equal(first, second)


def test_processes_take_turns_with_the_shards(data_of):
    data = data_of()
    data.trainer = SimpleNamespace(global_rank=1, world_size=2, global_step=0)
    (split,) = [s for s in data.train_dataloader().dataset.pipeline if isinstance(s, SplitByNode)]
    assert list(split(iter(range(6)))) == [1, 3, 5]


def test_workers_share_the_epoch_and_see_different_samples(data_of):
    rows = drawn(data_of(workers=2, epoch_samples=32))
    assert len(rows) == 32
    batches = rows.split(2)  # the workers' batches alternate
    assert not torch.equal(torch.cat(batches[::2]), torch.cat(batches[1::2]))


def test_a_worker_that_is_not_forked_can_be_given_the_stream(data_of):
    loader = data_of().train_dataloader()
    assert pickle.loads(pickle.dumps((loader.dataset, loader.collate_fn)))


def test_the_held_out_samples_are_all_there_and_stay_the_same(data_of, folder):
    first, second = (list(data_of().val_dataloader()) for _ in range(2))
    rows = [by_hand(sample) for sample in read_samples(folder, "heldout")]
    assert sum(len(batch["maps"]) for batch in first) == len(rows) > 1
    for name in ("z_0", "encoder_pixels", "maps"):
        found, again = (torch.cat([batch[name] for batch in turn]) for turn in (first, second))
        assert torch.equal(found, again)
        expected = torch.stack([row[name] for row in rows])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert [t for batch in first for t in batch["caption"]] == [row["caption"] for row in rows]


def test_shards_of_another_autoencoder_and_unfinished_ones_are_refused(folder, tmp_path, new_base):
    new_base(tmp_path / "base", seed=4)
    with pytest.raises(ValueError, match="another autoencoder: their vae_sha256"):
        LightData(str(folder), str(tmp_path / "base" / "vae"))
    text = (folder / "prepared.json").read_text()
    (tmp_path / "prepared.json").write_text(text.replace('"complete": true', '"complete": false'))
    with pytest.raises(ValueError, match=r"not complete: run training\.prepare light"):
        LightData(str(tmp_path), str(folder.parent / "base" / "vae"))


def test_the_checkpoint_knows_the_data(data_of):
    prepared = data_of().state_dict()["prepared"]
    assert prepared["pictures"] == {"heldout": 3, "train": 5}
    assert len(prepared["captions"]) == 64
