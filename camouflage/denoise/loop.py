"""The one denoising loop, shared by every pipeline.

A pipeline prepares what is constant over the steps and hands a *predictor* to :func:`denoise`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from camouflage.denoise.latents import require_finite
from camouflage.errors import SettingError
from camouflage.windows import steps_run

Predictor = Callable[[Tensor, Tensor, int], Tensor]
"""``(z_t, t, step) -> model output``.

``z_t`` (B, C, h, w) is already scaled by the scheduler, so that ``z_t = alpha z_0 + sigma eps``
with ``alpha^2 + sigma^2 = 1``; ``t`` is a tensor without dimensions; ``step`` counts from 0. The
output, (B, C, h, w), is of the scheduler's ``prediction_type``.
"""

StepEnd = Callable[[int, Tensor, Tensor], Tensor]
"""``(step, t, latents) -> latents``, after each step."""


class Sampler(Protocol):
    """What is used of a scheduler of diffusers."""

    order: int
    timesteps: Tensor
    config: Any
    set_timesteps: Callable[..., None]
    add_noise: Callable[..., Tensor]
    scale_model_input: Callable[..., Tensor]
    step: Callable[..., Any]


def schedule(scheduler: Sampler, steps: int, strength: float, device: Any) -> Tensor:
    """The timesteps of a run that starts from a noised picture: the last ``steps * strength``.

    ``steps`` (>= 1) counts the whole way from pure noise. ``strength`` 1 takes all of it, and then
    too starts from the noised picture, at the first timestep. The scheduler is made ready.

    Raises:
        SettingError: steps is no whole number, strength is outside (0, 1] or so small that no step
            is left, or the scheduler clips its predictions, which is for pixels and would damage
            latents.
    """
    _require_latent_scheduler(scheduler)
    if not (math.isfinite(steps) and steps == int(steps) >= 1):
        raise SettingError(f"num_inference_steps: expected a whole number >= 1, got {steps}")
    steps = int(steps)
    in_range = 0 < strength <= 1
    kept = steps_run(steps, strength) if in_range else 0
    if kept < 1:
        raise SettingError(
            f"strength: expected a number in (0, 1] that leaves at least one of {steps} steps, "
            f"got {strength}; raise strength or num_inference_steps"
        )
    scheduler.set_timesteps(steps, device=device)
    begin = (steps - kept) * scheduler.order
    if set_begin_index := getattr(scheduler, "set_begin_index", None):
        set_begin_index(begin)
    return scheduler.timesteps[begin:]


def _require_latent_scheduler(scheduler: Sampler) -> None:
    for setting in ("clip_sample", "thresholding"):
        if scheduler.config.get(setting, False):
            raise SettingError(
                f"scheduler: {setting} is for pixels, not for latents; make the scheduler "
                f"with {setting}=False"
            )


def noised(scheduler: Sampler, latents: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
    """``latents`` (B, C, h, w) with ``noise`` added to the level of ``timestep``."""
    return scheduler.add_noise(latents, noise, timestep.expand(len(latents)))


def denoise(
    latents: Tensor,
    timesteps: Iterable[Tensor],
    scheduler: Sampler,
    predictor: Predictor,
    generators: list[torch.Generator],
    on_step_end: StepEnd | None = None,
) -> Tensor:
    """Follow ``predictor`` down ``timesteps`` and return the latents, (B, C, h, w), float32.

    Args:
        latents: the noised start, in the scheduler's own space.
        timesteps: of :func:`schedule`; may be wrapped in a progress bar.
        scheduler: made ready by :func:`schedule`.
        predictor: see :data:`Predictor`.
        generators: one a picture, for samplers that add noise at each step.
        on_step_end: may replace the latents; None leaves them.

    Raises:
        NonFiniteResult: the result holds NaN or infinity. It is looked for once, at the end:
            neither goes away on its own, and a look at each step would stall a GPU.
    """
    noise = {"generator": generators} if _takes_generator(scheduler) else {}
    for step, t in enumerate(timesteps):
        output = predictor(scheduler.scale_model_input(latents, t), t, step)
        latents = scheduler.step(output, t, latents, return_dict=False, **noise)[0]
        if on_step_end is not None:
            latents = on_step_end(step, t, latents)
    require_finite(latents, "the denoised latent", "use float32 or bfloat16, or a smaller scale")
    return latents


def _takes_generator(scheduler: Sampler) -> bool:
    return "generator" in inspect.signature(scheduler.step).parameters
