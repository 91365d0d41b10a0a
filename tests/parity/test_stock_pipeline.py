"""At a_s = 1 BasePipeline is what diffusers' own image-to-image ControlNet pipeline is."""

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionControlNetImg2ImgPipeline,
)

from camouflage.denoise import encode
from camouflage.denoise.latents import pixels_from_pictures


@pytest.mark.parametrize(
    "scheduler",
    [DDIMScheduler(clip_sample=False), EulerDiscreteScheduler()],
    ids=["ddim", "euler"],
)
@pytest.mark.parametrize("strength", [0.6, 1.0])
@torch.no_grad()
def test_equals_the_stock_pipeline(pipe, pictures, maps, generators, scheduler, strength):
    pipe.scheduler = scheduler
    stock = StableDiffusionControlNetImg2ImgPipeline(
        vae=pipe.vae,
        text_encoder=pipe.text_encoder,
        tokenizer=pipe.tokenizer,
        unet=pipe.unet,
        controlnet=pipe.controlnet,
        scheduler=type(scheduler).from_config(scheduler.config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    stock.set_progress_bar_config(disable=True)
    weights, end = {"landmarks": 0.7, "lineart": 0.4, "colour": 1.0}, {"colour": 0.5}
    shared = {"strength": strength, "num_inference_steps": 5}
    fresh = [torch.Generator().manual_seed(one.initial_seed()) for one in generators]
    expected = stock(
        prompt=["a man", "b"],
        negative_prompt=["q", "q"],
        guidance_scale=3.0,
        image=encode(pipe.vae, pixels_from_pictures(pictures)),  # its own encoding is a sample
        control_image=[pixels_from_pictures(maps[name], low=0.0) for name in weights],
        controlnet_conditioning_scale=list(weights.values()),
        control_guidance_end=[end.get(name, 1.0) for name in weights],
        generator=fresh,
        output_type="latent",
        **shared,
    ).images
    ours = pipe(
        pictures,
        control_images=maps,
        control_weights=weights,
        control_end=end,
        prompt=["a man", "b"],
        negative_prompt="q",
        text_guidance=3.0,
        anonymization_scale=1,
        generator=generators,
        output_type="latent",
        **shared,
    ).images
    # float32 sums in another order, over up to five steps
    assert float((ours - expected).norm() / expected.norm()) < 1e-5


def test_text_encoder_and_tokenizer_load_bit_for_bit(pipe, pictures, maps, tmp_path):
    pipe.save_pretrained(tmp_path)
    again = type(pipe).from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    first, second = (
        one(
            pictures,
            control_images=maps,
            prompt="a man",
            text_guidance=3.0,
            num_inference_steps=4,
            generator=[torch.Generator().manual_seed(seed) for seed in (0, 1)],
            output_type="latent",
        ).images
        for one in (pipe, again)
    )
    assert torch.equal(first, second)
