"""What a denoiser learns to predict, and how its errors are weighed.

Everywhere ``z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) eps``; latents are (B, C, h, w) and
``abar_t`` is (B, 1, 1, 1), the schedule's cumulative product of alphas.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Prediction = Literal["epsilon", "v_prediction", "sample"]
"""What the output of a UNet is: ``prediction_type`` of its scheduler in diffusers."""


def denoising_target(noise: Tensor, z_0: Tensor, abar_t: Tensor, kind: Prediction) -> Tensor:
    """eps, v = sqrt(abar) eps - sqrt(1 - abar) z_0 (Salimans and Ho 2022, 2202.00512), or z_0."""
    targets = {
        "epsilon": noise,
        "v_prediction": abar_t.sqrt() * noise - (1 - abar_t).sqrt() * z_0,
        "sample": z_0,
    }
    return targets[kind]


def velocity_loss(output: Tensor, noise: Tensor, z_0: Tensor, abar_t: Tensor) -> Tensor:
    """mean (v_theta - v)^2."""
    return F.mse_loss(output, denoising_target(noise, z_0, abar_t, "v_prediction"))


def min_snr_weight(abar_t: Tensor, gamma: float, kind: Prediction) -> Tensor:
    """The weight of a row's error that makes it ``min(snr, gamma)`` on the error of z_0.

    With snr = abar / (1 - abar), an error of z_0 is snr times as large in eps and snr + 1 times in
    v, so the weight is min(snr, gamma) / snr, min(snr, gamma) / (snr + 1), or min(snr, gamma).
    Source: Hang et al. 2023, arXiv 2303.09556 (gamma = 5). Finite at abar 0 and at abar 1.
    """
    if kind == "epsilon":
        return (gamma * (1 - abar_t) / abar_t.clamp_min(1e-12)).clamp_max(1)
    if kind == "v_prediction":
        return torch.minimum(abar_t, gamma * (1 - abar_t))
    return (abar_t / (1 - abar_t).clamp_min(1e-12)).clamp_max(gamma)


def denoising_loss(
    output: Tensor,
    noise: Tensor,
    z_0: Tensor,
    abar_t: Tensor,
    *,
    kind: Prediction,
    min_snr_gamma: float | None = None,
) -> Tensor:
    """mean w_t (output - target)^2; w_t = 1 without ``min_snr_gamma``, as in Ho et al. 2020.

    Source: arXiv 2006.11239, their simple loss, for the target of ``kind``.
    """
    error = F.mse_loss(output, denoising_target(noise, z_0, abar_t, kind), reduction="none")
    if min_snr_gamma is None:
        return error.mean()
    return (min_snr_weight(abar_t, min_snr_gamma, kind) * error).mean()


def signal_to_error_db(found: Tensor, z_0: Tensor) -> Tensor:
    """10 log10 (mean z_0^2 / mean (found - z_0)^2), the mean over pictures, in dB."""
    signal = z_0.square().flatten(1).mean(1)
    error = (found - z_0).square().flatten(1).mean(1)
    return (10 * torch.log10(signal / error)).mean()
