"""Batches of crops."""

import numpy as np
import pytest
import torch
from webdataset.compat import WebDataset

from camouflage.annotators.landmarks import MESH_INDICES
from training.augment import no_jitter
from training.data import CropData, to_tensor
from training.prepare import MARGIN, SIDE, read_shards
from training.split import held_out

STORED = SIDE + 2 * MARGIN


def test_pixels_become_numbers_around_zero():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    tensor = to_tensor(levels)
    assert tensor.shape == (3, 16, 16)
    assert (tensor.min(), tensor.max()) == (-1, 1)


def test_a_batch_has_what_it_says(workplace):
    crops = workplace / "runs" / "crops"
    data = CropData(
        crops,
        batch_size=4,
        epoch_samples=8,
        workers=0,
        landmarks=crops / "landmarks.npz",
        controls=["landmarks", "colour"],
    )
    batches = list(data.train_dataloader())
    assert len(batches) == 2
    assert set(batches[0]) == {"pixels", "points_xy", "landmarks", "colour"}
    assert batches[0]["pixels"].shape == (4, 3, SIDE, SIDE)
    assert batches[0]["points_xy"].shape == (4, len(MESH_INDICES), 2)
    assert batches[0]["colour"].dtype == torch.uint8
    heldout = torch.cat([b["pixels"] for b in data.val_dataloader()])
    assert len(heldout) == 4
    again = torch.cat([b["pixels"] for b in data.val_dataloader()])
    assert torch.equal(heldout, again), "the held-out crops are not jittered"


def test_crops_without_labels_are_left_out(workplace, tmp_path):
    crops = workplace / "runs" / "crops"
    with np.load(crops / "landmarks.npz") as labels:
        np.savez(tmp_path / "some.npz", **{k: labels[k] for k in ("face-8", "face-9")})
    data = CropData(crops, workers=0, landmarks=tmp_path / "some.npz")
    assert sum(len(b["pixels"]) for b in data.val_dataloader()) == 2


def test_each_of_two_processes_has_all_held_out_crops_and_its_own_training(workplace, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    data = CropData(workplace / "runs" / "crops", batch_size=2, epoch_samples=4, workers=0)
    assert sum(len(b["pixels"]) for b in data.val_dataloader()) == 4
    assert sum(len(b["pixels"]) for b in data.train_dataloader()) == 4


def test_maps_need_landmarks(workplace):
    with pytest.raises(ValueError, match="landmarks"):
        CropData(workplace / "runs" / "crops", controls=["colour"])


def test_shards_give_back_what_was_written(workplace):
    read = dict(read_shards(workplace / "runs" / "crops", "heldout"))
    assert sorted(read) == ["face-10", "face-11", "face-8", "face-9"]
    assert all(pixels.shape == (STORED, STORED, 3) for pixels in read.values())


def test_one_face_is_on_one_side_of_the_split():
    groups = np.repeat(np.arange(100), [1, 2, 3, 30] * 25)
    held = held_out(groups, seed=0)
    for group in range(100):
        assert len(set(held[groups == group])) == 1
    assert 0.05 <= held.mean() < 0.06
    assert np.array_equal(held, held_out(groups, seed=0))
    assert not np.array_equal(held, held_out(groups, seed=1))


def test_lifted_crops_are_moved_up_with_their_points_and_regions(workplace):
    crops = workplace / "runs" / "crops"

    def batch(**kwargs):
        data = CropData(
            crops,
            batch_size=4,
            landmarks=crops / "landmarks.npz",
            controls=["colour", "landmarks"],
            **kwargs,
        )
        return next(iter(data.val_dataloader()))

    plain, lifted = batch(), batch(lift_px=(4.0, 12.0))  # held-out crops are lifted by the middle
    assert torch.equal(lifted["pixels"][:, :, :-8], plain["pixels"][:, :, 8:])
    moved = plain["points_xy"] - torch.tensor([0.0, 8.0])
    torch.testing.assert_close(lifted["points_xy"], moved, atol=1e-4, rtol=0)
    assert torch.equal(lifted["landmarks"][:, :, :100], plain["landmarks"][:, :, 8:108])
    # Above the face nothing is blurred: there the colours are the picture's, moved up too.
    assert torch.equal(lifted["colour"][:, :, :4], plain["colour"][:, :, 8:12])


def test_each_training_crop_is_lifted_by_its_own(workplace):
    crops = workplace / "runs" / "crops"
    heights = []
    for lift_px in ((0.0, 0.0), (30.0, 40.0)):
        data = CropData(
            crops,
            batch_size=4,
            epoch_samples=16,
            workers=0,
            landmarks=crops / "landmarks.npz",
            lift_px=lift_px,
        )
        batches = list(data.train_dataloader())
        heights.append(torch.cat([b["points_xy"] for b in batches])[..., 1].mean())
    assert 20 < heights[0] - heights[1] < 50


def varied(workplace, **kwargs) -> CropData:
    crops = workplace / "runs" / "crops"
    return CropData(
        crops,
        batch_size=4,
        epoch_samples=16,
        workers=0,
        landmarks=crops / "landmarks.npz",
        controls=["colour"],
        **kwargs,
    )


def stored(workplace) -> list[dict]:
    """The held-out samples as they lie in the shards."""
    shards = sorted(str(p) for p in (workplace / "runs" / "crops").glob("heldout-*.tar"))
    return list(WebDataset(shards, shardshuffle=False, empty_check=False, nodesplitter=None))


@pytest.mark.parametrize("kind", [{"bend_px": 2.0}, {"relight": 0.3}])
def test_bent_and_relit_crops_are_still_under_their_points_and_maps(workplace, kind):
    data, plain = varied(workplace, **kind), varied(workplace)
    samples = [
        one._sample(sample, no_jitter(), False, np.random.default_rng(0), 0.0)
        for one in (data, plain)
        for sample in stored(workplace)
    ]
    changed, same = samples[: len(samples) // 2], samples[len(samples) // 2 :]
    for one, other in zip(changed, same, strict=True):
        assert (one["pixels"] - other["pixels"]).abs().mean() > 0.01
        moved = (one["points_xy"] - other["points_xy"]).norm(dim=-1)
        assert (moved.mean() > 0.5) == ("bend_px" in kind)
        # Above the face the colours are those of the pixels that the model sees.
        pixels = (one["pixels"] + 1) * 127.5
        assert (pixels[:, :4] - one["colour"][:, :4]).abs().mean() < 3


def test_held_out_crops_are_varied_in_no_way(workplace):
    ours, plain = (
        torch.cat([batch["pixels"] for batch in data.val_dataloader()])
        for data in (varied(workplace, bend_px=2.0, relight=0.3), varied(workplace))
    )
    assert torch.equal(ours, plain)


def test_some_crops_of_the_training_can_be_seen_as_they_are(workplace):
    data = varied(workplace)
    every, some = (
        torch.cat([batch["pixels"] for batch in data.still_dataloader("train", every=n)])
        for n in (1, 3)
    )
    assert torch.equal(some, every[::3])
    assert len(every) > 3
