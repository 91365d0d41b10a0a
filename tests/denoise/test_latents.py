"""Pictures, pixels, latents, noise."""

import numpy as np
import pytest
import torch

from camouflage.denoise.latents import (
    decode,
    downscale_factor,
    encode,
    generators_for,
    noise_like,
    pictures_from_pixels,
    pixels_from_pictures,
)
from camouflage.errors import NonFiniteResult, SettingError
from camouflage.mini.autoencoder import SmallAutoencoder
from camouflage.pipelines.tiny import tiny_autoencoder


def test_every_grey_level_survives_the_way_in_and_out():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = np.stack([levels, levels[::-1], levels.T], axis=-1)
    pixels = pixels_from_pictures([picture, picture])
    assert pixels.shape == (2, 3, 16, 16)
    assert (pixels.min(), pixels.max()) == (-1, 1)
    assert np.array_equal(pictures_from_pixels(pixels), np.stack([picture, picture]))


def test_control_maps_are_between_0_and_1():
    maps = pixels_from_pictures([np.array([[[0, 255, 51]]], dtype=np.uint8)], low=0.0)
    torch.testing.assert_close(maps.flatten(), torch.tensor([0.0, 1.0, 0.2]))


@pytest.mark.parametrize("vae", [tiny_autoencoder(), SmallAutoencoder()], ids=["kl", "small"])
@torch.no_grad()
def test_latents_are_shifted_and_scaled_and_come_back(vae):
    pixels = torch.rand(1, 3, 32, 16) * 2 - 1
    vae.register_to_config(scaling_factor=0.5, shift_factor=0.25)
    z_0 = encode(vae, pixels)
    mode = vae.encode(pixels).latent_dist.mode()
    side = 32 // downscale_factor(vae)
    assert z_0.shape[-2:] == (side, side // 2)
    torch.testing.assert_close(z_0, (mode - 0.25) * 0.5)
    torch.testing.assert_close(decode(vae, z_0), vae.decode(mode).sample)


def test_an_autoencoder_that_overflows_is_refused():
    with pytest.raises(NonFiniteResult, match="autoencoder"):
        decode(SmallAutoencoder(), torch.full((1, 16, 2, 2), float("inf")))


def test_noise_of_a_picture_does_not_depend_on_the_batch():
    def generators(*seeds):
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    batch = noise_like(torch.zeros(3, 4, 8, 8), generators(1, 2, 3))
    assert torch.equal(batch[1:2], noise_like(torch.zeros(1, 4, 8, 8), generators(2)))
    assert not torch.equal(batch[0], batch[1])


def test_one_generator_serves_the_pictures_in_turn():
    one = torch.Generator().manual_seed(1)
    noise = noise_like(torch.zeros(2, 4, 2, 2), generators_for(one, 2))
    again = torch.Generator().manual_seed(1)
    turns = [noise_like(torch.zeros(1, 4, 2, 2), [again]) for _ in range(2)]
    assert torch.equal(noise, torch.cat(turns))


def test_no_generator_is_another_seed_each_time():
    first, second = (noise_like(torch.zeros(1, 4, 2, 2), generators_for(None, 1)) for _ in "ab")
    assert not torch.equal(first, second)


def test_generators_must_be_as_many_as_pictures():
    with pytest.raises(SettingError, match="3 pictures, got 2"):
        generators_for([torch.Generator(), torch.Generator()], 3)


def test_generators_must_be_on_the_cpu():
    class Elsewhere:
        device = torch.device("cuda")

    with pytest.raises(SettingError, match="cpu"):
        generators_for([Elsewhere()], 1)
