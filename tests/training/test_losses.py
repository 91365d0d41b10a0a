"""Targets and weights of the denoising losses."""

import pytest
import torch

from camouflage.denoise.guidance import analytic_identity, predicted_latent
from training.losses import (
    denoising_loss,
    denoising_target,
    min_snr_weight,
    signal_to_error_db,
    velocity_loss,
)

KINDS = ["epsilon", "v_prediction", "sample"]
ABAR = torch.tensor([0.999, 0.7, 0.2, 0.0047]).view(-1, 1, 1, 1)
GAMMA = 5.0


@pytest.fixture(name="draw")
def _draw():
    generator = torch.Generator().manual_seed(0)
    noise, z_0, error = (torch.randn(4, 3, 5, 5, generator=generator) for _ in range(3))
    return noise, z_0, error


@pytest.mark.parametrize("kind", KINDS)
def test_the_target_is_what_the_sampler_takes_for_the_truth(draw, kind):
    noise, z_0, _ = draw
    alpha, sigma = ABAR.sqrt(), (1 - ABAR).sqrt()
    z_t = alpha * z_0 + sigma * noise
    target = denoising_target(noise, z_0, ABAR, kind)
    # float32, divided by alpha down to 0.07 and by sigma down to 0.03
    torch.testing.assert_close(
        predicted_latent(z_t, target, alpha, sigma, kind), z_0, atol=1e-4, rtol=0
    )
    torch.testing.assert_close(
        analytic_identity(z_t, z_0, alpha, sigma, kind), target, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("kind", KINDS)
def test_min_snr_weighs_the_error_of_the_latent_by_snr_up_to_gamma(draw, kind):
    """Whatever the UNet predicts, the same error of z_0 costs the same."""
    noise, z_0, error = draw
    alpha, sigma = ABAR.sqrt(), (1 - ABAR).sqrt()
    z_t = alpha * z_0 + sigma * noise
    output = analytic_identity(z_t, z_0 + error, alpha, sigma, kind)
    found = denoising_loss(output, noise, z_0, ABAR, kind=kind, min_snr_gamma=GAMMA)
    snr = ABAR / (1 - ABAR)
    torch.testing.assert_close(
        found, (snr.clamp(max=GAMMA) * error.square()).mean(), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("kind", KINDS)
def test_min_snr_is_finite_at_both_ends_of_a_schedule(kind):
    ends = torch.tensor([0.0, 1.0]).view(-1, 1, 1, 1)
    assert torch.isfinite(min_snr_weight(ends, GAMMA, kind)).all()


def test_min_snr_of_noise_never_raises_a_row():
    weight = min_snr_weight(torch.linspace(0.001, 0.999, 50), GAMMA, "epsilon")
    assert weight.max() == 1
    assert weight.min() > 0


def test_without_gamma_the_loss_is_the_plain_mean(draw):
    noise, z_0, error = draw
    for kind in KINDS:
        output = denoising_target(noise, z_0, ABAR, kind) + error
        torch.testing.assert_close(
            denoising_loss(output, noise, z_0, ABAR, kind=kind), error.square().mean()
        )
    output = denoising_target(noise, z_0, ABAR, "v_prediction") + error
    torch.testing.assert_close(velocity_loss(output, noise, z_0, ABAR), error.square().mean())


def test_signal_to_error_in_decibels():
    z_0 = torch.ones(2, 1, 2, 2)
    assert signal_to_error_db(z_0 * 1.1, z_0) == pytest.approx(20, abs=1e-4)
