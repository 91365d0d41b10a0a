"""The loop and its schedule."""

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
)

from camouflage.denoise.loop import denoise, noised, schedule
from camouflage.errors import NonFiniteResult, SettingError


def ddim():
    return DDIMScheduler(clip_sample=False)


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize(
    ("steps", "strength", "kept"),
    [(10, 1.0, 10), (10, 0.7, 7), (100, 0.29, 29), (10, 0.1, 1), (30, 0.75, 22)],
)
def test_strength_keeps_the_last_steps(steps, strength, kept):
    scheduler = ddim()
    timesteps = schedule(scheduler, steps, strength, "cpu")
    assert torch.equal(timesteps, scheduler.timesteps[-kept:])


def test_strength_counts_whole_steps_of_a_second_order_sampler():
    scheduler = HeunDiscreteScheduler()
    timesteps = schedule(scheduler, 10, 0.5, "cpu")
    assert torch.equal(timesteps, scheduler.timesteps[10:])
    assert scheduler.begin_index == 10


@pytest.mark.parametrize("strength", [0.05, 0.0, 1.1])
def test_strength_without_a_step_is_refused(strength):
    with pytest.raises(SettingError, match="strength"):
        schedule(ddim(), 10, strength, "cpu")


@pytest.mark.parametrize("steps", [0, -1, 2.5, float("nan"), float("inf")])
def test_steps_that_are_no_whole_number_are_refused(steps):
    with pytest.raises(SettingError, match=r"num_inference_steps: .* whole number >= 1"):
        schedule(ddim(), steps, 0.5, "cpu")


@pytest.mark.parametrize("setting", ["clip_sample", "thresholding"])
def test_schedulers_for_pixels_are_refused(setting):
    scheduler = DDIMScheduler(**{"clip_sample": False, setting: True})
    with pytest.raises(SettingError, match=setting):
        schedule(scheduler, 10, 0.5, "cpu")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_latents_are_refused(bad):
    scheduler = ddim()
    timesteps = schedule(scheduler, 4, 1.0, "cpu")

    def predictor(z_t, t, step):
        return torch.full_like(z_t, bad if step == 1 else 0.0)

    with pytest.raises(NonFiniteResult):
        denoise(torch.zeros(1, 4, 2, 2), timesteps, scheduler, predictor, generators(0))


def test_predictor_sees_each_timestep_as_a_tensor():
    scheduler = ddim()
    timesteps = schedule(scheduler, 5, 0.6, "cpu")
    seen = []

    def predictor(z_t, t, step):
        seen.append((step, t))
        return torch.zeros_like(z_t)

    denoise(torch.zeros(1, 4, 2, 2), timesteps, scheduler, predictor, generators(0))
    assert seen == list(enumerate(timesteps))
    assert all(t.ndim == 0 for _, t in seen)


@pytest.mark.parametrize(
    "scheduler",
    [
        DDPMScheduler(clip_sample=False),
        DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++"),
    ],
    ids=["ddpm", "sde"],
)
def test_noise_of_each_step_is_the_pictures_own(scheduler):
    """A picture alone equals the picture in a batch, bit for bit where the predictor is."""

    def run(seeds):
        timesteps = schedule(scheduler, 6, 1.0, "cpu")
        zeros = torch.zeros(len(seeds), 4, 3, 3)
        start = noised(scheduler, zeros, zeros + 1, timesteps[0])
        return denoise(start, timesteps, scheduler, lambda z, t, step: 0.5 * z, generators(*seeds))

    batch = run([3, 5])
    assert torch.equal(batch[1:], run([5]))
    assert not torch.equal(batch[0], batch[1])
