"""The small autoencoder: shapes, the interface of diffusers, normalisation, saving."""

import pytest
import torch

from camouflage.mini.autoencoder import PointDistribution, ResidualBlock, SmallAutoencoder


@pytest.fixture(name="model")
def _model():
    torch.manual_seed(0)
    return SmallAutoencoder(latent_channels=4, channels=(8, 16), layers=1).eval()


@pytest.mark.parametrize("size_hw", [(128, 128), (64, 40), (8, 8)])
@torch.no_grad()
def test_latents_are_an_eighth_and_come_back(model, size_hw):
    pixels = torch.rand(2, 3, *size_hw) * 2 - 1
    latents = model.encode(pixels).latent_dist.mode()
    assert latents.shape == (2, 4, size_hw[0] // 8, size_hw[1] // 8)
    assert model.decode(latents).sample.shape == pixels.shape
    assert torch.equal(model(pixels), model.decode(latents).sample)


@torch.no_grad()
def test_tuple_and_output_hold_the_same(model):
    latents = torch.randn(1, 4, 4, 4)
    (plain,) = model.decode(latents, return_dict=False)
    assert torch.equal(plain, model.decode(latents).sample)


@torch.no_grad()
def test_normalised_latents_decode_to_the_same_picture(model):
    pixels = torch.rand(4, 3, 32, 32) * 2 - 1
    raw = model.encode(pixels).latent_dist.mode()
    before = model(pixels)
    model.latent_mean.copy_(raw.mean((0, 2, 3)).view(-1, 1, 1))
    model.latent_std.copy_(raw.std((0, 2, 3)).view(-1, 1, 1))
    normal = model.encode(pixels).latent_dist.mode()
    assert torch.allclose(normal.mean((0, 2, 3)), torch.zeros(4), atol=1e-5)
    assert torch.allclose(normal.std((0, 2, 3)), torch.ones(4), atol=1e-5)
    torch.testing.assert_close(model(pixels), before, atol=1e-5, rtol=0)  # float32, two products


@torch.no_grad()
def test_normalisation_is_saved_with_the_weights(model, tmp_path):
    model.latent_mean.normal_()
    model.latent_std.uniform_(1, 2)
    model.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    again = SmallAutoencoder.from_pretrained(tmp_path)
    pixels = torch.rand(1, 3, 16, 16)
    assert torch.equal(again(pixels), model(pixels))
    assert dict(again.config)["channels"] == [8, 16]


def test_a_distribution_of_one_value():
    value = torch.randn(1, 4, 2, 2)
    point = PointDistribution(value)
    assert point.mode() is value
    assert point.sample(torch.Generator().manual_seed(1)) is value


@torch.no_grad()
def test_a_picture_does_not_see_its_neighbours_in_the_batch(model):
    pixels = torch.rand(3, 3, 32, 32) * 2 - 1
    alone = torch.cat([model(one[None]) for one in pixels])
    torch.testing.assert_close(model(pixels), alone, atol=1e-5, rtol=1e-5)  # other convolutions


@torch.no_grad()
def test_a_residual_block_of_zeros_is_the_identity():
    block = ResidualBlock(8)
    torch.nn.init.zeros_(block.second.weight)
    torch.nn.init.zeros_(block.second.bias)
    x = torch.randn(1, 8, 5, 5)
    assert torch.equal(block(x), x)


def test_every_weight_learns(model):
    model.train()
    model(torch.rand(1, 3, 32, 32)).square().mean().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_sides_that_do_not_divide_are_an_error(model):
    with pytest.raises(RuntimeError):
        model.encode(torch.zeros(1, 3, 30, 30))
