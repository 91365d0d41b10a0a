"""Checkpoints to the folders that ``from_pretrained`` reads: safetensors and configurations.

    python -m training.export autoencoder runs/autoencoder/last.ckpt \\
        --crops runs/crops --output runs/mini/vae
    python -m training.export landmarks runs/landmarks/last.ckpt --output runs/mini/landmarker
    python -m training.export pipeline runs/denoiser/last.ckpt \\
        --config configs/training/denoiser.yaml --parts runs/mini --output camouflage/mini/weights
    python -m training.export identity runs/identity-sd15/last.ckpt \\
        --base realistic-vision-5.1 --output runs/identity-controlnet
    python -m training.export fused runs/fused-mini/last.ckpt --output runs/fused-net
    python -m training.export encoder runs/encoder-mini/last.ckpt \\
        --crops runs/crops --output runs/mini-light/image_encoder
    python -m training.export attributes runs/attributes-mini/last.ckpt \\
        --output runs/mini-light/attribute_net
    python -m training.export light runs/light-mini/last.ckpt \\
        --config configs/training/light-mini.yaml --output runs/mini-light
    python -m training.export upscaler runs/upscaler/last.ckpt --output camouflage/mini/upscaler

A checkpoint that was written with Lightning's weight averaging holds the averaged weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
import yaml
from diffusers import DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel
from numpy.typing import NDArray
from torch import Tensor

from camouflage.adapters.fused import write_fused_weights
from camouflage.adapters.identity import identity_controlnet
from camouflage.adapters.image_prompt import save_image_prompt
from camouflage.annotators.image_encoder import encoder_input, side_of
from camouflage.annotators.landmarks import LandmarkNet, inner_box
from camouflage.annotators.readout import Readout
from camouflage.mini.attributes import SmallAttributeNet
from camouflage.mini.autoencoder import SmallAutoencoder
from camouflage.mini.image_encoder import TOKEN_LAYERS, SmallImageEncoder
from camouflage.pipelines.base import BasePipeline
from camouflage.pipelines.traits import write_traits
from camouflage.swap import FacePool
from camouflage.weights import load_model, write_sums
from training.attributes import KNOWN, AttributeModule
from training.autoencoder import AutoencoderModule
from training.data import CropData, read_attributes, read_labels
from training.denoiser import DenoiserModule, Mixture
from training.frozen import weights_folder, weights_sha256
from training.fused import FusedModule, fused_card
from training.identity_card import card
from training.image_encoder import ImageEncoderModule
from training.landmarks import LandmarkModule
from training.light import Drops, LightModule
from training.prepare import read_shards
from training.upscaling import UpscalingModule

Checkpoint = Annotated[Path, typer.Argument(help="a Lightning checkpoint")]
Output = Annotated[Path, typer.Option(help="the folder to write")]
SHARD = "15MB"
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}

COMPONENTS = 32
"""Of an embedding, beside the attributes."""
RIDGE = 300.0

app = typer.Typer(add_completion=False, help=__doc__.splitlines()[0])


@app.command()
def autoencoder(
    checkpoint: Checkpoint,
    output: Output,
    crops: Annotated[Path, typer.Option(help="shards on which latents are normalised")],
) -> None:
    """The autoencoder, with its latents brought to mean 0 and variance 1 in each channel."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    module = AutoencoderModule(state["hyper_parameters"]["latent_channels"])
    module.load_state_dict(state["state_dict"], strict=False)
    normalise(module.model, crops)
    module.model.half().save_pretrained(output)


@torch.no_grad()
def normalise(model: SmallAutoencoder, crops: Path, batches: int = 60) -> None:
    """Sets the model's mean and spread of latents from ``batches`` of training crops."""
    model.latent_mean.zero_()
    model.latent_std.fill_(1)
    stream = iter(CropData(crops, workers=0, epoch_samples=16 * batches).train_dataloader())
    latents = torch.cat([model.encode(b["pixels"]).latent_dist.mode() for b in stream])
    model.latent_mean.copy_(latents.mean((0, 2, 3)).view(-1, 1, 1))
    model.latent_std.copy_(latents.std((0, 2, 3)).view(-1, 1, 1))


@app.command()
def landmarks(checkpoint: Checkpoint, output: Output) -> None:
    """The landmark network."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    module = LandmarkModule()
    module.load_state_dict(state["state_dict"])
    module.model.half().save_pretrained(output)


@app.command()
def upscaler(checkpoint: Checkpoint, output: Output) -> None:
    """The upscaler, with its checksums."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    module = UpscalingModule()
    module.load_state_dict(state["state_dict"])
    module.model.half().save_pretrained(output)
    write_sums(output)


@app.command()
def pipeline(
    checkpoint: Checkpoint,
    output: Output,
    config: Annotated[Path, typer.Option(help="the YAML that the checkpoint was trained with")],
    parts: Annotated[Path, typer.Option(help="folder with vae/ and landmarker/")],
) -> None:
    """The whole pipeline, fp16, in files under 16 MB."""
    settings = yaml.safe_load(config.read_text())["model"]["init_args"]
    settings |= {"mixture": Mixture(**settings["mixture"]), "autoencoder": str(parts / "vae")}
    settings["weights"] = None
    module = DenoiserModule(**settings)
    state = torch.load(checkpoint, map_location="cpu", weights_only=False)["state_dict"]
    module.load_state_dict(state)
    assemble(module, parts).to(torch.float16).save_pretrained(output, max_shard_size=SHARD)
    seal(output)


@app.command()
def identity(
    checkpoint: Checkpoint,
    output: Output,
    base: Annotated[str, typer.Option(help="name or folder of the model it was trained on")],
    dtype: Annotated[str, typer.Option(help="float16, bfloat16 or float32")] = "float16",
    max_shard_size: Annotated[str, typer.Option(help="of one weight file")] = "5GB",
    report: Annotated[
        Path | None, typer.Option(help="report.json of training.report_identity, for the card")
    ] = None,
) -> None:
    """The identity ControlNet of another model, with a model card and checksums.

    Raises:
        ValueError: the checkpoint was trained on another UNet than that of ``base``, or the report
            is of other weights than those that are written.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    folder = weights_folder(base)
    if weights_sha256(folder / "unet") != state["identity"]["unet_sha256"]:
        raise ValueError(f"{checkpoint.name} was trained on another UNet than that of {base}")
    with torch.device("meta"):
        net = identity_controlnet(
            UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder / "unet"))
        )
    weights = {
        name.removeprefix("identity."): value
        for name, value in state["state_dict"].items()
        if name.startswith("identity.")
    }
    net.load_state_dict(weights, assign=True)
    net.to(DTYPES[dtype]).save_pretrained(output, max_shard_size=max_shard_size)
    parameters = sum(p.numel() for p in net.parameters())
    figures = None if report is None else json.loads(report.read_text(encoding="utf-8"))
    if figures is not None and figures["weights_sha256"] != weights_sha256(output):
        raise ValueError(f"{report} is of other weights: run training.report_identity again")
    text = card(Path(base).name, state, figures, dtype=dtype, parameters=parameters)
    (output / "README.md").write_text(text, encoding="utf-8")
    seal(output)


@app.command()
def fused(
    checkpoint: Checkpoint,
    output: Output,
    whole: Annotated[
        bool, typer.Option(help="the whole pipeline with the net in it, not the net alone")
    ] = False,
    dtype: Annotated[str, typer.Option(help="float16, bfloat16 or float32")] = "float16",
    max_shard_size: Annotated[str, typer.Option(help="of one weight file")] = SHARD,
) -> None:
    """The one ControlNet that was distilled from a pipeline's, with a model card and checksums.

    Raises:
        ValueError: the pipeline that it was distilled from has other ControlNets now.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    module = FusedModule(**arguments_of(state) | {"weights": None})
    module.on_load_checkpoint(state)
    module.load_state_dict(state["state_dict"])
    net, pipe = module.student.to(DTYPES[dtype]), module.pipeline
    if whole:
        pipe.register_modules(fused_controlnet=net)
        pipe.register_to_config(fused_weights=module.control_weights)
        pipe.to(DTYPES[dtype]).save_pretrained(output, max_shard_size=max_shard_size)
    else:
        net.save_pretrained(output, max_shard_size=max_shard_size)
    folder = output / "fused_controlnet" if whole else output
    write_fused_weights(folder, module.control_weights)
    (folder / "README.md").write_text(fused_card(state), encoding="utf-8")
    seal(output)


def seal(folder: Path) -> None:
    """The last step of every export: no path of this machine, and a list of hashes."""
    forget_paths(folder)
    write_sums(folder)


def forget_paths(folder: Path) -> None:
    """Takes out of every configuration where diffusers had the weights from."""
    for path in (*folder.rglob("config.json"), *folder.rglob("model_index.json")):
        config = json.loads(path.read_text(encoding="utf-8"))
        if config.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


@app.command()
def encoder(
    checkpoint: Checkpoint,
    output: Output,
    crops: Annotated[Path, typer.Option(help="shards on which embeddings are spread out")],
) -> None:
    """The image encoder of mini-light, fp16, with embeddings that differ from face to face."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    module = ImageEncoderModule(**arguments_of(state))
    module.load_state_dict(state["state_dict"])
    searchable(module.encoder, crops).half().save_pretrained(output)


@app.command()
def attributes(checkpoint: Checkpoint, output: Output) -> None:
    """The attribute network of mini-light, fp16."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    module = AttributeModule(**arguments_of(state))
    module.load_state_dict(state["state_dict"])
    module.net.half().save_pretrained(output)


@app.command()
def light(
    checkpoint: Checkpoint,
    output: Output,
    config: Annotated[Path, typer.Option(help="the YAML that the checkpoint was trained with")],
    dtype: Annotated[str, typer.Option(help="float16, bfloat16 or float32")] = "float16",
    max_shard_size: Annotated[str, typer.Option(help="of one weight file")] = SHARD,
) -> None:
    """What CAMOUFLaGE-Light adds to its base: ``ip_adapter/`` and ``adapter/``, with checksums.

    Where ``output`` has a pool and an attribute network, the traits of its faces are written too.

    Raises:
        ValueError: the checkpoint was trained on another UNet than that of the configuration.
    """
    settings = yaml.safe_load(config.read_text())["model"]["init_args"]
    module = LightModule(**settings | {"drops": Drops(**settings["drops"]), "weights": None})
    state = torch.load(checkpoint, map_location="cpu", weights_only=False)
    module.on_load_checkpoint(state)
    module.load_state_dict(state["state_dict"])
    numbers = DTYPES[dtype]
    module.adapter.to(numbers).save_pretrained(output / "adapter", max_shard_size=max_shard_size)
    save_image_prompt(module.unet.to(numbers), output / "ip_adapter")
    if (output / "pool").is_dir() and (output / "attribute_net").is_dir():
        net = load_model(SmallAttributeNet, output / "attribute_net", dtype=torch.float32)
        write_traits(output, FacePool.load(output / "pool"), net, Readout.load())
    seal(output)


@torch.no_grad()
def searchable(encoder: SmallImageEncoder, crops: Path) -> SmallImageEncoder:
    """The encoder with an embedding in which near faces look alike, for the search of a pool.

    What the encoder knows of a face is brought to mean 0 and spread 1 over the training faces, as
    their boxes cut them. The embedding is its first `COMPONENTS` principal components, of equal
    spread, and beside them what a ridge regression can tell of each known attribute, which together
    weigh as much. Numbers are our choice.
    """
    points, labels = read_labels(crops / "landmarks.npz"), read_attributes(crops / "attributes.npz")
    faces = [(key, crop) for key, crop in read_shards(crops, "train") if key in points]
    boxes = [cut(crop, inner_box(points[key])) for key, crop in faces]
    wanted = torch.from_numpy(np.stack([labels[key][KNOWN] for key, _ in faces]))
    found = []
    for at in range(0, len(boxes), 64):
        grid = encoder.body[:TOKEN_LAYERS](encoder_input(boxes[at : at + 64], side_of(encoder)))
        found.append(encoder.described(grid))
    described = torch.cat(found)
    mean, std = described.mean(0), described.std(0) + 1e-3
    x = (described - mean) / std
    weight = torch.cat([principal(x), 2.5 * ridge(x, wanted)])
    made = SmallImageEncoder.from_config(encoder.config, projection_dim=len(weight))
    for part in ("body", "norm", "features"):
        getattr(made, part).load_state_dict(getattr(encoder, part).state_dict())
    made.described_mean.copy_(mean)
    made.described_std.copy_(std)
    made.visual_projection.weight.copy_(weight)
    made.visual_projection.bias.zero_()
    return made


def principal(x: Tensor) -> Tensor:
    """(COMPONENTS, D): rows that bring (N, D) of mean 0 to components of spread 1."""
    _, spread, axes = torch.linalg.svd(x, full_matrices=False)
    return (axes / spread[:, None] * len(x) ** 0.5)[:COMPONENTS]


def ridge(x: Tensor, wanted: Tensor) -> Tensor:
    """(K, D): rows that tell ``wanted`` (N, K) of (N, D) of mean 0, of spread 1."""
    gram = x.T @ x + RIDGE * torch.eye(x.shape[1])
    rows = torch.linalg.solve(gram, x.T @ (wanted - wanted.mean(0))).T
    return rows / (x @ rows.T).std(0)[:, None]


def cut(pixels: NDArray[np.uint8], box_xyxy: NDArray[np.float64]) -> NDArray[np.uint8]:
    """What of ``pixels`` (H, W, 3) is in the box."""
    high = np.tile(pixels.shape[1::-1], 2)
    x0, y0, x1, y1 = np.clip(np.round(box_xyxy), 0, high).astype(int)
    return pixels[y0:y1, x0:x1]


def arguments_of(state: dict[str, Any]) -> dict[str, Any]:
    """Those of the module that a checkpoint was made with, without what LightningCLI notes."""
    return {k: v for k, v in state["hyper_parameters"].items() if not k.startswith("_")}


def assemble(module: DenoiserModule, parts: Path) -> BasePipeline:
    """A pipeline of the module's networks, with autoencoder and landmark network of ``parts``."""
    names = list(module.controls)
    scheduler = DPMSolverMultistepScheduler(
        beta_schedule=module.hparams["beta_schedule"],
        prediction_type="v_prediction",
        algorithm_type="dpmsolver++",
        timestep_spacing="trailing",
    )
    return BasePipeline(
        vae=SmallAutoencoder.from_pretrained(parts / "vae"),
        unet=module.unet,
        controlnet=MultiControlNetModel([module.controls[n] for n in names]),
        scheduler=scheduler,
        identity_controlnet=module.identity,
        null_context=module.context,
        landmarker=LandmarkNet.from_pretrained(parts / "landmarker"),
        controls=names,
        size_px=128,
        default_strength=1.0,
        default_steps=16,
        default_anonymization_scale=1.25,
        default_control_guidance=1.0,
        default_guidance_rescale=1.0,
        default_low_frequency_guidance=0.0,
    )


if __name__ == "__main__":
    app()
