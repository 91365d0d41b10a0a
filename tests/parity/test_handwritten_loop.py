"""BasePipeline against a plain loop over stock nets: every row and net a call of its own."""

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
)

WEIGHTS = {"landmarks": 0.8, "lineart": 1.2, "colour": -0.3}
SCHEDULERS = {
    "ddim-v": lambda: DDIMScheduler(clip_sample=False, prediction_type="v_prediction"),
    "ddpm": lambda: DDPMScheduler(clip_sample=False),
    "dpm++": lambda: DPMSolverMultistepScheduler(),
    "sde-dpm++-karras": lambda: DPMSolverMultistepScheduler(
        algorithm_type="sde-dpmsolver++", use_karras_sigmas=True
    ),
    "euler": lambda: EulerDiscreteScheduler(),
    "pndm": lambda: PNDMScheduler(skip_prk_steps=True),
}


def plain_text(pipe, text, batch):
    ids = pipe.tokenizer([text] * batch, padding="max_length", truncation=True, return_tensors="pt")
    return pipe.text_encoder(ids.input_ids).last_hidden_state


def plain_pixels(pictures):
    return torch.tensor(np.stack(pictures)).permute(0, 3, 1, 2) / 255


@torch.no_grad()
def plain_run(
    pipe, pictures, maps, generators, *, scale, text, control, prompt, negative, steps, kept
):
    """The published equation, written out."""
    vae, unet = pipe.vae, pipe.unet
    scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
    positive, negative, null = (plain_text(pipe, words, 2) for words in (prompt, negative, ""))
    z_0 = vae.encode(plain_pixels(pictures) * 2 - 1).latent_dist.mode() * vae.config.scaling_factor
    conditions = [plain_pixels(maps[name]) for name in WEIGHTS]
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps[steps - kept :]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(steps - kept)
    noise = torch.cat([torch.randn(1, *z_0.shape[1:], generator=one) for one in generators])
    z = scheduler.add_noise(z_0, noise, timesteps[:1].repeat(2))

    def with_controls(z_t, t, context):
        down, middle = pipe.controlnet(
            z_t, t, context, conditions, list(WEIGHTS.values()), return_dict=False
        )
        return unet(
            z_t,
            t,
            context,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample

    def with_identity(z_t, t):
        down, middle = pipe.identity_controlnet(z_t, t, null, z_0, return_dict=False)
        return unet(
            z_t,
            t,
            null,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample

    stochastic = isinstance(scheduler, (DDPMScheduler, DPMSolverMultistepScheduler))
    extra = {"generator": generators} if stochastic else {}
    for t in timesteps:
        z_t = scheduler.scale_model_input(z, t)
        with_text, without = with_controls(z_t, t, positive), with_controls(z_t, t, negative)
        eps_steered = without + text * (with_text - without)
        unsteered = unet(z_t, t, null).sample
        eps_positive = unsteered + control * (eps_steered - unsteered)
        eps_identity = with_identity(z_t, t)
        eps = eps_identity + scale * (eps_positive - eps_identity)
        z = scheduler.step(eps, t, z, **extra).prev_sample
    return z


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize(
    ("scale", "text", "control", "negative"),
    [
        (1.25, 1.0, 1.0, None),
        (0.5, 1.0, 1.0, None),
        (1.5, 3.0, 1.0, "b"),
        (1.0, 1.0, 2.0, None),
        (1.25, 3.0, 1.5, "b"),
    ],
)
def test_equals_separate_calls_of_stock_nets(
    pipe, pictures, maps, generators, name, scale, text, control, negative
):
    pipe.scheduler = SCHEDULERS[name]()
    fresh = [torch.Generator().manual_seed(one.initial_seed()) for one in generators]
    settings = {"scale": scale, "text": text, "control": control, "prompt": "a man"}
    settings |= {"steps": 5, "kept": 4}
    plain = plain_run(pipe, pictures, maps, fresh, negative=negative or "", **settings)
    ours = pipe(
        pictures,
        control_images=maps,
        control_weights=WEIGHTS,
        anonymization_scale=scale,
        text_guidance=text,
        control_guidance=control,
        prompt="a man",
        negative_prompt=negative,
        strength=0.8,
        num_inference_steps=5,
        generator=generators,
        output_type="latent",
    ).images
    # float32 sums in another order, over four steps
    assert float((ours - plain).norm() / plain.norm()) < 1e-5


@pytest.mark.parametrize("part", ["prompt", "negative_prompt", "text_guidance"])
def test_the_texts_have_an_effect(pipe, pictures, maps, part):
    """Guards the tests above: with texts that do nothing they would pass in any order."""
    pipe.scheduler = SCHEDULERS["ddim-v"]()
    settings = {"prompt": "a man", "negative_prompt": "b", "text_guidance": 3.0}
    other = {"prompt": "zz", "negative_prompt": "q", "text_guidance": 5.0}
    first, second = (
        pipe(
            pictures,
            control_images=maps,
            generator=[torch.Generator().manual_seed(seed) for seed in (0, 1)],
            num_inference_steps=5,
            output_type="latent",
            **chosen,
        ).images
        for chosen in (settings, {**settings, part: other[part]})
    )
    assert float((first - second).norm() / first.norm()) > 1e-4
