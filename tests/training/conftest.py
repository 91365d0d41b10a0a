"""A folder as the configurations expect it, with crops of noise."""

import numpy as np
import pytest
import torch

from camouflage.annotators.landmarks import LandmarkNet
from camouflage.mini.autoencoder import SmallAutoencoder
from training.prepare import MARGIN, SIDE, write_shards

STORED = SIDE + 2 * MARGIN


def crop(seed: int) -> np.ndarray:
    """(160, 160, 3) uint8: a gradient with a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((STORED, STORED)) / STORED
    picture = rng.uniform(0, 255, 3) * x[..., None] + rng.uniform(0, 255, 3) * y[..., None]
    return np.clip(picture / 2 + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session", name="workplace")
def _workplace(tmp_path_factory):
    """runs/crops with shards and landmarks, runs/mini with an autoencoder and a landmark net."""
    folder = tmp_path_factory.mktemp("workplace")
    crops = folder / "runs" / "crops"
    crops.mkdir(parents=True)
    samples = [(f"face-{i}", crop(i)) for i in range(12)]
    write_shards(crops / "train", samples[:8])
    write_shards(crops / "heldout", samples[8:])
    rng = np.random.default_rng(0)
    labels = {key: rng.uniform(40, 120, (478, 3)).astype(np.float32) for key, _ in samples}
    np.savez_compressed(crops / "landmarks.npz", **labels)
    torch.manual_seed(0)
    SmallAutoencoder().half().save_pretrained(folder / "runs" / "mini" / "vae")
    LandmarkNet().half().save_pretrained(folder / "runs" / "mini" / "landmarker")
    return folder
