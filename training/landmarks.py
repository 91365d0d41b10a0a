"""Learning the landmark network of ``mini``."""

from __future__ import annotations

from itertools import islice

import lightning as L
import torch
from torch import Tensor

from camouflage.annotators.landmarks import LandmarkNet
from camouflage.subjects.crops import EYE_DISTANCE
from training.schedules import warmup_stable_decay


def wing_loss(error: Tensor, *, width: float, curvature: float) -> Tensor:
    """Mean wing loss: w ln(1 + |x| / c) below w, |x| - C above (Feng et al. 2018, 1711.06753)."""
    size = error.abs()
    constant = width - width * torch.log1p(torch.tensor(width / curvature))
    return torch.where(size < width, width * torch.log1p(size / curvature), size - constant).mean()


class LandmarkModule(L.LightningModule):
    """Regression of the points that `training.label_landmarks` wrote. Constants are our choice."""

    def __init__(
        self, learning_rate: float = 1e-3, width: float = 0.04, curvature: float = 0.01
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = LandmarkNet()

    def on_fit_start(self) -> None:
        if self.trainer.ckpt_path is None:
            loader = self.trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
            points = torch.cat([batch["points_xy"] for batch in islice(loader, 12)])
            self.model.mean_xy.copy_(self._fractions(points, 128).mean(0))

    def _fractions(self, points_xy: Tensor, side: int) -> Tensor:
        return (points_xy + 0.5) / side

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        pixels = batch["pixels"]
        error = self.model(pixels) - self._fractions(batch["points_xy"], pixels.shape[-1])
        loss = wing_loss(error, width=self.hparams["width"], curvature=self.hparams["curvature"])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        pixels = batch["pixels"]
        error = self.model(pixels) - self._fractions(batch["points_xy"], pixels.shape[-1])
        distance = error.norm(dim=-1).mean() / EYE_DISTANCE
        self.log("val/error_eye_distances", distance, prog_bar=True, batch_size=len(pixels))

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(self.parameters(), self.hparams["learning_rate"])
        return warmup_stable_decay(optimizer, int(self.trainer.estimated_stepping_batches))
