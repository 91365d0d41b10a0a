"""What holds of BasePipeline whatever its weights."""

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
)

from camouflage.denoise import encode
from camouflage.denoise.latents import pixels_from_pictures
from camouflage.errors import SettingError

STEPS_RUN = 3  # 0.75 of 4


def test_scale_1_is_bit_equal_to_a_pipeline_without_identity(pipe, without_identity, redraw, calls):
    seen = calls(pipe.identity_controlnet)
    with_net = redraw(anonymization_scale=1)
    assert torch.equal(with_net, redraw(pipe=without_identity, anonymization_scale=1))
    assert seen == []


def test_scale_0_does_not_compute_the_positive_branch(pipe, redraw, calls):
    positive = [calls(net) for net in pipe.controlnet.nets]
    embeddings = [calls(net.controlnet_cond_embedding) for net in pipe.controlnet.nets]
    identity, unet = calls(pipe.identity_controlnet), calls(pipe.unet)
    redraw(anonymization_scale=0, control_images={})
    assert positive == embeddings == [[], [], []]
    assert identity == unet == [2] * STEPS_RUN


def test_all_rows_are_one_call_of_the_unet(pipe, redraw, calls):
    positive = [calls(net) for net in pipe.controlnet.nets]
    identity, unet = calls(pipe.identity_controlnet), calls(pipe.unet)
    redraw(anonymization_scale=1.25)
    assert unet == [4] * STEPS_RUN
    assert identity == [2] * STEPS_RUN
    assert positive == [[2] * STEPS_RUN] * 3


def test_control_guidance_is_one_more_row_without_any_net(pipe, redraw, calls):
    positive = [calls(net) for net in pipe.controlnet.nets]
    identity, unet = calls(pipe.identity_controlnet), calls(pipe.unet)
    redraw(anonymization_scale=1, control_guidance=2.0)
    assert (identity, unet) == ([], [4] * STEPS_RUN)
    assert positive == [[2] * STEPS_RUN] * 3


def test_control_guidance_1_computes_no_row_and_0_follows_no_map(redraw, calls, pipe):
    unet = calls(pipe.unet)
    assert torch.equal(
        redraw(anonymization_scale=1), redraw(anonymization_scale=1, control_guidance=1)
    )
    assert unet == [2] * STEPS_RUN * 2
    none = dict.fromkeys(pipe.config["controls"], 0)
    free = redraw(anonymization_scale=1, control_weights=none, control_images={})
    torch.testing.assert_close(redraw(anonymization_scale=1, control_guidance=0), free)


def test_analytic_identity_computes_no_identity_row(pipe, redraw, calls):
    identity, unet = calls(pipe.identity_controlnet), calls(pipe.unet)
    redraw(anonymization_scale=1.25, identity="analytic")
    assert (identity, unet) == ([], [2] * STEPS_RUN)


def test_nets_of_weight_0_are_not_computed_and_need_no_map(pipe, redraw, maps, calls):
    seen = [calls(net) for net in pipe.controlnet.nets]
    kept = {name: maps[name] for name in ("landmarks", "colour")}
    off = redraw(control_weights={"lineart": 0}, control_images=kept)
    assert seen == [[2] * STEPS_RUN, [], [2] * STEPS_RUN]
    assert not torch.allclose(off, redraw(), atol=1e-3)


def test_without_any_net_the_unet_is_alone(pipe, redraw, calls):
    unet = calls(pipe.unet)
    none = dict.fromkeys(pipe.config["controls"], 0)
    redraw(control_weights=none, control_images={}, anonymization_scale=1)
    assert unet == [2] * STEPS_RUN


def test_a_net_is_computed_between_its_start_and_end_only(pipe, redraw, calls):
    seen = [calls(net) for net in pipe.controlnet.nets]
    redraw(control_start={"lineart": 0.3}, control_end={"colour": 0.7})
    assert [len(one) for one in seen] == [3, 2, 2]


def test_a_net_without_a_step_is_refused(redraw):
    with pytest.raises(SettingError, match=r"none of 3 steps .* so that 'colour' does nothing"):
        redraw(control_end={"colour": 0.3})


def test_identity_residuals_stay_out_of_a_positive_row_without_nets(redraw, maps):
    """One step is linear in the prediction: z(a_s) = z(0) + a_s (z(1) - z(0)).

    z(1) is computed without the identity beside it, so nothing of it can leak in there.
    """
    late = {"strength": 0.25, "control_weights": dict.fromkeys(maps, 0)}
    z_0, z_1, z = (redraw(anonymization_scale=scale, **late) for scale in (0, 1, 1.5))
    # 1e-4: three runs' rounding, times 1.5
    torch.testing.assert_close(z, z_0 + 1.5 * (z_1 - z_0), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(z_0, z_1, atol=1e-2)


def test_embeddings_are_computed_once_a_picture(pipe, redraw, calls):
    nets = [*pipe.controlnet.nets, pipe.identity_controlnet]
    seen = [calls(net.controlnet_cond_embedding) for net in nets]
    redraw()
    assert seen == [[2]] * 4


def test_embeddings_are_back_after_an_exception_in_the_loop(pipe, redraw):
    before = [net.controlnet_cond_embedding for net in pipe.controlnet.nets]

    def fail(pipe, step, t, tensors):
        raise RuntimeError("in the loop")

    with pytest.raises(RuntimeError, match="in the loop"):
        redraw(callback_on_step_end=fail)
    assert [net.controlnet_cond_embedding for net in pipe.controlnet.nets] == before
    assert torch.isfinite(redraw()).all()


@pytest.mark.parametrize("scale", [0, 1, 1.25])
def test_a_picture_alone_equals_the_picture_in_a_batch(redraw, pictures, maps, scale):
    alone = {name: several[1] for name, several in maps.items()}
    batch = redraw(anonymization_scale=scale)
    single = redraw(image=pictures[1], control_images=alone, seeds=(1,), anonymization_scale=scale)
    # 1e-4: convolutions and attention block their sums by batch size; noise is bit-equal
    torch.testing.assert_close(batch[1:], single, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(batch[0], batch[1], atol=0.1)


def test_same_seed_same_bits_other_seed_other_picture(redraw):
    assert torch.equal(redraw(), redraw())
    assert not torch.allclose(redraw(seeds=(0, 1))[0], redraw(seeds=(2, 1))[0], atol=0.1)


@pytest.mark.parametrize(
    "scheduler",
    [
        DDIMScheduler(clip_sample=False, prediction_type="v_prediction"),
        DDPMScheduler(clip_sample=False, prediction_type="epsilon"),
        EulerDiscreteScheduler(prediction_type="v_prediction"),
        DPMSolverMultistepScheduler(
            algorithm_type="sde-dpmsolver++", use_karras_sigmas=True, prediction_type="epsilon"
        ),
    ],
    ids=["ddim-v", "ddpm-eps", "euler-v", "sde-dpm++-karras-eps"],
)
def test_analytic_scale_0_is_the_autoencoders_picture(pipe, redraw, pictures, calls, scheduler):
    pipe.scheduler = scheduler
    unet = calls(pipe.unet)
    z = redraw(anonymization_scale=0, identity="analytic", strength=1.0)
    with torch.no_grad():
        z_0 = encode(pipe.vae, pixels_from_pictures(pictures))
    # 1e-4: Euler starts at 15 times the latent and loses that much of float32
    torch.testing.assert_close(z, z_0, atol=1e-4, rtol=0)
    assert unet == []


def test_scale_moves_monotonically_away_from_the_original(pipe, redraw, pictures):
    """With the closed form: further from z_0 the larger a_s; a wrong sign turns it round."""
    with torch.no_grad():
        z_0 = encode(pipe.vae, pixels_from_pictures(pictures))
    distances = [
        float((redraw(anonymization_scale=scale, identity="analytic") - z_0).norm())
        for scale in (0, 0.5, 1, 1.5)
    ]
    assert distances == sorted(distances)
    assert distances[0] < 1e-3 < distances[1]


def test_identity_row_has_the_learned_net(pipe, redraw):
    """At scale 0 the result follows the identity net's weights, at 1 it does not."""
    parameter = pipe.identity_controlnet.controlnet_mid_block.weight
    before = [redraw(anonymization_scale=scale) for scale in (0, 1)]
    with torch.no_grad():
        parameter.mul_(-1)
    after = [redraw(anonymization_scale=scale) for scale in (0, 1)]
    with torch.no_grad():
        parameter.mul_(-1)
    assert not torch.allclose(before[0], after[0], atol=1e-3)
    assert torch.equal(before[1], after[1])


def test_callback_sees_and_changes_latents(redraw):
    seen = []

    def zero_at_the_end(pipe, step, t, tensors):
        seen.append((step, int(t), tensors["latents"].shape))
        return {"latents": tensors["latents"] * (step < STEPS_RUN - 1)}

    latents = redraw(callback_on_step_end=zero_at_the_end)
    assert latents.abs().max() == 0
    assert [step for step, _, _ in seen] == [0, 1, 2]
    assert {shape for _, _, shape in seen} == {latents.shape}


def test_inputs_are_bit_equal_after_the_call(redraw, pictures, maps):
    before = [picture.copy() for picture in (*pictures, *maps["colour"])]
    redraw()
    after = (*pictures, *maps["colour"])
    assert all((one == other).all() for one, other in zip(before, after, strict=True))


def test_bfloat16_runs_and_stays_near_float32(pipe, redraw):
    exact = redraw()
    try:
        half = redraw(pipe=pipe.to(torch.bfloat16))
    finally:
        pipe.to(torch.float32)
    assert half.dtype == torch.float32
    # 8 bits of mantissa over three steps of an untrained net
    assert float((half - exact).norm() / exact.norm()) < 0.1


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("correction", [{"guidance_rescale": 0.7}, {"low_frequency_guidance": 0.2}])
def test_corrections_act_above_scale_1_alone(redraw, scale, correction):
    plain = redraw(anonymization_scale=scale)
    assert torch.equal(plain, redraw(anonymization_scale=scale, **correction))


def test_low_frequency_guidance_keeps_the_colours_of_the_positive_controls(redraw):
    pushed = {"anonymization_scale": 3.0, "output_type": "latent"}
    plain, fine = redraw(**pushed), redraw(**pushed, low_frequency_guidance=0.0)
    positive = redraw(anonymization_scale=1.0, output_type="latent")
    off = [(one - positive).mean((2, 3)).norm() for one in (fine, plain)]
    assert off[0] < 0.7 * off[1]
    assert not torch.equal(fine, positive)


@pytest.mark.parametrize("identity", ["learned", "analytic"])
def test_rescale_takes_out_contrast(redraw, identity):
    pushed = {"anonymization_scale": 3.0, "identity": identity, "output_type": "latent"}
    plain, rescaled = redraw(**pushed), redraw(**pushed, guidance_rescale=1.0)
    positive = redraw(anonymization_scale=1.0, output_type="latent")
    spread = [latents.std((2, 3)).mean() for latents in (positive, rescaled, plain)]
    assert spread[0] * 0.8 < spread[1] < spread[2] * 0.9


@pytest.mark.parametrize("setting", ["guidance_rescale", "low_frequency_guidance"])
def test_corrections_are_refused_with_a_scheduler_without_closed_form(pipe, redraw, setting):
    kept, pipe.scheduler = pipe.scheduler, PNDMScheduler.from_config(pipe.scheduler.config)
    with pytest.raises(SettingError, match=f"{setting} works with"):
        redraw(anonymization_scale=1.25, **{setting: 0.5})
    pipe.scheduler = kept


def test_a_start_of_its_own_is_what_the_noise_is_laid_over(redraw, pictures):
    """At a_s = 1 nothing else comes from the picture, given its maps."""
    other = [picture[::-1].copy() for picture in pictures]
    started = redraw(start_images=other, anonymization_scale=1)
    assert torch.equal(started, redraw(image=other, anonymization_scale=1))
    assert not torch.equal(started, redraw(anonymization_scale=1))
    assert torch.equal(redraw(start_images=pictures), redraw())


def test_the_identity_stays_that_of_the_picture(redraw, pictures):
    """At a_s = 0 the closed form leads from any start to the picture."""
    other = [picture[::-1].copy() for picture in pictures]
    back = {"anonymization_scale": 0, "identity": "analytic", "control_images": {}}
    torch.testing.assert_close(
        redraw(start_images=other, **back), redraw(**back), atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize("wrong", [lambda p: p[:1], lambda p: [one[:16] for one in p]])
def test_starts_are_as_many_and_as_large_as_the_pictures(redraw, pictures, wrong):
    with pytest.raises(SettingError, match=r"start_images: expected .*\(2, 32, 32\)"):
        redraw(start_images=wrong(pictures))
