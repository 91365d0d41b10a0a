"""What comes in and out; what is refused, and with which words."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, PNDMScheduler
from PIL import Image

import camouflage.annotators
from camouflage.errors import NonFiniteResult, SettingError


def test_output_types(redraw, pictures):
    pil = redraw(output_type="pil")
    array = redraw(output_type="np")
    tensor = redraw(output_type="pt")
    assert [one.size for one in pil] == [(32, 32)] * 2
    assert (array.shape, array.dtype) == ((2, 32, 32, 3), np.float32)
    assert tensor.shape == (2, 3, 32, 32)
    assert np.array_equal(array, tensor.permute(0, 2, 3, 1).numpy())
    assert np.array_equal(np.stack([np.asarray(one) for one in pil]), (array * 255).round())


def test_one_pil_picture_and_a_tuple(pipe, pictures, maps):
    alone = {name: Image.fromarray(several[0]) for name, several in maps.items()}
    (images,) = pipe(
        Image.fromarray(pictures[0]), control_images=alone, strength=0.25, return_dict=False
    )
    assert len(images) == 1


def test_a_pil_picture_is_turned_upright(redraw, pictures, maps):
    alone = {name: several[0] for name, several in maps.items()}
    upright = Image.fromarray(pictures[0])
    sideways = upright.transpose(Image.Transpose.ROTATE_90)
    sideways.getexif()[0x0112] = 6
    one = {"control_images": alone, "seeds": (0,)}
    assert torch.equal(redraw(image=upright, **one), redraw(image=sideways, **one))


def test_a_rectangle_keeps_its_shape(redraw, pictures, maps):
    wide = {name: np.concatenate(several, axis=1) for name, several in maps.items()}
    picture = np.concatenate(pictures, axis=1)
    (image,) = redraw(image=picture, control_images=wide, seeds=(0,), output_type="pil")
    assert image.size == (64, 32)


def test_defaults_come_from_the_pipeline(pipe, redraw):
    stated = redraw(
        anonymization_scale=pipe.config["default_anonymization_scale"],
        strength=pipe.config["default_strength"],
        num_inference_steps=pipe.config["default_steps"],
        control_weights=pipe.config["default_weights"],
    )
    unstated = redraw(anonymization_scale=None, strength=None, num_inference_steps=None)
    assert torch.equal(stated, unstated)


def test_without_maps_the_annotators_make_them(pipe, redraw, maps, pictures, monkeypatch):
    asked = []

    def annotate(images, controls, landmarker):
        asked.append((len(images), list(controls), landmarker))
        return {name: maps[name] for name in controls}

    monkeypatch.setattr(camouflage.annotators, "annotate", annotate, raising=False)
    weights = {"lineart": 0}
    made = redraw(control_images=None, control_weights=weights)
    assert asked == [(2, ["landmarks", "colour"], pipe.landmarker)]
    assert torch.equal(made, redraw(control_weights=weights))


@pytest.mark.parametrize("side", [64, 128])
def test_a_picture_alone_is_enough(pipe, side):
    """``tiny`` has a landmark network of random weights, so the annotators of ``mini`` run."""
    picture = np.random.default_rng(2).integers(0, 256, (side, side, 3), dtype=np.uint8)
    (image,) = pipe(picture).images
    assert image.size == (side, side)


def test_at_scale_0_no_annotator_runs(redraw, monkeypatch):
    monkeypatch.delattr(camouflage.annotators, "annotate", raising=False)
    assert torch.isfinite(redraw(control_images=None, anonymization_scale=0)).all()


GREY = np.zeros((32, 32), np.uint8)
SMALL = np.zeros((16, 16, 3), np.uint8)
WRONG = {
    "no picture": ({"image": []}, "at least one picture"),
    "two sizes": ({"image": [SMALL, np.zeros((32, 32, 3), np.uint8)]}, "one size"),
    "grey array": ({"image": GREY}, r"uint8 \(32, 32\)"),
    "float array": ({"image": np.zeros((32, 32, 3))}, "float64"),
    "alpha": ({"image": Image.new("RGBA", (32, 32))}, "RGBA"),
    "path": ({"image": "face.jpg"}, "str"),
    "odd side": ({"image": np.zeros((40, 30, 3), np.uint8)}, r"resize it to \(\d+, 32\)"),
    "negative scale": ({"anonymization_scale": -0.1}, "anonymization_scale"),
    "infinite scale": ({"anonymization_scale": float("inf")}, "anonymization_scale"),
    "scale nan": ({"anonymization_scale": float("nan")}, "anonymization_scale"),
    "negative control guidance": ({"control_guidance": -1}, "control_guidance"),
    "infinite control guidance": ({"control_guidance": float("inf")}, "control_guidance"),
    "strength 0": ({"strength": 0}, "strength"),
    "strength 2": ({"strength": 2}, "strength"),
    "no step left": ({"strength": 0.1}, "num_inference_steps"),
    "half a step": ({"num_inference_steps": 2.5}, "num_inference_steps: .* whole"),
    "steps nan": ({"num_inference_steps": float("nan")}, "num_inference_steps: .* whole"),
    "no steps": ({"num_inference_steps": 0}, "num_inference_steps: .* whole"),
    "identity": ({"identity": "perfect"}, "learned"),
    "output type": ({"output_type": "tensor"}, "latent"),
    "weight of whom": ({"control_weights": {"pose": 1}}, "pose"),
    "weight nan": ({"control_weights": {"colour": float("nan")}}, "'colour': .* finite"),
    "start of whom": ({"control_start": {"pose": 0}}, "control_start"),
    "start after end": (
        {"control_start": {"colour": 0.6}, "control_end": {"colour": 0.5}},
        "start < end",
    ),
    "end above 1": ({"control_end": {"colour": 1.5}}, "'colour': .* end <= 1"),
    "end 0": ({"control_end": 0.0}, "control_end"),
    "end nan": ({"control_end": float("nan")}, "control_end"),
    "every half": ({"control_every": 1.5}, "control_every: .* whole"),
    "map missing": ({"control_images": {"colour": [SMALL]}}, "landmarks"),
    "map unknown": ({"control_images": {"pose": SMALL}}, "pose"),
    "prompt": ({"prompt": "a man"}, "text encoder"),
    "text guidance": ({"text_guidance": 3.0}, "text_guidance"),
    "negative prompt": ({"negative_prompt": "blur"}, "negative_prompt"),
    "generators": ({"generator": [torch.Generator()]}, "2 pictures"),
    "callback tensors": ({"callback_on_step_end_tensor_inputs": ["noise"]}, "noise"),
}


@pytest.mark.parametrize(("changed", "words"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_refused(redraw, changed, words):
    with pytest.raises(SettingError, match=words):
        redraw(**changed)


def test_maps_of_another_size_are_refused(redraw, maps):
    with pytest.raises(SettingError, match="colour"):
        redraw(control_images={**maps, "colour": [SMALL, SMALL]})


@pytest.mark.parametrize(
    "changed",
    [
        {"prompt": ["a", "b", "c"]},
        {"guidance_start": 0.9},
        {"control_images": {"pose": SMALL}},
        {"control_end": 0.1},
    ],
    ids=str,
)
def test_what_is_wrong_is_said_before_anything_is_computed(pipe, redraw, monkeypatch, changed):
    monkeypatch.setattr(pipe.vae, "encode", lambda *_: pytest.fail("it was encoded"))
    monkeypatch.setattr(type(pipe), "annotate", lambda *_: pytest.fail("maps were drawn"))
    with pytest.raises(SettingError):
        redraw(**{"control_images": None, **changed})


def test_a_whole_number_of_steps_may_be_a_float(redraw):
    assert torch.equal(redraw(num_inference_steps=4.0), redraw(num_inference_steps=4))


def test_one_end_is_that_of_every_control(redraw, pipe):
    each = dict.fromkeys(pipe.config["controls"], 0.5)
    half = redraw(control_end=0.5)
    assert torch.equal(half, redraw(control_end=each))
    assert not torch.equal(half, redraw())


def test_the_weights_in_use(pipe):
    names = pipe.config["controls"]
    assert list(pipe.weights_in_use()) == names
    assert pipe.weights_in_use({names[0]: 0, names[1]: -0.5}) == {
        name: {names[1]: -0.5}.get(name, pipe.config["default_weights"].get(name, 1.0))
        for name in names[1:]
    }


def test_misspelt_options_fail(pipe, pictures):
    with pytest.raises(TypeError, match="anonymisation_scale"):
        pipe(pictures, anonymisation_scale=1)


def test_schedulers_that_cannot_be_right_are_refused(pipe, redraw):
    pipe.scheduler = PNDMScheduler()
    with pytest.raises(SettingError, match="PNDM"):
        redraw(identity="analytic")
    pipe.scheduler = DDIMScheduler(clip_sample=True)
    with pytest.raises(SettingError, match="clip_sample"):
        redraw()


def test_without_an_identity_net_the_learned_identity_is_refused(without_identity, redraw):
    with pytest.raises(SettingError, match="identity ControlNet"):
        redraw(pipe=without_identity, anonymization_scale=1.25)
    assert torch.isfinite(redraw(pipe=without_identity, identity="analytic")).all()


@pytest.mark.parametrize("output_type", ["pil", "latent"])
def test_a_result_that_is_not_finite_is_refused(pipe, redraw, output_type):
    bias = pipe.unet.conv_out.bias
    with torch.no_grad():
        bias[0] = float("nan")
    try:
        with pytest.raises(NonFiniteResult):
            redraw(output_type=output_type)
    finally:
        with torch.no_grad():
            bias[0] = 0


def test_an_autoencoder_that_fails_gives_no_picture(pipe, redraw):
    bias = pipe.vae.decoder.conv_out.bias
    with torch.no_grad():
        bias[0] = float("nan")
    try:
        with pytest.raises(NonFiniteResult, match="float32"):
            redraw(output_type="pil")
    finally:
        with torch.no_grad():
            bias[0] = 0
