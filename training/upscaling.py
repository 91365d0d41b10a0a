"""Learning the upscaler of ``mini``: near its target, and real to two discriminators."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from camouflage.mini.upscaling import SmallUpscaler, enlarged
from camouflage.weights import load_model
from training.autoencoder import psnr, reconstruction_loss


class PatchDiscriminator(nn.Module):
    """Whether patches of (B, 5, H, W), colours and places, look real, and what it saw in them.

    Isola et al. 2017 (arXiv 1611.07004), with spectral norm (Miyato et al. 2018, 1802.05957) in the
    place of batch norm. Widths are our choice.
    """

    def __init__(self, widths: tuple[int, ...] = (32, 64, 96)) -> None:
        super().__init__()
        norm = parametrizations.spectral_norm
        self.layers = nn.ModuleList(
            norm(nn.Conv2d(wide, narrow, 4, stride=2, padding=1))
            for wide, narrow in pairwise((5, *widths))
        )
        self.last = norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores (B, 1, h, w), and the features of every layer."""
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.last(x), features


class UpscalingModule(L.LightningModule):
    """An upscaler against two discriminators, at the target's scale and at its half.

    It is compared with its target in pixels and edges and, after ``alone`` batches, in what the
    discriminators see (Wang et al. 2018, arXiv 1711.11585), by ``feature_weight``; and by
    ``real_weight`` it must look real to them, by the hinge loss (Lim and Ye 2017, 1705.02894). All
    weights are our choice. ``side``: of whole crops, in px. ``weights``: a folder to go on from.
    """

    def __init__(
        self,
        learning_rate: float = 3e-4,
        gradient_weight: float = 0.5,
        feature_weight: float = 1.0,
        real_weight: float = 0.02,
        alone: int = 2000,
        decay: float = 0.3,
        side: int = 128,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.model = (
            SmallUpscaler(side=side)
            if weights is None
            else load_model(SmallUpscaler, Path(weights), dtype=torch.float32)
        )
        self.model = self.model.train().to(memory_format=torch.channels_last)
        self.critics = nn.ModuleList([PatchDiscriminator(), PatchDiscriminator()])
        self.critics.to(memory_format=torch.channels_last)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """(B, 3, 2 S, 2 S) of the ``drawn`` (B, 3, S, S) at their ``places`` (B, 2, S, S)."""
        drawn = batch["drawn"].contiguous(memory_format=torch.channels_last)
        return self.model(drawn, batch["places"])

    def training_step(self, batch: dict[str, Tensor], index: int) -> None:
        drawing, judging = self.optimizers()  # pyright: ignore
        target = batch["target"].contiguous(memory_format=torch.channels_last)
        places = F.interpolate(batch["places"], scale_factor=2, mode="nearest")
        seen = self._batches() - self.hparams["alone"]
        made = self(batch)
        weight = self.hparams["gradient_weight"]
        loss = reconstruction_loss(made, target, gradient_weight=weight)
        self.log("train/distance", loss)
        self.toggle_optimizer(drawing)
        if seen >= 0:
            unreal, apart = self._seen(made, target, places)
            loss = loss + self.hparams["real_weight"] * unreal
            loss = loss + self.hparams["feature_weight"] * apart
            self.log_dict({"train/unreal": unreal, "train/apart": apart})
        self._step(drawing, loss)
        self.untoggle_optimizer(drawing)
        self.toggle_optimizer(judging)
        told = self._told(made.detach(), target, places)
        self.log("train/told", told)
        self._step(judging, told)
        self.untoggle_optimizer(judging)

    def _batches(self) -> int:
        """Seen so far: each is a step of both optimizers."""
        return self.global_step // 2

    def _views(self, pixels: Tensor, places: Tensor) -> list[Tensor]:
        whole = torch.cat([pixels, places], 1)
        return [whole, F.avg_pool2d(whole, 2)]

    def _seen(self, made: Tensor, target: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """How unreal results look, and how far what is seen in them is from that of the target."""
        unreal, apart = made.new_zeros(()), made.new_zeros(())
        pairs = zip(
            self.critics, self._views(made, places), self._views(target, places), strict=True
        )
        for critic, ours, real in pairs:
            scores, features = critic(ours)
            with torch.no_grad():
                _, wanted = critic(real)
            unreal = unreal - scores.mean() / 2
            for one, other in zip(features, wanted, strict=True):
                apart = apart + F.l1_loss(one, other) / (2 * len(wanted))
        return unreal, apart

    def _told(self, made: Tensor, target: Tensor, places: Tensor) -> Tensor:
        loss = made.new_zeros(())
        pairs = zip(
            self.critics, self._views(made, places), self._views(target, places), strict=True
        )
        for critic, ours, real in pairs:
            loss = loss + F.relu(1 - critic(real)[0]).mean() + F.relu(1 + critic(ours)[0]).mean()
        return loss / 2

    def _step(self, optimizer: Any, loss: Tensor) -> None:
        for group in optimizer.param_groups:
            group["lr"] = self._rate()
        optimizer.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(optimizer, 1.0, "norm")
        optimizer.step()

    def _rate(self) -> float:
        """Constant after a short warm-up, and falling in the last ``decay`` of the run."""
        steps = max(self.trainer.max_steps, 1)
        left = (steps - self.global_step) / max(self.hparams["decay"] * steps, 1)
        factor = min((self.global_step + 1) / 200, 1.0, max(left, 0.02))
        return self.hparams["learning_rate"] * factor

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        target, made, plain = batch["target"], self(batch), enlarged(batch["drawn"])
        rows = len(target)
        self.log("val/psnr", psnr(made, target), prog_bar=True, batch_size=rows)
        self.log("val/psnr_enlarged", psnr(plain, target), batch_size=rows)
        self.log("val/detail", detail(made) / detail(target), batch_size=rows)
        self.log("val/detail_enlarged", detail(plain) / detail(target), batch_size=rows)

    def configure_optimizers(self) -> tuple[list, list]:
        rate = self.hparams["learning_rate"]
        return [
            torch.optim.Adam(self.model.parameters(), rate, betas=(0.9, 0.99)),
            torch.optim.Adam(self.critics.parameters(), rate, betas=(0.5, 0.99)),
        ], []


def detail(pixels: Tensor) -> Tensor:
    """Mean absolute step between neighbouring pixels of (B, 3, H, W)."""
    return pixels.diff(dim=-1).abs().mean() + pixels.diff(dim=-2).abs().mean()
