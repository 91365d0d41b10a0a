"""Learning the autoencoder of ``mini``."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional as F

from camouflage.mini.autoencoder import SmallAutoencoder
from training.schedules import warmup_stable_decay


def reconstruction_loss(output: Tensor, target: Tensor, *, gradient_weight: float) -> Tensor:
    """mean |x - y| + g * mean |grad x - grad y|, over (B, 3, H, W): sharp edges count twice."""
    error = output - target
    dx, dy = error.diff(dim=-1), error.diff(dim=-2)
    return error.abs().mean() + gradient_weight * (dx.abs().mean() + dy.abs().mean())


def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Mean over pictures of the PSNR in dB of (B, 3, H, W) in [-1, 1] (peak to peak 2)."""
    mse = (output.clamp(-1, 1) - target).square().flatten(1).mean(1)
    return (10 * torch.log10(4 / mse)).mean()


class AutoencoderModule(L.LightningModule):
    """Reconstruction by L1 and gradient loss; a little noise on the latents, relative to their
    spread, makes the decoder forgive the small errors of a denoiser. All constants are our choice.
    """

    def __init__(
        self,
        latent_channels: int = 16,
        learning_rate: float = 1e-3,
        gradient_weight: float = 0.5,
        latent_noise: float = 0.03,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = (
            SmallAutoencoder(latent_channels)
            if weights is None
            else SmallAutoencoder.from_pretrained(weights, dtype=torch.float32)
        )
        self.model = self.model.train().to(memory_format=torch.channels_last)

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        pixels = batch["pixels"].contiguous(memory_format=torch.channels_last)
        latents = self.model.encode(pixels).latent_dist.mode()
        noise = torch.randn_like(latents) * latents.detach().std() * self.hparams["latent_noise"]
        output = self.model.decode(latents + noise).sample
        loss = reconstruction_loss(output, pixels, gradient_weight=self.hparams["gradient_weight"])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        pixels = batch["pixels"]
        output = self.model(pixels)
        self.log("val/psnr", psnr(output, pixels), prog_bar=True)
        self.log("val/l1", F.l1_loss(output, pixels))

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(self.parameters(), self.hparams["learning_rate"])
        steps = int(self.trainer.estimated_stepping_batches)
        return warmup_stable_decay(optimizer, steps, warmup=100, decay=0.5)
