"""Whether an identity ControlNet learned: from strong noise it must give the picture back.

    python -m training.report_identity runs/identity-controlnet --base realistic-vision-5.1 \\
        --vae sd-vae-ft-mse --latents runs/latents-512 --output runs/report-identity

Of held-out latents: PSNR of the reconstruction by the identity alone (a_s = 0, strength 1) against
the autoencoder's own picture, and the validation loss, both beside the untrained start. Writes
``report.md`` and ``report.json``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from camouflage.denoise.latents import Autoencoder, decode, noise_like
from camouflage.denoise.loop import denoise, noised, schedule
from training.frozen import load_autoencoder, weights_folder, weights_sha256
from training.identity import IdentityModule, identity_prediction
from training.shards import Prepared, read_latents

TARGET_DB = 28.0
"""Above it the reconstruction counts as learned; ours, for 30 steps from the noisiest one."""


def main(
    controlnet: Annotated[Path, typer.Argument(help="an exported identity ControlNet")],
    base: Annotated[str, typer.Option(help="name or folder of the model it was trained on")],
    vae: Annotated[str, typer.Option(help="name or folder of the latents' autoencoder")],
    latents: Annotated[Path, typer.Option(help="shards with held-out latents")],
    output: Annotated[Path, typer.Option(help="folder for report.md and report.json")],
    pictures: Annotated[int, typer.Option(help="of the held-out ones, at most")] = 64,
    batch: Annotated[int, typer.Option(help="pictures at once")] = 4,
    steps: Annotated[int, typer.Option(help="of the sampler")] = 30,
    device: Annotated[str, typer.Option(help="auto, or as torch names it")] = "auto",
) -> None:
    """PSNR and loss of the identity alone, trained and untrained."""
    found = "cuda" if torch.cuda.is_available() else "cpu"
    device = found if device == "auto" else device
    autoencoder = weights_folder(vae)
    Prepared.read(latents).require(autoencoder)
    rows = [row["z_0"].float() for _, row in islice(read_latents(latents, "heldout"), pictures)]
    if not rows:
        raise typer.BadParameter(f"{latents.name} has no held-out latents")
    batches = [chunk.to(device) for chunk in torch.stack(rows).split(batch)]
    model = load_autoencoder(str(autoencoder)).to(device)
    scheduler = noisiest_first(weights_folder(base))
    report: dict = {"weights_sha256": weights_sha256(controlnet)}
    report |= {"pictures": len(rows), "steps": steps, "target_db": TARGET_DB}
    for name, weights in (("untrained", None), ("trained", str(controlnet))):
        module = IdentityModule(base, gradient_checkpointing=False, weights=weights)
        module = module.eval().to(device)
        report[name] = measure(module, model, scheduler, batches, steps)
        del module
    output.mkdir(parents=True, exist_ok=True)
    (output / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    table = as_table(report)
    (output / "report.md").write_text(table, encoding="utf-8")
    typer.echo(table, nl=False)


def noisiest_first(base: Path) -> DPMSolverMultistepScheduler:
    """A sampler for the schedule of ``base`` whose first step is its noisiest."""
    config = DPMSolverMultistepScheduler.load_config(base / "scheduler")
    return DPMSolverMultistepScheduler.from_config(
        config,
        algorithm_type="dpmsolver++",  # a base may name another sampler's
        solver_type="midpoint",
        timestep_spacing="trailing",
    )


@torch.no_grad()
def measure(
    module: IdentityModule,
    vae: Autoencoder,
    scheduler: DPMSolverMultistepScheduler,
    batches: Sequence[Tensor],
    steps: int,
) -> dict[str, float]:
    """PSNR over all pictures (mean, worst) and the measures of `IdentityModule`."""
    psnrs, measured = [], []
    for index, z_0 in enumerate(batches):
        generators = [torch.Generator().manual_seed(1000 * index + i) for i in range(len(z_0))]
        found = decode(vae, reconstruct(module, scheduler, z_0, generators, steps))
        psnrs += picture_psnr(found, decode(vae, z_0)).tolist()
        values = module.validation_measures(z_0, index)
        measured.append({name: float(value) for name, value in values.items()})
    sizes = [len(z_0) for z_0 in batches]
    means = {
        name: float(np.average([part[name] for part in measured], weights=sizes))
        for name in ("loss", "from_noise_db")
    }
    return {"psnr_db": float(np.mean(psnrs)), "worst_psnr_db": min(psnrs), **means}


def reconstruct(
    module: IdentityModule,
    scheduler: DPMSolverMultistepScheduler,
    z_0: Tensor,
    generators: list[torch.Generator],
    steps: int,
) -> Tensor:
    """z_0 (B, C, h, w) by the identity row alone, from the noisiest step.

    The same as `BasePipeline` at ``anonymization_scale`` 0 and ``strength`` 1 gives.
    """
    context = module.context.expand(len(z_0), -1, -1)

    def predict(z_t: Tensor, t: Tensor, step: int) -> Tensor:
        return identity_prediction(module.identity, module.unet, z_t, t, z_0, context)

    timesteps = schedule(scheduler, steps, 1.0, z_0.device)
    start = noised(scheduler, z_0, noise_like(z_0, generators), timesteps[0])
    return denoise(start, timesteps, scheduler, predict, generators)


def picture_psnr(found: Tensor, expected: Tensor) -> Tensor:
    """(B,) in dB, of (B, 3, H, W) in [-1, 1], peak to peak 2; values outside are clipped."""
    error = (found.clamp(-1, 1) - expected.clamp(-1, 1)).square().flatten(1).mean(1)
    return 10 * torch.log10(4 / error.clamp_min(1e-10))


def as_table(report: dict) -> str:
    """The report in Markdown."""
    names = {
        "psnr_db": "PSNR against the autoencoder's own, mean (dB)",
        "worst_psnr_db": "PSNR, worst picture (dB)",
        "loss": "validation loss",
        "from_noise_db": "latent signal to error from noise, one step (dB)",
    }
    lines = [
        f"Identity alone from strong noise, {report['pictures']} held-out pictures, "
        f"{report['steps']} steps; the aim is {report['target_db']:.0f} dB.",
        "",
        "| | untrained | trained |",
        "|---|---|---|",
    ]
    for key, name in names.items():
        lines.append(f"| {name} | {report['untrained'][key]:.4g} | {report['trained'][key]:.4g} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
