"""Learning the identity ControlNet of a model that is there already, such as Stable Diffusion 1.5.

Only this ControlNet learns. Its condition is the latent z_0 of the picture itself, so that the
prediction of the frozen UNet becomes the picture that was given: "the identity function" of Piano
et al., arXiv 2403.14790. The paper prints no data, steps or rates; all numbers are ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

from camouflage.adapters.identity import identity_controlnet
from camouflage.denoise.guidance import predicted_latent
from camouflage.weights import load_model
from training.adapter_module import AdapterModule
from training.frozen import (
    Frozen,
    frozen_dtype,
    load_unet,
    noise_schedule,
    null_text,
    weights_folder,
    weights_sha256,
)
from training.losses import denoising_loss, signal_to_error_db


def identity_prediction(
    net: ControlNetModel | None,
    unet: UNet2DConditionModel,
    z_t: Tensor,
    t: Tensor,
    z_0: Tensor,
    context: Tensor,
) -> Tensor:
    """The output of ``unet`` for ``z_t`` (B, C, h, w), steered by ``net`` towards ``z_0``; float32.

    ``t`` is (B,) or without dimensions, ``context`` (B, tokens, dim). Without ``net`` it is the
    UNet alone, which is also what a fresh identity ControlNet gives.
    """
    down, mid = None, None
    if net is not None:
        down, mid = net(
            z_t, t, encoder_hidden_states=context, controlnet_cond=z_0, return_dict=False
        )
        down, mid = [level.to(unet.dtype) for level in down], mid.to(unet.dtype)
    output = unet(
        z_t.to(unet.dtype),
        t,
        encoder_hidden_states=context.to(unet.dtype),
        down_block_additional_residuals=down,
        mid_block_additional_residual=mid,
        return_dict=False,
    )[0]
    return output.float()


class IdentityModule(AdapterModule):
    """Denoising in the latent space of ``base``, by the loss that it was itself trained with.

    ``base`` is a name in the table of weights (``realistic-vision-5.1``) or a folder of diffusers'
    layout. The context is the null text alone, encoded once: at inference the identity row never
    has another, so nothing is gained by learning with prompts. ``min_snr_gamma`` None is the plain
    loss; 5 is what Hang et al. take. ``weights`` is an exported identity ControlNet to go on from.
    ``decay`` is the part of the steps, at the end, in which the learning rate falls.
    """

    part = "identity"

    def __init__(
        self,
        base: str,
        learning_rate: float = 1e-5,
        weight_decay: float = 1e-2,
        warmup_steps: int = 500,
        decay: float = 0.1,
        min_snr_gamma: float | None = None,
        gradient_checkpointing: bool = True,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        folder = weights_folder(base)
        unet = load_unet(folder)
        schedule = noise_schedule(folder)
        self.unet_sha256 = weights_sha256(folder / "unet")
        self.kind = schedule.config["prediction_type"]
        self.identity = identity_controlnet(unet).train()
        if weights is not None:
            trained = load_model(ControlNetModel, Path(weights), dtype=torch.float32)
            self.identity.load_state_dict(trained.state_dict())
        if gradient_checkpointing:  # through the UNet too: it is frozen, not constant
            self.identity.enable_gradient_checkpointing()
            unet.enable_gradient_checkpointing()
        self.frozen = Frozen([unet])
        self.to(memory_format=torch.channels_last)
        self.register_buffer("abar", schedule.alphas_cumprod, persistent=False)
        self.register_buffer("context", null_text(folder), persistent=False)

    @property
    def made_with(self) -> dict[str, Any]:
        return {"unet_sha256": self.unet_sha256}

    @property
    def unet(self) -> UNet2DConditionModel:
        """The frozen UNet, on the device of the rest."""
        return cast(UNet2DConditionModel, self.frozen[0].to(self.device))

    def setup(self, stage: str) -> None:
        dtype = frozen_dtype(self.trainer.precision)
        nn.Module.to(self.frozen[0], dtype)  # diffusers' own warns of parts that are not there

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        z_0 = batch["z_0"]
        t = torch.randint(0, len(self.abar), (len(z_0),), device=z_0.device)
        noise = torch.randn_like(z_0)
        output, _, abar = self.predict(z_0, t, noise)
        gamma = self.hparams["min_snr_gamma"]
        loss = denoising_loss(output, noise, z_0, abar, kind=self.kind, min_snr_gamma=gamma)
        self.samples += len(z_0) * self.trainer.world_size
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        for case, value in self.validation_measures(batch["z_0"], index).items():
            rows = len(batch["z_0"])
            self.log(f"val/{case}", value, prog_bar=True, batch_size=rows, sync_dist=True)

    def validation_measures(self, z_0: Tensor, index: int) -> dict[str, Tensor]:
        """The plain loss (``loss``), that of the UNet alone (``untrained``: a fresh net adds
        nothing), and ``from_noise_db``: how near z_0 the prediction is at the noisiest step, where
        nearly nothing of it is left in the input.

        Noise and timesteps follow from ``index``, so that two models are compared on the same.
        """
        generator = torch.Generator().manual_seed(index)
        noise = torch.randn(z_0.shape, generator=generator).to(z_0)
        steps = len(self.abar)
        t = (((torch.arange(len(z_0)) + 0.5) / len(z_0)) * steps).long().to(z_0.device)
        output, _, abar = self.predict(z_0, t, noise)
        alone = self.predict(z_0, t, noise, steered=False)[0]
        noisiest = torch.full_like(t, steps - 1)
        far, z_t, abar_far = self.predict(z_0, noisiest, noise)
        found = predicted_latent(z_t, far, abar_far.sqrt(), (1 - abar_far).sqrt(), self.kind)
        return {
            "loss": denoising_loss(output, noise, z_0, abar, kind=self.kind),
            "untrained": denoising_loss(alone, noise, z_0, abar, kind=self.kind),
            "from_noise_db": signal_to_error_db(found, z_0),
        }

    def predict(
        self, z_0: Tensor, t: Tensor, noise: Tensor, *, steered: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The model's output and its input z_t, (B, C, h, w) both, and abar_t, (B, 1, 1, 1)."""
        abar = self.abar[t].view(-1, 1, 1, 1)
        z_t = abar.sqrt() * z_0 + (1 - abar).sqrt() * noise
        context = self.context.expand(len(z_0), -1, -1)
        net = self.identity if steered else None
        return identity_prediction(net, self.unet, z_t, t, z_0, context), z_t, abar
