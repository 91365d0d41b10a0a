"""Laws of anonymization guidance, on tensors alone."""

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

from camouflage.denoise.guidance import (
    AnalyticIdentity,
    Branch,
    Correction,
    Guidance,
    Row,
    analytic_identity,
    fine_guidance,
    predicted_latent,
    require_analytic,
    rescaled,
    row_weights,
    signal_and_noise,
)
from camouflage.denoise.loop import denoise, noised, schedule
from camouflage.errors import SettingError

TYPES = ["epsilon", "v_prediction", "sample"]
SCHEDULERS = {
    "ddim": lambda kind: DDIMScheduler(prediction_type=kind, clip_sample=False),
    "ddim-trailing": lambda kind: DDIMScheduler(
        prediction_type=kind, clip_sample=False, timestep_spacing="trailing"
    ),
    "ddpm": lambda kind: DDPMScheduler(prediction_type=kind, clip_sample=False),
    "dpm++": lambda kind: DPMSolverMultistepScheduler(prediction_type=kind),
    "sde-dpm++-karras": lambda kind: DPMSolverMultistepScheduler(
        prediction_type=kind, algorithm_type="sde-dpmsolver++", use_karras_sigmas=True
    ),
    "euler": lambda kind: EulerDiscreteScheduler(prediction_type=kind),
    "euler-karras": lambda kind: EulerDiscreteScheduler(
        prediction_type=kind, use_karras_sigmas=True, timestep_spacing="leading", steps_offset=1
    ),
    "euler-ancestral": lambda kind: EulerAncestralDiscreteScheduler(prediction_type=kind),
    "unipc": lambda kind: UniPCMultistepScheduler(prediction_type=kind),
}
WITHOUT_SAMPLE = {"euler-ancestral"}  # its step does not know that type


def cases():
    return [
        pytest.param(name, kind, id=f"{name}-{kind}")
        for name in SCHEDULERS
        for kind in TYPES
        if not (kind == "sample" and name in WITHOUT_SAMPLE)
    ]


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Answer:
    """A UNet that gives each of its rows the output that is set, whatever it is asked."""

    dtype = torch.float32

    def __init__(self, output):
        self.output = output

    def __call__(self, z_t, t, **others):
        return (self.output,)


@pytest.mark.parametrize(
    ("scale", "text", "control", "expected"),
    [
        (0.0, 1.0, 1.0, (0.0, 0.0, 0.0, 1.0)),
        (0.0, 1.0, 2.0, (0.0, 0.0, 0.0, 1.0)),
        (1.0, 1.0, 1.0, (1.0, 0.0, 0.0, 0.0)),
        (1.25, 1.0, 1.0, (1.25, 0.0, 0.0, -0.25)),
        (0.5, 3.0, 1.0, (1.5, -1.0, 0.0, 0.5)),
        (2.0, 0.0, 1.0, (0.0, 2.0, 0.0, -1.0)),
        (1.0, 1.0, 2.0, (2.0, 0.0, -1.0, 0.0)),
        (1.5, 1.0, 0.0, (0.0, 0.0, 1.5, -0.5)),
        (0.5, 3.0, 2.0, (3.0, -2.0, -0.5, 0.5)),
    ],
)
def test_weights_of_the_rows(scale, text, control, expected):
    weights = row_weights(scale, text, control)
    assert weights == expected
    assert sum(weights) == 1


@pytest.mark.parametrize(("name", "kind"), cases())
def test_model_input_is_signal_and_noise(name, kind):
    scheduler = SCHEDULERS[name](kind)
    z_0, noise = random(1, 4, 3, 3), random(1, 4, 3, 3, seed=1)
    timesteps = schedule(scheduler, 10, 0.7, "cpu")
    z_t = scheduler.scale_model_input(noised(scheduler, z_0, noise, timesteps[0]), timesteps[0])
    alpha, sigma = signal_and_noise(scheduler, timesteps[0], 0)
    # 1e-5: one float32 rounding of each side at values of about 3
    torch.testing.assert_close(z_t, alpha * z_0 + sigma * noise, atol=1e-5, rtol=1e-5)
    assert float(alpha**2 + sigma**2) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("name", "kind"), cases())
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_analytic_identity_gives_the_original_back(name, kind, strength):
    scheduler = SCHEDULERS[name](kind)
    z_0, noise = random(2, 4, 4, 4), random(2, 4, 4, 4, seed=1)
    timesteps = schedule(scheduler, 8, strength, "cpu")
    identity = AnalyticIdentity(weight=1.0, z_0=z_0, scheduler=scheduler)
    predictor = Guidance(
        unet=None, positive=(), identity=(), analytic=identity, steps=len(timesteps)
    )
    generators = [torch.Generator().manual_seed(seed) for seed in range(2)]
    start = noised(scheduler, z_0, noise, timesteps[0])
    z = denoise(start, timesteps, scheduler, predictor, generators)
    # 1e-4: Euler starts at 15 to 150 times the latent and loses that much of float32
    torch.testing.assert_close(z, z_0, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 1.25, 2.0])
def test_scale_moves_the_prediction_from_the_original(kind, scale):
    """x_0 = z_0 + a_s (z_pos - z_0): the sign of (1 - a_s) decides it."""
    scheduler = SCHEDULERS["ddim"](kind)
    z_0, z_pos, noise = (random(1, 4, 4, 4, seed=seed) for seed in range(3))
    t = schedule(scheduler, 10, 0.6, "cpu")[0]
    z_t = noised(scheduler, z_0, noise, t)
    alpha, sigma = signal_and_noise(scheduler, t, 0)
    w_text, _, _, w_identity = row_weights(scale)
    row = Row(weight=w_text, context=random(1, 2, 8))
    guidance = Guidance(
        unet=Answer(analytic_identity(z_t, z_pos, alpha, sigma, kind)),
        positive=(Branch(rows=(row,), controls=()),),
        identity=(),
        analytic=AnalyticIdentity(weight=w_identity, z_0=z_0, scheduler=scheduler),
        steps=6,
    )
    predicted = scheduler.step(guidance(z_t, t, 0), t, z_t).pred_original_sample
    torch.testing.assert_close(predicted, z_0 + scale * (z_pos - z_0), atol=1e-5, rtol=1e-5)


def test_weighted_sum_of_rows():
    """Rows keep their order and their weights: three answers, three weights."""
    outputs = random(3, 4, 2, 2)
    rows = tuple(Row(weight=weight, context=random(1, 2, 8)) for weight in (2.0, -0.5, -0.5))
    guidance = Guidance(
        unet=Answer(outputs),
        positive=(Branch(rows=rows[:2], controls=()),),
        identity=(Branch(rows=rows[2:], controls=()),),
        analytic=None,
        steps=1,
    )
    expected = 2 * outputs[:1] - 0.5 * outputs[1:2] - 0.5 * outputs[2:]
    torch.testing.assert_close(guidance(random(1, 4, 2, 2), torch.tensor(1), 0), expected)


@pytest.mark.parametrize(
    "scheduler",
    [
        PNDMScheduler(),
        HeunDiscreteScheduler(),
        DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction"),
    ],
    ids=["pndm", "heun", "flow"],
)
def test_schedulers_without_closed_form_are_refused(scheduler):
    with pytest.raises(SettingError, match=type(scheduler).__name__):
        require_analytic(scheduler, "guidance_rescale")


@pytest.mark.parametrize(("name", "kind"), cases())
@pytest.mark.parametrize("phi", [0.5, 1.0])
def test_rescale_takes_out_the_contrast_that_the_scale_adds(name, kind, phi):
    """Of the predicted latent: mean and spread of each channel go ``phi`` of the way back."""
    scheduler = SCHEDULERS[name](kind)
    z_0, z_pos, noise = (random(2, 4, 4, 4, seed=seed) for seed in range(3))
    t = schedule(scheduler, 10, 0.6, "cpu")[0]
    z_t = scheduler.scale_model_input(noised(scheduler, z_0, noise, t), t)
    alpha, sigma = signal_and_noise(scheduler, t, 0)
    w_text, _, _, w_identity = row_weights(2.0)
    row = Row(weight=w_text, context=random(2, 2, 8))

    def predicted(correction):
        guidance = Guidance(
            unet=Answer(analytic_identity(z_t, z_pos, alpha, sigma, kind)),
            positive=(Branch(rows=(row,), controls=()),),
            identity=(),
            analytic=AnalyticIdentity(weight=w_identity, z_0=z_0, scheduler=scheduler),
            correction=correction,
            steps=6,
        )
        return predicted_latent(z_t, guidance(z_t, t, 0), alpha, sigma, kind)

    plain, z = predicted(None), predicted(Correction(phi=phi, scheduler=scheduler))
    for of in (lambda x: x.mean((2, 3)), lambda x: (x - x.mean((2, 3), keepdim=True)).std((2, 3))):
        # 1e-3: signal and noise of float32 tables, divided by each other twice
        torch.testing.assert_close(
            of(z) if phi == 1 else of(z).mean(),
            of(z_pos) if phi == 1 else torch.lerp(of(plain), of(z_pos), phi).mean(),
            atol=1e-3,
            rtol=1e-3,
        )


def test_rescale_leaves_what_has_the_same_statistics():
    z = random(2, 4, 3, 3)
    torch.testing.assert_close(rescaled(z, z, 0.7), z)
    flat = torch.zeros(1, 4, 3, 3)
    assert torch.isfinite(rescaled(flat, flat, 1.0)).all()


def test_what_is_coarse_in_the_push_goes_and_what_is_fine_stays():
    z, like = random(2, 4, 16, 16), random(2, 4, 16, 16, seed=1)
    assert fine_guidance(z, like, 1.0) is z
    torch.testing.assert_close(fine_guidance(like + 3, like, 0.0), like)  # a tint
    signs = (-1.0) ** (torch.arange(16)[:, None] + torch.arange(16))
    inner = (..., slice(4, 12), slice(4, 12))  # away from the border, which goes on
    fine = fine_guidance(like + signs, like, 0.0)
    torch.testing.assert_close(fine[inner], (like + signs)[inner], atol=1e-3, rtol=0)
    half = torch.lerp(fine_guidance(z, like, 0.0), z, 0.5)
    torch.testing.assert_close(fine_guidance(z, like, 0.5), half)


def test_what_is_coarse_grows_with_the_latent():
    """So that one number means the same at every size: a bump of a tenth of the side goes alike."""
    left = []
    for side in (16, 32, 64):
        x = (torch.arange(side) + 0.5) / side - 0.5
        bump = torch.exp(-0.5 * (x[:, None] ** 2 + x**2) / 0.1**2)[None, None]
        left.append(float(fine_guidance(bump, torch.zeros_like(bump), 0.0).max()))
    assert max(left) < 0.5
    assert max(left) - min(left) < 0.05  # the smallest has no pixel at the top of the bump


@pytest.mark.parametrize(("name", "kind"), cases())
def test_without_its_coarse_part_a_push_keeps_the_means_of_the_positive_rows(name, kind):
    scheduler = SCHEDULERS[name](kind)
    z_t, positive, output = (random(2, 4, 8, 8, seed=seed) for seed in range(3))
    t = schedule(scheduler, 10, 0.6, "cpu")[0]
    alpha, sigma = signal_and_noise(scheduler, t, 0)
    corrected = Correction(kappa=0.0, scheduler=scheduler)(output, positive, z_t, t, 0)
    z, p, before = (
        predicted_latent(z_t, one, alpha, sigma, kind) for one in (corrected, positive, output)
    )
    expected = fine_guidance(before, p, 0.0)
    torch.testing.assert_close(z, expected, atol=1e-3, rtol=1e-3)
    assert (z - p).mean((2, 3)).norm() < 0.3 * (before - p).mean((2, 3)).norm()


def test_unknown_prediction_type_is_refused():
    one = torch.ones(1)
    with pytest.raises(SettingError, match="flow_prediction"):
        analytic_identity(one, one, one, one, "flow_prediction")
    with pytest.raises(SettingError, match="flow_prediction"):
        predicted_latent(one, one, one, one, "flow_prediction")
