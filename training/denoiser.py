"""Learning the denoiser: UNet, positive ControlNets, identity ControlNet, together or in part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from diffusers import ControlNetModel, DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from camouflage.adapters.identity import identity_controlnet
from camouflage.mini.context import NullContext
from training.frozen import Frozen, load_autoencoder
from training.losses import velocity_loss
from training.schedules import adamw

Residuals = tuple[list[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Which condition a training row has. All numbers are our choice.

    ``identity`` is the fraction of rows that only the identity net steers, ``nothing`` of those
    without any condition; in the rest each positive net is on by its own chance in ``keep``.
    """

    keep: dict[str, float]
    identity: float = 0.125
    nothing: float = 0.05


class DenoiserModule(L.LightningModule):
    """v-prediction in the latent space of a frozen autoencoder.

    ``unet`` and ``control`` are the arguments of ``UNet2DConditionModel`` and of each positive
    ``ControlNetModel``; ``weights`` is an exported pipeline folder to go on from. ``trainable``
    names the parts that learn: "unet" (with the null context), "controls", "identity".
    """

    def __init__(
        self,
        autoencoder: str,
        unet: dict[str, Any],
        control: dict[str, Any],
        mixture: Mixture,
        context_tokens: int = 4,
        trainable: Sequence[str] = ("unet", "controls", "identity"),
        learning_rate: float = 5e-4,
        beta_schedule: str = "squaredcos_cap_v2",
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.mixture = mixture
        self.frozen = Frozen([load_autoencoder(autoencoder)])
        self.unet = UNet2DConditionModel(**unet)
        self.context = NullContext(context_tokens, unet["cross_attention_dim"])
        self.controls = nn.ModuleDict({name: ControlNetModel(**control) for name in mixture.keep})
        self.identity = identity_controlnet(self.unet)
        if weights is not None:
            self.load_parts(Path(weights))
        for name in {"unet", "controls", "identity"} - set(trainable):
            getattr(self, name).requires_grad_(False)
        self.context.requires_grad_("unet" in trainable)
        self.to(memory_format=torch.channels_last)
        schedule = DDPMScheduler(beta_schedule=beta_schedule, prediction_type="v_prediction")
        self.register_buffer("abar", schedule.alphas_cumprod, persistent=False)

    def load_parts(self, folder: Path) -> None:
        """Starts from the parts of the exported pipeline in ``folder``."""
        from camouflage.pipelines.base import BasePipeline

        pipe = BasePipeline.from_pretrained(str(folder), dtype=torch.float32)
        self.unet.load_state_dict(pipe.unet.state_dict())
        self.context.load_state_dict(pipe.null_context.state_dict())
        self.identity.load_state_dict(pipe.identity_controlnet.state_dict())
        for name, net in zip(pipe.config["controls"], pipe.controlnet.nets, strict=True):
            self.controls[name].load_state_dict(net.state_dict())

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        z_0 = self.encode(batch["pixels"])
        rows = self.draw_rows(len(z_0))
        t = torch.randint(0, len(self.abar), (len(z_0),), device=z_0.device)
        loss = self.loss(z_0, batch, t, torch.randn_like(z_0), rows)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        for case, loss in self.validation_losses(batch, index).items():
            self.log(f"val/{case}", loss, prog_bar=True, batch_size=len(batch["pixels"]))

    def validation_losses(self, batch: dict[str, Tensor], index: int) -> dict[str, Tensor]:
        """The loss with all controls, with none, with the identity alone, with each control alone.

        Noise and timesteps follow from ``index``, so that two models are compared on the same.
        """
        z_0 = self.encode(batch["pixels"])
        generator = torch.Generator().manual_seed(index)
        noise = torch.randn(z_0.shape, generator=generator).to(z_0)
        t = torch.linspace(20, len(self.abar) - 20, len(z_0)).long().to(z_0.device)
        everyone = torch.ones(len(z_0), dtype=torch.bool)
        names = list(self.controls)
        cases = {"all": names, "nothing": [], "identity": ["identity"]} | {n: [n] for n in names}
        return {
            case: self.loss(
                z_0, batch, t, noise, {n: everyone & (n in on) for n in [*names, "identity"]}
            )
            for case, on in cases.items()
        }

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """z_0 (B, C, h, w), scaled."""
        vae = self.frozen[0].to(pixels.device)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        return vae.encode(pixels).latent_dist.mode() * vae.config["scaling_factor"]

    def draw_rows(self, batch: int) -> dict[str, Tensor]:
        """For each net, which rows (B,) bool it steers: random rows, but always as many.

        Batches of changing sizes would make a CPU compile its convolutions anew all the time.
        """
        order = torch.randperm(batch)
        apart = round((self.mixture.identity + self.mixture.nothing) * batch)
        alone, steered = order[: round(self.mixture.identity * batch)], order[apart:]
        rows = {"identity": chosen(alone, batch)}
        for name, share in self.mixture.keep.items():
            mixed = steered[torch.randperm(len(steered))]
            rows[name] = chosen(mixed[: round(share * len(steered))], batch)
        return rows

    def loss(
        self,
        z_0: Tensor,
        batch: dict[str, Tensor],
        t: Tensor,
        noise: Tensor,
        rows: dict[str, Tensor],
    ) -> Tensor:
        """The velocity loss when each net steers its ``rows``."""
        abar = self.abar[t].view(-1, 1, 1, 1)
        z_t = abar.sqrt() * z_0 + (1 - abar).sqrt() * noise
        context = self.context(len(z_0))
        conditions = {n: batch[n].float() / 255 for n in self.controls if rows[n].any()}
        nets = {**self.controls, "identity": self.identity}
        conditions["identity"] = z_0
        down, mid = None, None
        for name, net in nets.items():
            on = rows[name].nonzero()[:, 0].to(z_t.device)
            if len(on):
                residuals = net(
                    z_t[on],
                    t[on],
                    encoder_hidden_states=context[on],
                    controlnet_cond=conditions[name][on],
                    return_dict=False,
                )
                down, mid = add_rows(down, mid, residuals, on, len(z_t))
        output = self.unet(
            z_t,
            t,
            encoder_hidden_states=context,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
        ).sample
        return velocity_loss(output, noise, z_0, abar)

    def configure_optimizers(self) -> dict:
        return adamw(self, learning_rate=self.hparams["learning_rate"], betas=(0.9, 0.99))


def chosen(rows: Tensor, batch: int) -> Tensor:
    """(B,) bool, True at ``rows``."""
    return torch.zeros(batch, dtype=torch.bool).index_fill(0, rows, True)


def add_rows(
    down: list[Tensor] | None, mid: Tensor | None, residuals: Residuals, on: Tensor, batch: int
) -> Residuals:
    """The sums ``down`` and ``mid`` (None is zero) with a net's residuals added in its rows."""
    more_down, more_mid = residuals

    def spread(total: Tensor | None, part: Tensor) -> Tensor:
        start = part.new_zeros((batch, *part.shape[1:])) if total is None else total
        return start.index_add(0, on, part)

    starts = down if down is not None else [None] * len(more_down)
    return [spread(s, r) for s, r in zip(starts, more_down, strict=True)], spread(mid, more_mid)
