"""``sd15`` from folders of the hub's layout, from one file, and every way in which it cannot be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from safetensors.torch import load_file, save_file

from camouflage.adapters.fused import write_fused_weights
from camouflage.errors import SettingError, WeightsError
from camouflage.pipelines import BasePipeline
from camouflage.pipelines.sd15 import DEFAULT_WEIGHTS
from camouflage.weights import CONTROLS, weights_of, write_sums

from ..small_models import write_lineart
from ..small_sd15 import small_controlnet, small_text_encoder, small_unet, write_tokenizer

PARTS = ("unet", "vae", "text_encoder", "controlnet")


def same_weights(one, other) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def edit(path: Path, **changed) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


@pytest.fixture(scope="module")
def pictures():
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(2)]


@pytest.fixture
def loaded(sd15_models) -> BasePipeline:
    sd15_models()
    pipe = BasePipeline.from_pretrained("sd15")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def redraw(pictures):
    def run(pipe, **changed):
        settings = {
            "control_images": {name: pictures for name in CONTROLS},
            "prompt": "",
            "identity": "analytic",
            "num_inference_steps": 2,
            "output_type": "latent",
            "generator": [torch.Generator().manual_seed(seed) for seed in (0, 1)],
        }
        return pipe(pictures, **{**settings, **changed}).images

    return run


def test_it_is_put_together_as_documented(loaded: BasePipeline) -> None:
    assert loaded.config["controls"] == list(CONTROLS)
    assert loaded.config["default_weights"] == DEFAULT_WEIGHTS
    numbers = {"size_px": 512, "default_steps": 20, "default_strength": 0.75}
    numbers |= {"default_anonymization_scale": 1.25, "random_weights": False}
    assert {name: loaded.config[name] for name in numbers} == numbers
    assert isinstance(loaded.scheduler, DPMSolverMultistepScheduler)
    sampler = {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True}
    sampler |= {"beta_start": 0.00085, "beta_schedule": "scaled_linear", "steps_offset": 1}
    assert {key: loaded.scheduler.config[key] for key in sampler} == sampler
    assert loaded.identity_controlnet is None
    assert not any(getattr(loaded, part).training for part in PARTS)


def test_every_control_has_its_own_net(loaded: BasePipeline, sd15_folders: Path) -> None:
    from diffusers import ControlNetModel

    for net, name in zip(loaded.controlnet.nets, CONTROLS, strict=True):
        published = ControlNetModel.from_pretrained(sd15_folders / f"controlnet-{name}")
        assert same_weights(net, published)


def test_it_redraws_with_a_prompt(loaded: BasePipeline, redraw) -> None:
    plain = redraw(loaded)
    prompted = redraw(loaded, prompt="a person in a park")
    assert plain.shape == (2, 4, 8, 8)
    assert plain.isfinite().all()
    assert not torch.equal(plain, prompted)
    without = redraw(loaded, control_weights={"pose": 0.0})
    assert not torch.equal(plain, without)


def test_dtype_is_of_all_parts(sd15_models) -> None:
    sd15_models()
    pipe = BasePipeline.from_pretrained("sd15", dtype=torch.bfloat16)
    assert {getattr(pipe, part).dtype for part in PARTS} == {torch.bfloat16}


def test_it_is_saved_and_loaded_as_a_folder(loaded: BasePipeline, redraw, tmp_path: Path) -> None:
    loaded.save_pretrained(tmp_path / "saved")
    again = BasePipeline.from_pretrained(tmp_path / "saved")
    again.set_progress_bar_config(disable=True)
    assert torch.equal(redraw(loaded), redraw(again))


def test_its_hash_is_of_every_part(sd15_models) -> None:
    models = sd15_models()
    before = weights_of("sd15")
    assert weights_of("sd15") == before
    edit(models / "controlnet-pose" / "config.json", _note="another")
    write_sums(models / "controlnet-pose")
    assert weights_of("sd15") != before


def test_its_hash_is_of_the_annotators_that_are_here(sd15_models, tmp_path: Path) -> None:
    models = sd15_models()
    without = weights_of("sd15")
    write_lineart(models / "annotator-lineart")
    write_sums(models / "annotator-lineart")
    before = weights_of("sd15")
    assert before != without
    file = models / "annotator-lineart" / "sk_model2.safetensors"
    save_file({**load_file(file), "note": torch.ones(1)}, file)
    write_sums(models / "annotator-lineart")
    assert weights_of("sd15") not in (before, without)
    file.write_bytes(b"damaged")
    assert weights_of("sd15") == without, "what cannot be used is absent"


@pytest.mark.parametrize("part", ["controlnet-pose", "sd-vae-ft-mse", "unet", "text_encoder"])
def test_weights_that_are_missing_or_of_other_shapes_are_named(
    sd15_models, sd15_folders: Path, part: str
) -> None:
    models = sd15_models()
    base = models / "realistic-vision-5.1"
    entry = base if (base / part).is_dir() else models / part
    (file,) = [f for f in entry.rglob("*.safetensors") if part in f.parts]
    state = load_file(file)
    biases = sorted(name for name, value in state.items() if value.ndim == 1)
    lost = biases[0].removeprefix("text_model.")
    for case, message in (
        (state | {biases[-1]: torch.zeros(7)}, "other shapes: [^ ]+ of shape .7,. in the place"),
        ({k: v for k, v in state.items() if k != biases[0]}, f"missing: {lost}$"),
        (state | {"another.weight": torch.zeros(1)}, "too many: another.weight$"),
    ):
        save_file(case, file, metadata={"format": "pt"})
        write_sums(entry)
        with pytest.raises(WeightsError, match=f"^{part}: .* do not go together: {message}"):
            BasePipeline.from_pretrained("sd15")


def test_a_base_in_a_folder_of_ones_own(sd15_models, sd15_folders: Path, tmp_path: Path) -> None:
    sd15_models()
    own = Path(shutil.copytree(sd15_folders / "realistic-vision-5.1", tmp_path / "own"))
    edit(own / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    for base in (own, str(own)):
        pipe = BasePipeline.from_pretrained("sd15", base=base)
        assert pipe.scheduler.config["prediction_type"] == "v_prediction"


def test_another_base_of_the_table(sd15_models, sd15_folders: Path) -> None:
    models = sd15_models()
    (models / "realistic-vision-5.1").rename(models / "stable-diffusion-1.5")
    assert BasePipeline.from_pretrained("sd15", base="stable-diffusion-1.5").tokenizer("a")
    with pytest.raises(WeightsError, match=r"realistic-vision-5\.1: not here"):
        BasePipeline.from_pretrained("sd15")


def test_a_base_with_the_settings_of_another_sampler(
    sd15_models, sd15_folders: Path, redraw, tmp_path: Path
) -> None:
    """Realistic Vision's folder names DEIS."""
    sd15_models()
    own = Path(shutil.copytree(sd15_folders / "realistic-vision-5.1", tmp_path / "own"))
    deis = {"_class_name": "DEISMultistepScheduler", "algorithm_type": "deis"}
    edit(own / "scheduler" / "scheduler_config.json", **deis, solver_type="logrho")
    pipe = BasePipeline.from_pretrained("sd15", base=own)
    pipe.set_progress_bar_config(disable=True)
    assert pipe.scheduler.config["solver_type"] == "midpoint"
    assert redraw(pipe).isfinite().all()


def test_a_base_in_the_cache_by_its_repository(
    sd15_models, sd15_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sd15_models()
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--someone--people"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(sd15_folders / "realistic-vision-5.1", repository / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert BasePipeline.from_pretrained("sd15", base="someone/people").unet.config["in_channels"]


def test_a_control_and_an_identity_of_ones_own(sd15_models, redraw, tmp_path: Path) -> None:
    sd15_models()
    own = small_controlnet()
    own.save_pretrained(tmp_path / "own")
    identity = small_controlnet(
        conditioning_channels=4, conditioning_embedding_out_channels=(WIDTH,)
    )
    identity.save_pretrained(tmp_path / "identity")
    pipe = BasePipeline.from_pretrained(
        "sd15", controlnets={"pose": tmp_path / "own"}, identity_controlnet=tmp_path / "identity"
    )
    pipe.set_progress_bar_config(disable=True)
    assert same_weights(pipe.controlnet.nets[CONTROLS.index("pose")], own)
    assert same_weights(pipe.identity_controlnet, identity)
    assert redraw(pipe, identity="learned").isfinite().all()


def test_a_fused_net_of_ones_own(sd15_models, redraw, tmp_path: Path) -> None:
    sd15_models()
    net = small_controlnet(conditioning_channels=15)
    net.save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"expected fused_weights\.json"):
        BasePipeline.from_pretrained("sd15", fused_controlnet=tmp_path)
    write_fused_weights(tmp_path, DEFAULT_WEIGHTS)
    pipe = BasePipeline.from_pretrained("sd15", fused_controlnet=tmp_path)
    pipe.set_progress_bar_config(disable=True)
    assert same_weights(pipe.fused_controlnet, net)
    plain, fused = redraw(pipe), redraw(pipe, fused_controls=True)
    assert fused.isfinite().all()
    assert not torch.allclose(plain, fused, atol=1e-4)
    small_controlnet(block_out_channels=(32,) * 4, conditioning_channels=15).save_pretrained(
        tmp_path
    )
    with pytest.raises(WeightsError, match="fused_controlnet: made for another UNet"):
        BasePipeline.from_pretrained("sd15", fused_controlnet=tmp_path)


WIDTH = 32


class TestOneFile:
    """A random checkpoint of the original layout: SD 1.5's, but for the widths and the layers."""

    @pytest.fixture(scope="class")
    @staticmethod
    def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
        torch.manual_seed(1)
        folder = tmp_path_factory.mktemp("file")
        unet, text_encoder = small_unet(), small_text_encoder()
        save_file(original_layout(unet, text_encoder), folder / "people.safetensors")
        unet.save_pretrained(folder / "unet")
        text_encoder.save_pretrained(folder / "text_encoder")
        return folder / "people.safetensors"

    def test_it_has_the_weights_of_the_folder(self, sd15_models, file: Path) -> None:
        from diffusers import UNet2DConditionModel
        from transformers import CLIPTextModel

        sd15_models()
        pipe = BasePipeline.from_pretrained("sd15", base=file)
        assert same_weights(pipe.unet, UNet2DConditionModel.from_pretrained(file.parent / "unet"))
        text = CLIPTextModel.from_pretrained(file.parent / "text_encoder")
        assert same_weights(pipe.text_encoder, text)
        expected = {"prediction_type": "epsilon", "beta_end": 0.012, "num_train_timesteps": 1000}
        assert {key: pipe.scheduler.config[key] for key in expected} == expected
        assert not pipe.unet.training

    def test_it_needs_a_tokenizer_and_nothing_else_of_another_base(
        self, sd15_models, file: Path
    ) -> None:
        models = sd15_models()
        shutil.rmtree(models / "realistic-vision-5.1")
        assert BasePipeline.from_pretrained("sd15", base=str(file)).tokenizer("a")
        shutil.rmtree(models / "tokenizer-clip")
        shutil.rmtree(models / "controlnet-pose")
        with pytest.raises(WeightsError) as caught:
            BasePipeline.from_pretrained("sd15", base=file)
        lines = str(caught.value).splitlines()
        assert [line.split(":")[0] for line in lines] == ["controlnet-pose", "tokenizer-clip"]

    @pytest.mark.parametrize("part", ["model.diffusion_model", "cond_stage_model"])
    def test_weights_that_are_missing_are_refused(
        self, sd15_models, file: Path, tmp_path: Path, part: str
    ) -> None:
        sd15_models()
        state = load_file(file)
        state.pop(next(n for n in sorted(state, reverse=True) if n.startswith(part)))
        save_file(state, tmp_path / "part.safetensors")
        with pytest.raises(WeightsError, match=r"part\.safetensors: no whole checkpoint"):
            BasePipeline.from_pretrained("sd15", base=tmp_path / "part.safetensors")

    def test_tokenizer_and_noise_beside_it_are_taken(
        self, sd15_models, sd15_folders: Path, file: Path, tmp_path: Path
    ) -> None:
        models = sd15_models()
        shutil.rmtree(models / "realistic-vision-5.1")
        shutil.rmtree(models / "tokenizer-clip")
        own = Path(shutil.copy(file, tmp_path / "own.safetensors"))
        with pytest.raises(WeightsError, match="tokenizer-clip"):
            BasePipeline.from_pretrained("sd15", base=own)
        write_tokenizer(tmp_path / "tokenizer")
        shutil.copytree(sd15_folders / "realistic-vision-5.1" / "scheduler", tmp_path / "scheduler")
        edit(tmp_path / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
        pipe = BasePipeline.from_pretrained("sd15", base=own)
        assert pipe.scheduler.config["prediction_type"] == "v_prediction"

    @pytest.mark.parametrize(
        ("tensor", "shape", "message"),
        [
            ("input_blocks.0.0.weight", (32, 9, 3, 3), "channels of the latents is 9, expected 4"),
            ("input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", (32, 1024), "1024"),
            ("input_blocks.1.1.proj_in.weight", (32, 32), "projection by convolution is none"),
            ("out.2.weight", None, "no checkpoint of Stable Diffusion 1.5"),
        ],
    )
    def test_another_architecture_is_refused(
        self, sd15_models, file: Path, tmp_path: Path, tensor: str, shape, message: str
    ) -> None:
        sd15_models()
        state = load_file(file)
        state.pop(f"model.diffusion_model.{tensor}")
        if shape is not None:
            state[f"model.diffusion_model.{tensor}"] = torch.zeros(shape)
        save_file(state, tmp_path / "other.safetensors")
        with pytest.raises(WeightsError, match=message):
            BasePipeline.from_pretrained("sd15", base=tmp_path / "other.safetensors")

    def test_a_pickle_and_a_cut_file_are_refused(
        self, sd15_models, file: Path, tmp_path: Path
    ) -> None:
        sd15_models()
        torch.save({"a": torch.zeros(1)}, tmp_path / "pickle.ckpt")
        with pytest.raises(WeightsError, match="expected a safetensors file"):
            BasePipeline.from_pretrained("sd15", base=tmp_path / "pickle.ckpt")
        (tmp_path / "cut.safetensors").write_bytes(file.read_bytes()[:-1000])
        with pytest.raises(WeightsError, match="cut"):
            BasePipeline.from_pretrained("sd15", base=tmp_path / "cut.safetensors")


def test_all_that_is_missing_is_said_at_once(sd15_models) -> None:
    sd15_models("realistic-vision-5.1", "controlnet-depth")
    with pytest.raises(WeightsError) as caught:
        BasePipeline.from_pretrained("sd15")
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "sd-vae-ft-mse", "controlnet-normals", "controlnet-segmentation", "controlnet-pose",
        "controlnet-lineart",
    ]  # fmt: skip
    assert all("camouflage models fetch" in line for line in lines)


def test_a_controlnet_of_another_width_is_refused_before_loading(
    sd15_models, tmp_path: Path
) -> None:
    sd15_models()
    small_controlnet(block_out_channels=(32, 64, 64, 64)).save_pretrained(tmp_path / "wide")
    with pytest.raises(WeightsError, match="controlnet-depth: made for another UNet"):
        BasePipeline.from_pretrained("sd15", controlnets={"depth": tmp_path / "wide"})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"conditioning_channels": 3}, "conditioning_channels is 3, expected 4"),
        ({"conditioning_embedding_out_channels": (8, 8)}, "is 2, expected 1"),
        ({"cross_attention_dim": 1024}, "cross_attention_dim is 1024, expected 768"),
        ({"block_out_channels": (32, 32, 32, 32)}, "identity_controlnet: made for another UNet"),
    ],
)
def test_an_identity_of_another_form_is_refused(
    sd15_models, tmp_path: Path, changed: dict, message: str
) -> None:
    sd15_models()
    form = {"conditioning_channels": 4, "conditioning_embedding_out_channels": (WIDTH,)}
    small_controlnet(**{**form, **changed}).save_pretrained(tmp_path / "identity")
    with pytest.raises(WeightsError, match=message):
        BasePipeline.from_pretrained("sd15", identity_controlnet=tmp_path / "identity")


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"controlnets": {"canny": "x"}}, "controlnets: expected depth"),
        ({"bas": "x"}, "bas"),
        ({"base": "sd-vae-ft-mse"}, "the autoencoder of others"),
        ({"use_safetensors": False}, "safetensors only"),
    ],
)
def test_wrong_keywords(keywords: dict, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        BasePipeline.from_pretrained("sd15", **keywords)


def test_what_is_given_and_is_nothing(sd15_models, tmp_path: Path) -> None:
    sd15_models()
    for keywords in (
        {"base": tmp_path / "nowhere"},
        {"vae": "nowhere"},
        {"identity_controlnet": tmp_path / "nowhere"},
    ):
        with pytest.raises(WeightsError, match="nowhere") as caught:
            BasePipeline.from_pretrained("sd15", **keywords)
        assert str(tmp_path) not in str(caught.value)


def original_layout(unet, text_encoder) -> dict[str, torch.Tensor]:
    """The tensors under the names that the original code gives them."""
    state = {
        f"model.diffusion_model.{original_name(name)}": value.contiguous()
        for name, value in unet.state_dict().items()
    }
    prefix = "cond_stage_model.transformer.text_model."
    state |= {f"{prefix}{name}": value for name, value in text_encoder.state_dict().items()}
    return {name: value.clone() for name, value in state.items()}


_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_OUTSIDE = {
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
}  # fmt: skip


def original_name(name: str) -> str:
    """Rombach et al.'s name of a tensor of diffusers' UNet with two layers a level."""
    for ours, theirs in _OUTSIDE.items():
        if name.startswith(ours):
            return name.replace(ours, theirs)
    place, *rest = name.split(".")
    if place == "mid_block":
        kind, number, *rest = rest
        return ".".join([f"middle_block.{block_of(kind, int(number))}", *inside(kind, rest)])
    level, kind, number, *rest = rest
    if place == "down_blocks":
        first = 1 + 3 * int(level)
        if kind == "downsamplers":
            return ".".join([f"input_blocks.{first + 2}.0.op", *rest[1:]])
        return ".".join(
            [f"input_blocks.{first + int(number)}.{int(kind == 'attentions')}", *inside(kind, rest)]
        )
    block = 3 * int(level) + (2 if kind == "upsamplers" else int(number))
    if kind == "upsamplers":
        return ".".join([f"output_blocks.{block}.{2 if int(level) else 1}", *rest])
    return ".".join([f"output_blocks.{block}.{int(kind == 'attentions')}", *inside(kind, rest)])


def block_of(kind: str, number: int) -> int:
    return 1 if kind == "attentions" else 2 * number


def inside(kind: str, rest: list[str]) -> list[str]:
    return [_RESNET[rest[0]], *rest[1:]] if kind == "resnets" else rest
