"""A folder as the configurations expect it, with crops of noise."""

import string
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from diffusers import (
    ControlNetModel,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel
from PIL import Image
from skimage import data
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from camouflage.annotators.attributes import CELEBA_ATTRIBUTES, AttributeNet
from camouflage.annotators.landmarks import LandmarkNet
from camouflage.mini.autoencoder import SmallAutoencoder
from camouflage.mini.image_encoder import SmallImageEncoder
from camouflage.pipelines.base import BasePipeline
from camouflage.pipelines.tiny import tiny_autoencoder, tiny_controlnet, tiny_unet
from camouflage.subjects.crops import template
from camouflage.weights import CONTROLS, mini_folder
from training.encode import latents
from training.encode_controls import controls
from training.encode_light import light
from training.encode_upscaling import upscaling
from training.frozen import load_autoencoder
from training.identity import IdentityModule
from training.label_attributes import LIVE
from training.prepare import MARGIN, SIDE, write_shards
from training.report_identity import noisiest_first

CONFIGURATIONS = Path(__file__).parents[2] / "configs" / "training"
STORED = SIDE + 2 * MARGIN


def crop(seed: int) -> np.ndarray:
    """(160, 160, 3) uint8: a gradient with a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((STORED, STORED)) / STORED
    picture = rng.uniform(0, 255, 3) * x[..., None] + rng.uniform(0, 255, 3) * y[..., None]
    return np.clip(picture / 2 + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)


def blobs(seed: int, height: int = 40, width: int = 56) -> np.ndarray:
    """Smooth, and as different from each other as photographs are."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image)


def with_face(shift: int = 0) -> np.ndarray:
    """(200, 224, 3) uint8: a face of a photograph in the public domain (NASA)."""
    return np.ascontiguousarray(data.astronaut()[20:220, 110 - shift : 334 - shift])


@pytest.fixture(scope="session", name="face_picture")
def _face_picture():
    return with_face


@pytest.fixture(scope="session", name="picture")
def _picture():
    return blobs


def save_base(folder, seed: int = 3, prediction_type: str = "epsilon") -> None:
    """A pipeline of the layout of Stable Diffusion 1.5, with small random weights."""
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=54,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=8,
        bos_token_id=52,
        eos_token_id=53,
    )
    letters = string.ascii_lowercase
    tokens = [*letters, *(f"{x}</w>" for x in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    vae = tiny_autoencoder()
    vae.register_to_config(scaling_factor=3.6)  # so that latents have a spread of about 1
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(config),
        tokenizer=CLIPTokenizer(vocabulary, [], model_max_length=8),
        unet=tiny_unet(),
        scheduler=PNDMScheduler(
            **schedule, skip_prk_steps=True, steps_offset=1, prediction_type=prediction_type
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def save_encoder(folder) -> None:
    """An image encoder of FaRL's layout, for 32 px."""
    torch.manual_seed(5)
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
        projection_dim=16,
    )
    CLIPVisionModelWithProjection(config).save_pretrained(folder)


def prepare_light(folder) -> None:
    """runs/farl, runs/facer, and runs/light-512 with eight pictures, three of them with a face."""
    save_encoder(folder / "runs" / "farl")
    torch.manual_seed(6)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "layers": 2, "heads": 2}
    AttributeNet(**sizes, side=32, patch=8).save_pretrained(folder / "runs" / "facer")
    pictures = folder / "people"
    pictures.mkdir()
    for number in range(5):
        Image.fromarray(blobs(number, 80, 96)).save(pictures / f"{number}.png")
    for number, shift in enumerate((0, 50, 100)):
        Image.fromarray(with_face(shift)).save(pictures / f"face-{number}.png")
    lines = ["file_name,caption", *(f"{n}.png,some colours" for n in range(5))]
    lines += [f'face-{n}.png,"a woman, smiling"' for n in range(2)]
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    light(
        [pictures],
        vae=str(folder / "runs" / "base" / "vae"),
        attributes=str(folder / "runs" / "facer"),
        captions=folder / "captions.csv",
        output=folder / "runs" / "light-512",
        side=64,
        encoder_side=32,
        heldout=0.3,
        workers=0,
        shard=2,
    )


class DrawnAnnotators:
    """In the place of the five networks: a map of each control that follows from picture and name.

    ``seen``: the sizes of the batches that it was asked for.
    """

    def __init__(self, **place) -> None:
        self.place, self.seen = place, []

    def needed(self, names, *, caption: bool) -> list[str]:
        return [*names, *(["captioner"] if caption else [])]

    def __call__(self, pictures, names) -> dict:
        self.seen.append(len(pictures))
        return {name: [self.drawn(one, name) for one in pictures] for name in names}

    def drawn(self, picture, name: str) -> np.ndarray:
        return np.roll(picture, CONTROLS.index(name) + 1, axis=1)

    def caption(self, pictures) -> list[str]:
        return [f"a picture {len(one)}" for one in pictures]


def prepare_controls(folder) -> None:
    """runs/scene, a pipeline of scenes with five nets, and runs/controls-512 with its samples."""
    base = StableDiffusionPipeline.from_pretrained(
        folder / "runs" / "base", safety_checker=None, requires_safety_checker=False
    )
    torch.manual_seed(7)
    BasePipeline(
        vae=base.vae,
        unet=base.unet,
        text_encoder=base.text_encoder,
        tokenizer=base.tokenizer,
        scheduler=DPMSolverMultistepScheduler.from_config(base.scheduler.config),
        controlnet=MultiControlNetModel([tiny_controlnet(base.unet) for _ in CONTROLS]),
        controls=CONTROLS,
        annotators="scene",
        default_weights=dict(zip(CONTROLS, (0.5, 0.5, 0.5, 1.0, 0.5), strict=True)),
    ).save_pretrained(folder / "runs" / "scene")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.encode_controls.SceneAnnotators", DrawnAnnotators)
        patch.setattr("training.encode_controls.weights.require", lambda names: None)
        controls(
            [folder / "pictures"],
            vae=str(folder / "runs" / "base" / "vae"),
            output=folder / "runs" / "controls-512",
            caption=True,
            side=64,
            least_side=0,
            heldout=0.2,
            batch=4,
            workers=0,
            device="cpu",
            seed=0,
            shard=3,
        )


@pytest.fixture(scope="session", name="drawn_annotators")
def _drawn_annotators():
    return DrawnAnnotators


@pytest.fixture(scope="session", name="new_base")
def _new_base():
    return save_base


@pytest.fixture(scope="session", name="identity_config")
def _identity_config():
    """Writes configs/training/identity-sd15.yaml with small numbers; checkpoints in runs/NAME."""

    def write(folder, name: str, *, steps: int, interval: int, rate: float, **trainer):
        model = {"learning_rate": rate, "warmup_steps": 1}
        numbers = {"max_steps": steps, "accumulate_grad_batches": 1, **trainer}
        return write_small("identity-sd15", folder, name, model, interval, numbers)

    return write


@pytest.fixture(scope="session", name="light_config")
def _light_config():
    """Likewise configs/training/light-sd15.yaml."""

    def write(folder, name: str, *, steps: int, interval: int, rate: float, **trainer):
        model = {"image_encoder": "runs/farl", "resampler_width": 64, "learning_rate": rate}
        numbers = {"max_steps": steps, **trainer}
        return write_small("light-sd15", folder, name, model, interval, numbers)

    return write


def write_small(of: str, folder, name: str, model: dict, interval: int, trainer: dict) -> Path:
    """The configuration ``of`` with small models and numbers, as NAME.yaml."""
    config = yaml.safe_load((CONFIGURATIONS / f"{of}.yaml").read_text())
    config["model"]["init_args"] |= {"base": "runs/base", **model}
    config["data"]["init_args"]["vae"] = "runs/base/vae"
    config["data"]["init_args"] |= {"epoch_samples": 8 * 64, "workers": 0, "shuffle": 8}
    config["trainer"] |= {"logger": False, "accelerator": "cpu", "precision": "32-true"}
    config["trainer"] |= {"num_sanity_val_steps": 0, "default_root_dir": f"runs/{name}"}
    average, checkpoints = config["trainer"]["callbacks"]
    average["init_args"] |= {"decay": 0.5, "update_every_n_steps": 1}
    checkpoints["init_args"] |= {"dirpath": f"runs/{name}", "every_n_train_steps": interval}
    config["trainer"]["callbacks"] += trainer.pop("callbacks", [])
    config["trainer"] |= trainer
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def prepare_upscaling(folder: Path) -> None:
    """runs/upscaling of larger pictures of the same faces, one of them too small."""
    faces = folder / "face"
    faces.mkdir()
    rows = ["file,re_x,re_y,le_x,le_y,n_x,n_y,rm_x,rm_y,lm_x,lm_y"]
    for number in range(12):
        side = 120 if number == 3 else 256
        Image.fromarray(blobs(number, side, side)).save(faces / f"{number}.png")
        rows.append(",".join([f"{number}.png", *(f"{v:.3f}" for v in template(side).ravel())]))
    (faces / "faces.csv").write_text("\n".join(rows) + "\n")
    upscaling([faces], crops=folder / "runs" / "crops", output=folder / "runs" / "upscaling")


@pytest.fixture(scope="session", name="workplace")
def _workplace(tmp_path_factory):
    """runs/crops with shards, landmarks and attributes, runs/mini with an autoencoder and a
    landmark net, runs/mini-light with an image encoder, runs/base with a Stable Diffusion of random
    weights, runs/latents-512 with its latents, and what `prepare_light`, `prepare_controls` and
    `prepare_upscaling` make.
    """
    folder = tmp_path_factory.mktemp("workplace")
    crops = folder / "runs" / "crops"
    crops.mkdir(parents=True)
    samples = [(f"face-{i}", crop(i)) for i in range(12)]
    write_shards(crops / "train", samples[:8])
    write_shards(crops / "heldout", samples[8:])
    rng = np.random.default_rng(0)
    labels = {key: rng.uniform(40, 120, (478, 3)).astype(np.float32) for key, _ in samples}
    np.savez_compressed(crops / "landmarks.npz", **labels)
    live = np.isin(CELEBA_ATTRIBUTES, LIVE)
    told = {key: np.where(live, rng.uniform(size=40), np.nan) for key, _ in samples}
    np.savez_compressed(crops / "attributes.npz", **{k: v.astype("f4") for k, v in told.items()})
    (folder / "camouflage" / "mini").mkdir(parents=True)
    (folder / "camouflage" / "mini" / "weights").symlink_to(mini_folder())
    torch.manual_seed(0)
    SmallImageEncoder().half().save_pretrained(folder / "runs" / "mini-light" / "image_encoder")
    SmallAutoencoder().half().save_pretrained(folder / "runs" / "mini" / "vae")
    LandmarkNet().half().save_pretrained(folder / "runs" / "mini" / "landmarker")
    save_base(folder / "runs" / "base")
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(10):
        Image.fromarray(blobs(number, 80, 96)).save(pictures / f"{number}.png")
    latents(
        [pictures],
        vae=str(folder / "runs" / "base" / "vae"),
        output=folder / "runs" / "latents-512",
        side=64,
        heldout=0.2,
        workers=0,
        shard=3,
    )
    prepare_light(folder)
    prepare_controls(folder)
    prepare_upscaling(folder)
    return folder


@pytest.fixture(name="base")
def _base(workplace):
    return workplace / "runs" / "base"


@pytest.fixture(name="module_of")
def _module_of(base):
    def make(**settings) -> IdentityModule:
        torch.manual_seed(0)
        return IdentityModule(str(base), **({"gradient_checkpointing": False} | settings))

    return make


@pytest.fixture(name="pipeline_of")
def _pipeline_of(base):
    def make(identity: ControlNetModel) -> BasePipeline:
        """The pipeline of ``base`` with one identity ControlNet, as a user makes it."""
        unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet")
        pipe = BasePipeline(
            vae=load_autoencoder(str(base / "vae")),
            unet=unet,
            controlnet=MultiControlNetModel([tiny_controlnet(unet)]),
            controls=["landmarks"],
            scheduler=noisiest_first(base),
            identity_controlnet=identity,
            text_encoder=CLIPTextModel.from_pretrained(base, subfolder="text_encoder").eval(),
            tokenizer=CLIPTokenizer.from_pretrained(base, subfolder="tokenizer"),
            default_strength=1.0,
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return make
