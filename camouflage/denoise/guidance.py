"""Anonymization guidance: one weighted sum over the rows of one UNet call.

With a_s the anonymization scale, g the scale of the text and c that of the controls::

    eps_positive = c (g eps(text) + (1 - g) eps(no text)) + (1 - c) eps(unsteered)
    eps = a_s eps_positive + (1 - a_s) eps(identity)

The rows of the texts carry the positive ControlNets; the unsteered row has no net and the null
text; that of the identity has the identity ControlNet and the null text. The sum is linear and its
weights add up to 1, so it holds for a noise, a velocity and a sample prediction alike. A row of
weight 0 is never computed.

Source of the idea: Piano et al., CAMOUFLaGE, arXiv 2403.14790; the equation is our reconstruction.
c is ours: classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598) with the control maps
in the place of the class; at c = 1 it is absent.

A scale above 1 extrapolates: it tints what is coarse and raises the contrast, which shows as burnt
colours. Both can be taken out of the predicted latent ``z`` of the sum again, by that of the
positive rows, ``p``. With kappa, the low-frequency guidance, only that part of what the scale adds
stays coarse::

    z <- z - (1 - kappa) blur(z - p)

and with the rescale phi, ``z`` is then brought towards the mean and the spread of ``p``, channel by
channel::

    z <- (1 - phi) z + phi (mean(p) + std(p) / std(z) (z - mean(z)))

Sources: Sadat et al. 2025, arXiv 2506.19713, who guide the levels of a Laplacian pyramid each at
its own scale; Lin et al. 2023, arXiv 2305.08891, who rescale the model's output as a whole. That
both are done to the predicted latent, the blur and the statistics by channel are ours. (On a
velocity, the rescale as published destroys pictures: at low noise most of it is the noise's.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from camouflage.adapters.controls import Control, Residuals
from camouflage.denoise.loop import Sampler
from camouflage.errors import SettingError
from camouflage.windows import lies_within

ANALYTIC_SCHEDULERS = (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    EulerAncestralDiscreteScheduler,
    UniPCMultistepScheduler,
)
"""Samplers whose prediction of z_0 at a step is the model's alone: closed forms are exact there.

Others mix the outputs of several noise levels before they predict (PNDM, LMS), or call the model
between two levels (Heun, KDPM2).
"""


COARSE = 1 / 16
"""Sigma of the blur that tells what is coarse in a latent, of its shorter side: one latent pixel of
``mini``. Our choice."""


class RowWeights(NamedTuple):
    """The weight of each row in the sum; they add up to 1."""

    text: float
    no_text: float
    unsteered: float
    identity: float


def row_weights(
    anonymization_scale: float, text_guidance: float = 1.0, control_guidance: float = 1.0
) -> RowWeights:
    """``a_s c g, a_s c (1 - g), a_s (1 - c), 1 - a_s``."""
    a_s, g, c = anonymization_scale, text_guidance, control_guidance
    return RowWeights(a_s * c * g, a_s * c * (1 - g), a_s * (1 - c), 1 - a_s)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the UNet call: its weight in the sum and its text context (B, tokens, dim)."""

    weight: float
    context: Tensor


@dataclass(frozen=True, kw_only=True)
class Branch:
    """Rows that share their ControlNets; each net runs once for all rows of the branch."""

    rows: tuple[Row, ...]
    controls: tuple[Control, ...]

    @cached_property
    def context(self) -> Tensor:
        """(rows * B, tokens, dim), the same tensor at each step."""
        if len(self.rows) == 1:
            return self.rows[0].context
        return torch.cat([row.context for row in self.rows])

    def residuals(self, z_t: Tensor, t: Tensor, step: int, steps: int) -> Residuals | None:
        """The sum of what the active nets add, for ``z_t`` (B, C, h, w); None where none is active.

        ``step`` of ``steps`` counts from 0.
        """
        active = [control for control in self.controls if control.is_active(step, steps)]
        repeated = z_t.repeat(len(self.rows), 1, 1, 1)
        parts = [control.residuals(repeated, t, self.context, step) for control in active]
        return summed(parts) if parts else None


@dataclass(frozen=True, kw_only=True)
class AnalyticIdentity:
    """The identity row in closed form: the output with which the predicted latent is ``z_0``."""

    weight: float
    z_0: Tensor
    scheduler: Sampler

    def __call__(self, z_t: Tensor, t: Tensor, step: int) -> Tensor:
        """Weight times the closed form, (B, C, h, w)."""
        alpha, sigma = signal_and_noise(self.scheduler, t, step)
        kind = self.scheduler.config["prediction_type"]
        return self.weight * analytic_identity(z_t, self.z_0, alpha, sigma, kind)


@dataclass(frozen=True, kw_only=True)
class Correction:
    """Takes out of the prediction what a scale above 1 should not have added.

    ``phi`` in [0, 1] is how much of the contrast goes; ``kappa`` in [0, 1] how much of what is
    coarse stays.
    """

    phi: float = 0.0
    kappa: float = 1.0
    scheduler: Sampler

    def __call__(
        self, output: Tensor, positive: Tensor, z_t: Tensor, t: Tensor, step: int
    ) -> Tensor:
        """``output`` (B, C, h, w) brought towards ``positive``, both outputs of the model."""
        alpha, sigma = signal_and_noise(self.scheduler, t, step)
        kind = self.scheduler.config["prediction_type"]
        z, p = (predicted_latent(z_t, one, alpha, sigma, kind) for one in (output, positive))
        z = rescaled(fine_guidance(z, p, self.kappa), p, self.phi)
        return analytic_identity(z_t, z, alpha, sigma, kind)


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """The predictor of anonymization guidance, for :func:`camouflage.denoise.loop.denoise`.

    ``positive`` and ``identity`` are the branches of the two; the weights of their rows are those
    of the sum. ``correction`` acts only where both are there.
    """

    unet: UNet2DConditionModel
    positive: tuple[Branch, ...]
    identity: tuple[Branch, ...]
    analytic: AnalyticIdentity | None
    correction: Correction | None = None
    steps: int

    @property
    def nets(self) -> list[ControlNetModel]:
        """Every ControlNet that may be called."""
        branches = (*self.positive, *self.identity)
        return [control.net for branch in branches for control in branch.controls]

    def __call__(self, z_t: Tensor, t: Tensor, step: int) -> Tensor:
        """The model output (B, C, h, w), float32."""
        branches = (*self.positive, *self.identity)
        outputs = row_outputs(self.unet, branches, z_t, t, step, self.steps) if branches else []
        weights = [row.weight for branch in branches for row in branch.rows]
        parts = [weight * out for weight, out in zip(weights, outputs, strict=True)]
        if self.analytic is not None:
            parts.append(self.analytic(z_t, t, step))
        output = torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]
        count = sum(len(branch.rows) for branch in self.positive)
        if self.correction is None or count in (0, len(parts)):
            return output
        positive = torch.stack(parts[:count]).sum(0) / sum(weights[:count])
        return self.correction(output, positive, z_t, t, step)


@dataclass(frozen=True, kw_only=True)
class LimitedInterval:
    """A predictor that guides in a part of the run, ``start`` to ``end`` in [0, 1], only.

    A step that does not lie wholly in it is predicted by ``outside``.
    """

    inside: Guidance
    outside: Guidance
    start: float
    end: float

    @property
    def nets(self) -> list[ControlNetModel]:
        """Every ControlNet that may be called, each once."""
        return list(dict.fromkeys([*self.inside.nets, *self.outside.nets]))

    def __call__(self, z_t: Tensor, t: Tensor, step: int) -> Tensor:
        """The model output (B, C, h, w), float32."""
        guided = lies_within(step, self.inside.steps, self.start, self.end)
        return (self.inside if guided else self.outside)(z_t, t, step)


def row_outputs(
    unet: UNet2DConditionModel,
    branches: Sequence[Branch],
    z_t: Tensor,
    t: Tensor,
    step: int,
    steps: int,
) -> Sequence[Tensor]:
    """``unet(z_t, t, row)`` of every row, float32 (B, C, h, w) each, from one call of ``unet``."""
    rows = [row for branch in branches for row in branch.rows]
    dtype = unet.dtype  # diffusers looks through the whole network for it
    z_t = z_t.to(dtype)
    added = _stacked([branch.residuals(z_t, t, step, steps) for branch in branches], branches)
    output = unet(
        z_t.repeat(len(rows), 1, 1, 1),
        t,
        encoder_hidden_states=torch.cat([branch.context for branch in branches]).to(dtype),
        down_block_additional_residuals=added and added[0],
        mid_block_additional_residual=added and added[1],
        return_dict=False,
    )[0]
    return output.float().chunk(len(rows))


def summed(parts: Sequence[Residuals]) -> Residuals:
    down = [torch.stack(level).sum(0) for level in zip(*(part[0] for part in parts), strict=True)]
    return down, torch.stack([part[1] for part in parts]).sum(0)


def _stacked(parts: Sequence[Residuals | None], branches: Sequence[Branch]) -> Residuals | None:
    """The residuals of all branches one after the other; zeros for a branch that has none."""
    example = next((part for part in parts if part is not None), None)
    if example is None:
        return None
    owner = parts.index(example)
    per_row = len(example[1]) // len(branches[owner].rows)
    filled = [
        part or _zeros(example, per_row * len(branch.rows))
        for part, branch in zip(parts, branches, strict=True)
    ]
    down = [torch.cat(level) for level in zip(*(part[0] for part in filled), strict=True)]
    return down, torch.cat([part[1] for part in filled])


def _zeros(like: Residuals, rows: int) -> Residuals:
    down = [level.new_zeros((rows, *level.shape[1:])) for level in like[0]]
    return down, like[1].new_zeros((rows, *like[1].shape[1:]))


def analytic_identity(
    z_t: Tensor, z_0: Tensor, alpha: Tensor, sigma: Tensor, prediction_type: str
) -> Tensor:
    """The model output that says exactly "``z_0``", (B, C, h, w), float32.

    With ``z_t = alpha z_0 + sigma eps`` and ``alpha^2 + sigma^2 = 1``::

        eps = (z_t - alpha z_0) / sigma
        v = alpha eps - sigma z_0 = (alpha z_t - z_0) / sigma

    Raises:
        SettingError: another prediction type than epsilon, v_prediction or sample.
    """
    z_t, z_0 = z_t.float(), z_0.float()
    if prediction_type == "epsilon":
        return (z_t - alpha * z_0) / sigma
    if prediction_type == "v_prediction":
        return (alpha * z_t - z_0) / sigma
    if prediction_type == "sample":
        return z_0
    raise SettingError(
        'identity="analytic" is known for the prediction types epsilon, v_prediction and sample, '
        f'not for {prediction_type}; use identity="learned"'
    )


def predicted_latent(
    z_t: Tensor, output: Tensor, alpha: Tensor, sigma: Tensor, prediction_type: str
) -> Tensor:
    """The ``z_0`` that a model output says, (B, C, h, w), float32: `analytic_identity` backwards.

    Raises:
        SettingError: another prediction type than epsilon, v_prediction or sample.
    """
    z_t, output = z_t.float(), output.float()
    if prediction_type == "epsilon":
        return (z_t - sigma * output) / alpha
    if prediction_type == "v_prediction":
        return alpha * z_t - sigma * output
    if prediction_type == "sample":
        return output
    raise SettingError(
        "guidance_rescale and low_frequency_guidance are known for the prediction types epsilon, "
        f"v_prediction and sample, not for {prediction_type}; leave them 0 and 1"
    )


def fine_guidance(z: Tensor, like: Tensor, kappa: float) -> Tensor:
    """``z`` (B, C, h, w) less what is coarse in its difference to ``like``, but for ``kappa``."""
    if kappa == 1:
        return z
    return z - (1 - kappa) * _blurred(z - like, COARSE * min(z.shape[-2:]))


def _blurred(x: Tensor, sigma_px: float) -> Tensor:
    """(B, C, h, w) by a Gaussian; the border goes on."""
    reach = max(round(3 * sigma_px), 1)
    offsets = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    kernel = torch.softmax(-0.5 * (offsets / sigma_px) ** 2, 0)
    channels = x.shape[1]
    for shape, border in (
        ((1, 1, 1, -1), (reach, reach, 0, 0)),
        ((1, 1, -1, 1), (0, 0, reach, reach)),
    ):
        padded = F.pad(x, border, mode="replicate")
        x = F.conv2d(padded, kernel.view(shape).repeat(channels, 1, 1, 1), groups=channels)
    return x


def rescaled(z: Tensor, like: Tensor, phi: float) -> Tensor:
    """``z`` (B, C, h, w), a part ``phi`` of the way to the mean and spread of ``like``.

    Both are taken over (h, w), of each picture and channel by itself.
    """
    over = (2, 3)
    mean, wanted_mean = z.mean(over, keepdim=True), like.mean(over, keepdim=True)
    spread, wanted = z.std(over, keepdim=True), like.std(over, keepdim=True)
    matched = wanted_mean + (z - mean) * (wanted / spread.clamp_min(1e-6))
    return torch.lerp(z, matched, phi)


def require_analytic(scheduler: Sampler, setting: str) -> None:
    """Raise ``SettingError``, which names ``setting``, where the closed form is not exact."""
    if not isinstance(scheduler, ANALYTIC_SCHEDULERS) or scheduler.config.get("use_flow_sigmas"):
        names = ", ".join(known.__name__ for known in ANALYTIC_SCHEDULERS)
        raise SettingError(
            f"{setting} works with {names} (without flow sigmas), not with "
            f"{type(scheduler).__name__}; change the scheduler or leave {setting} out"
        )


def signal_and_noise(scheduler: Any, t: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """(alpha, sigma) of the scaled model input at ``step`` of the run, each without dimensions.

    Schedulers with a table of sigmas (noise over signal, and with Karras spacing between the
    trained timesteps) are asked for its entry; the others for ``alphas_cumprod[t]``.
    """
    if hasattr(scheduler, "sigmas"):
        ratio = scheduler.sigmas[(scheduler.begin_index or 0) + step].float()
        alpha = (1 + ratio**2).rsqrt()
        return alpha.to(t.device), (ratio * alpha).to(t.device)
    abar = scheduler.alphas_cumprod[t.long().to(scheduler.alphas_cumprod.device)]
    return abar.sqrt().to(t.device), (1 - abar).sqrt().to(t.device)
