"""Learning what CAMOUFLaGE-Light adds to a model that is there already: image prompt and adapter.

Source: Piano et al., arXiv 2403.14790, and its released code, for the loss (plain, of the base's
own kind), the frozen parts, the rates, the weight decay and the drops. Exactly three parts learn:
the resampler, the keys and values of the image in every cross-attention, the attribute adapter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import T2IAdapter, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer

from camouflage.adapters.attribute_adapter import adapter_features, attribute_adapter
from camouflage.adapters.image_prompt import (
    attach_image_prompt,
    image_attentions_of,
    image_tokens,
    load_image_prompt,
    resampler_of,
    tokens_computed,
)
from camouflage.annotators.image_encoder import (
    ImageEncoder,
    load_image_encoder,
    penultimate_of,
    side_of,
    token_width,
)
from camouflage.pipelines.light_encoder import sha256_of
from camouflage.weights import load_model
from training.adapter_module import AdapterModule
from training.frozen import (
    Frozen,
    frozen_dtype,
    load_autoencoder,
    load_unet,
    noise_schedule,
    null_text,
    weights_folder,
    weights_sha256,
)
from training.image_encoder import normalised
from training.losses import denoising_loss


@dataclass(frozen=True, kw_only=True)
class Drops:
    """Shares of the rows that learn without a condition: the scheme of IP-Adapter."""

    image: float = 0.05
    text: float = 0.05
    both: float = 0.05

    def drawn(self, rows: int) -> tuple[Tensor, Tensor]:
        """Without the image, without the text: (rows,) bool each."""
        draw = torch.rand(rows)
        image = draw < self.image
        text = (draw >= self.image) & (draw < self.image + self.text)
        both = (draw >= self.image + self.text) & (draw < self.image + self.text + self.both)
        return image | both, text | both


class LightModule(AdapterModule):
    """Resampler, image attention and attribute adapter on the frozen UNet of ``base``.

    Args:
        base: a name in the table of weights or a folder of diffusers' layout.
        image_encoder: likewise, of a ``CLIPVisionModelWithProjection`` (``farl``).
        resampler_width, tokens, adapter_blocks: their sizes; 768, 16 and 2 in the released code.
        learning_rate, weight_decay: as the released code has them. It has no schedule: ``decay``,
            the part of the steps at the end in which the rate falls, is ours, and 0 is none.
        min_snr_gamma: None is the plain loss.
        autoencoder: for batches of ``pixels`` (B, 3, H, W) in [-1, 1] in the place of ``z_0``.
        weights: an exported folder to go on from.

    A batch has ``z_0`` (B, C, h, w) or ``pixels``, ``maps`` (B, 41, h, w), and as it may be
    ``encoder_pixels`` (B, 3, S, S), normalised, and ``caption``, a text a row.
    """

    part = "light"

    def __init__(
        self,
        base: str,
        image_encoder: str,
        autoencoder: str | None = None,
        resampler_width: int = 768,
        tokens: int = 16,
        adapter_blocks: int = 2,
        drops: Drops = Drops(),
        learning_rate: float = 1e-4,
        weight_decay: float = 1e-2,
        warmup_steps: int = 1,
        decay: float = 0.0,
        min_snr_gamma: float | None = None,
        gradient_checkpointing: bool = True,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.drops = drops
        folder = weights_folder(base)
        unet, schedule = load_unet(folder), noise_schedule(folder)
        self.kind = schedule.config["prediction_type"]
        self.unet_sha256 = weights_sha256(folder / "unet")
        self.encoder_sha256 = sha256_of(weights_folder(image_encoder))
        encoder = load_image_encoder(weights_folder(image_encoder)).requires_grad_(False)
        if weights is None:
            width = token_width(encoder)
            attach_image_prompt(unet, embed_dim=width, width=resampler_width, tokens=tokens)
            self.adapter = attribute_adapter(unet, blocks=adapter_blocks)
        else:
            load_image_prompt(unet, Path(weights) / "ip_adapter")
            self.adapter = load_model(T2IAdapter, Path(weights) / "adapter", dtype=torch.float32)
        self.resampler = resampler_of(unet)
        self.attention = nn.ModuleList(image_attentions_of(unet).values())
        for part in (self.resampler, self.attention, self.adapter):
            part.train().requires_grad_(True)
        if gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        text = _TextEncoder(folder) if (folder / "text_encoder").is_dir() else nn.Identity()
        vae = nn.Identity() if autoencoder is None else load_autoencoder(autoencoder)
        self.frozen = Frozen([unet, encoder, text, vae])
        self.adapter.to(memory_format=torch.channels_last)
        self.register_buffer("abar", schedule.alphas_cumprod, persistent=False)
        self.register_buffer("null_context", null_text(folder), persistent=False)

    @property
    def made_with(self) -> dict[str, Any]:
        return {"unet_sha256": self.unet_sha256, "encoder_sha256": self.encoder_sha256}

    @property
    def unet(self) -> UNet2DConditionModel:
        """Frozen but for the image's keys and values in it, on the device of the rest."""
        return cast(UNet2DConditionModel, self.frozen[0].to(self.device))

    @property
    def encoder(self) -> ImageEncoder:
        """The frozen image encoder, likewise."""
        return cast(ImageEncoder, self.frozen[1].to(self.device))

    def setup(self, stage: str) -> None:
        dtype = frozen_dtype(self.trainer.precision)
        learning = {id(p) for p in self.parameters()}
        for module in self.frozen:
            for parameter in module.parameters():
                if id(parameter) not in learning:
                    parameter.data = parameter.data.to(dtype)

    def training_step(self, batch: dict[str, Any], index: int) -> Tensor:
        batch = self.complete(batch)
        z_0 = batch["z_0"]
        t = torch.randint(0, len(self.abar), (len(z_0),), device=z_0.device)
        without_image, without_text = self.drops.drawn(len(z_0))
        noise = torch.randn_like(z_0)
        output, abar = self.predict(batch, t, noise, without_image, without_text)
        gamma = self.hparams["min_snr_gamma"]
        loss = denoising_loss(output, noise, z_0, abar, kind=self.kind, min_snr_gamma=gamma)
        self.samples += len(z_0) * self.trainer.world_size
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Any], index: int) -> None:
        for case, value in self.validation_losses(batch, index).items():
            rows = len(batch["maps"])
            self.log(f"val/{case}", value, prog_bar=True, batch_size=rows, sync_dist=True)

    def validation_losses(self, batch: dict[str, Any], index: int) -> dict[str, Tensor]:
        """The plain loss with ``all``, without the picture (``no_image``), without the adapter
        (``no_adapter``) and without both (``neither``).

        Noise and timesteps follow from ``index``, so that two models are compared on the same.
        """
        batch = self.complete(batch)
        z_0 = batch["z_0"]
        generator = torch.Generator().manual_seed(index)
        noise = torch.randn(z_0.shape, generator=generator).to(z_0)
        steps = len(self.abar)
        t = (((torch.arange(len(z_0)) + 0.5) / len(z_0)) * steps).long().to(z_0.device)
        none = torch.zeros(len(z_0), dtype=torch.bool)
        cases = {"all": (none, True), "no_image": (~none, True), "no_adapter": (none, False)}
        cases["neither"] = (~none, False)
        losses = {}
        for case, (no_image, adapted) in cases.items():
            output, abar = self.predict(batch, t, noise, no_image, none, adapted=adapted)
            losses[case] = denoising_loss(output, noise, z_0, abar, kind=self.kind)
        return losses

    @torch.no_grad()
    def complete(self, batch: dict[str, Any]) -> dict[str, Any]:
        """``batch`` with ``z_0`` and ``encoder_pixels``, made of its ``pixels`` where missing."""
        found = dict(batch)
        if "z_0" not in found:
            vae = self.frozen[3].to(self.device)
            latents = vae.encode(found["pixels"]).latent_dist.mode()
            found["z_0"] = latents * vae.config["scaling_factor"]
        if "encoder_pixels" not in found:
            side = side_of(self.encoder)
            pixels = F.interpolate(found["pixels"], (side, side), mode="area")
            found["encoder_pixels"] = normalised(pixels)
        return found

    def predict(
        self,
        batch: dict[str, Any],
        t: Tensor,
        noise: Tensor,
        without_image: Tensor,
        without_text: Tensor,
        *,
        adapted: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """The model's output (B, C, h, w), and abar_t (B, 1, 1, 1)."""
        z_0, unet = batch["z_0"], self.unet
        abar = self.abar[t].view(-1, 1, 1, 1)
        z_t = abar.sqrt() * z_0 + (1 - abar).sqrt() * noise
        seen = batch["encoder_pixels"] * (~without_image).view(-1, 1, 1, 1).to(z_0)
        with torch.no_grad():
            hidden = penultimate_of(self.encoder, seen)
        tokens = image_tokens(unet, hidden)
        features = adapter_features(self.adapter, unet, batch["maps"]) if adapted else None
        with tokens_computed(unet):
            output = unet(
                z_t.to(unet.dtype),
                t,
                encoder_hidden_states=self.contexts(batch, without_text).to(unet.dtype),
                added_cond_kwargs={"image_embeds": [tokens[:, None].to(unet.dtype)]},
                down_intrablock_additional_residuals=features
                and [feature.to(unet.dtype) for feature in features],
                return_dict=False,
            )[0]
        return output.float(), abar

    def contexts(self, batch: dict[str, Any], without_text: Tensor) -> Tensor:
        """(B, tokens, dim): of the captions, of the null text where there is none."""
        null = self.null_context.expand(len(without_text), -1, -1)
        if "caption" not in batch or not isinstance(self.frozen[2], _TextEncoder):
            return null
        encoder = cast(_TextEncoder, self.frozen[2].to(self.device))
        pairs = zip(batch["caption"], without_text.tolist(), strict=True)
        return encoder(["" if drop else text for text, drop in pairs])


class _TextEncoder(nn.Module):
    """The frozen text encoder of a pipeline's folder."""

    def __init__(self, base: Path) -> None:
        super().__init__()
        self.tokenizer = CLIPTokenizer.from_pretrained(base, subfolder="tokenizer")
        encoder = load_model(CLIPTextModel, base / "text_encoder", dtype=torch.float32)
        self.encoder = encoder.requires_grad_(False)

    @torch.no_grad()
    def forward(self, texts: list[str]) -> Tensor:
        """(B, tokens, dim); a text beyond the encoder's length is cut."""
        tokens = self.tokenizer(
            texts,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return self.encoder(tokens.input_ids.to(self.encoder.device))[0]
