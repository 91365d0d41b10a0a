"""What a trained pipeline does on the held-out faces: figures and a picture.

    python -m training.report camouflage/mini/weights --crops runs/crops --output runs/report

Writes ``report.md`` and ``sheet.png`` (original, autoencoder, a_s = 0, 0.5, 1, 1.25, 1.5).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
import yaml
from PIL import Image
from torch import Tensor

from camouflage.annotators import draw_maps, predict_landmarks
from camouflage.denoise.latents import decode, encode, pictures_from_pixels
from camouflage.pipelines.base import BasePipeline
from camouflage.subjects.crops import EYE_DISTANCE
from training.autoencoder import psnr
from training.data import CropData
from training.denoiser import DenoiserModule, Mixture
from training.split import HELD_OUT

SCALES = (0.0, 0.5, 1.0, 1.25, 1.5)


def main(
    pipeline: Annotated[Path, typer.Argument(help="an exported pipeline")],
    crops: Annotated[Path, typer.Option(help="shards with held-out crops and landmarks.npz")],
    output: Annotated[Path, typer.Option(help="folder for report.md and sheet.png")],
    config: Annotated[Path, typer.Option(help="the YAML of its training")] = Path(
        "configs/training/denoiser.yaml"
    ),
    rows: Annotated[int, typer.Option(help="faces on the sheet")] = 12,
    losses: Annotated[bool, typer.Option(help="also the losses of an untrained start")] = True,
) -> None:
    """Figures and a contact sheet of the held-out faces."""
    output.mkdir(parents=True, exist_ok=True)
    pipe = BasePipeline.from_pretrained(str(pipeline), dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    data = CropData(
        crops, 25, workers=0, landmarks=crops / "landmarks.npz", controls=pipe.config["controls"]
    )
    batches = list(data.val_dataloader())
    lines = ["| held-out faces | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in figures(pipe, batches).items()]
    if losses:
        seen = list(data.still_dataloader("train", every=round(1 / HELD_OUT) - 1))
        lines += ["", "| loss (v) | untrained | trained | trained, on faces of the training |"]
        lines += ["|---|---|---|---|", *loss_rows(pipeline, config, batches, seen)]
    (output / "report.md").write_text("\n".join(lines) + "\n")
    Image.fromarray(sheet(pipe, batches[0]["pixels"][:rows])).save(output / "sheet.png")
    typer.echo("\n".join(lines))


@torch.no_grad()
def figures(pipe: BasePipeline, batches: list[dict[str, Tensor]]) -> dict[str, str]:
    """Autoencoder, identity and landmark network, over all held-out faces."""
    pixels = torch.cat([b["pixels"] for b in batches])
    known = torch.cat([decode(pipe.vae, encode(pipe.vae, b["pixels"])) for b in batches])
    found, error = [], []
    for batch in batches:
        pictures = list(pictures_from_pixels(batch["pixels"]))
        images = redraw(pipe, pictures, 0.0)
        found.append(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1)
        points = predict_landmarks(pipe.landmarker, pictures)
        distance = np.linalg.norm(points - batch["points_xy"].numpy(), axis=-1).mean()
        error.append(distance / (EYE_DISTANCE * pixels.shape[-1]))
    return {
        "faces": str(len(pixels)),
        "autoencoder PSNR": f"{psnr(known, pixels):.2f} dB",
        "identity alone from noise (a_s = 0, strength 1), PSNR against the autoencoder's own": (
            f"{psnr(torch.cat(found), known.clamp(-1, 1)):.2f} dB"
        ),
        "landmark error": f"{np.mean(error):.3f} of the eye distance",
    }


def redraw(pipe: BasePipeline, pictures: list[np.ndarray], scale: float) -> np.ndarray:
    """uint8 (B, side, side, 3) at a_s = ``scale``, the rest being the pipeline's defaults."""
    points = predict_landmarks(pipe.landmarker, pictures)
    images = pipe(
        pictures,
        control_images=draw_maps(pictures, points, pipe.config["controls"]),
        anonymization_scale=scale,
        generator=[torch.Generator().manual_seed(i) for i in range(len(pictures))],
    ).images
    return np.stack([np.asarray(image) for image in images])


def loss_rows(
    pipeline: Path, config: Path, batches: list[dict[str, Tensor]], seen: list[dict[str, Tensor]]
) -> list[str]:
    """One table row a case of `DenoiserModule.validation_step`; by how much the faces of the
    training, ``seen``, are better is what the model knows by heart.
    """
    settings = yaml.safe_load(config.read_text())["model"]["init_args"]
    settings |= {"mixture": Mixture(**settings["mixture"]), "autoencoder": str(pipeline / "vae")}
    torch.manual_seed(0)
    before = validation_losses(DenoiserModule(**(settings | {"weights": None})), batches)
    trained = DenoiserModule(**(settings | {"weights": str(pipeline)}))
    after, known = validation_losses(trained, batches), validation_losses(trained, seen)
    return [
        f"| {case} | {before[case]:.3f} | {after[case]:.3f} | {known[case]:.3f} |"
        for case in before
    ]


@torch.no_grad()
def validation_losses(module: DenoiserModule, batches: list[dict[str, Tensor]]) -> dict[str, float]:
    """Mean over the faces, by case."""
    module.eval()
    parts = [module.validation_losses(batch, index) for index, batch in enumerate(batches)]
    sizes = np.array([len(batch["pixels"]) for batch in batches])
    return {
        case: float(np.average([float(p[case]) for p in parts], weights=sizes)) for case in parts[0]
    }


@torch.no_grad()
def sheet(pipe: BasePipeline, pixels: Tensor) -> np.ndarray:
    """A row a face: original, autoencoder, and one redrawn face a scale."""
    pictures = list(pictures_from_pixels(pixels))
    columns = [np.stack(pictures), pictures_from_pixels(decode(pipe.vae, encode(pipe.vae, pixels)))]
    columns += [redraw(pipe, pictures, scale) for scale in SCALES]
    return np.concatenate([np.concatenate(list(column), 0) for column in columns], 1)


if __name__ == "__main__":
    typer.run(main)
