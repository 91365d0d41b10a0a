"""Learning one ControlNet that gives what several give together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from torch import Tensor
from torch.nn import functional as F

from camouflage.adapters.controls import Control, embeddings_computed, scalar
from camouflage.adapters.fused import fused_controlnet, read_fused_weights
from camouflage.denoise.guidance import Residuals, summed
from camouflage.denoise.latents import encode
from camouflage.pipelines.base import BasePipeline
from camouflage.weights import load_model
from training.adapter_module import AdapterModule
from training.frozen import Frozen, frozen_dtype, state_sha256


class FusedModule(AdapterModule):
    """A student net, of all maps at once, for the weighted sum of a pipeline's ControlNets.

    Args:
        pipeline: a size ("mini", "sd15") or a folder of `BasePipeline`, whose nets are the
            teachers.
        control_weights: name to weight in the sum; a missing one is the pipeline's own. Those of
            weight 0 are no part of it. The student stands for these weights and no others.
        learning_rate, weight_decay, warmup_steps, decay: our choice.
        weights: an exported net to go on from.

    The student's conditioning embedding, which is the teachers' side by side, learns in its last
    convolution only: the rest works at the maps' own size and would be most of the cost.

    A batch has ``z_0`` (B, C, h, w) or ``pixels`` (B, 3, H, W) in [-1, 1], for every control its
    map (B, 3, H, W) uint8, and as it may be ``caption``, a text a row. The loss is the squared
    error of the residuals, relative to the mean square of the teachers', averaged over levels.
    """

    part = "fused"

    def __init__(
        self,
        pipeline: str,
        control_weights: dict[str, float] | None = None,
        learning_rate: float = 5e-4,
        weight_decay: float = 1e-2,
        warmup_steps: int = 200,
        decay: float = 0.3,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        teacher = BasePipeline.from_pretrained(pipeline, dtype=torch.float32)
        self.control_weights = teacher.weights_in_use(control_weights)
        for part in teacher.components.values():
            if isinstance(part, torch.nn.Module):
                part.requires_grad_(False).to(memory_format=torch.channels_last)
        self.frozen = Frozen([teacher])
        self.student = fused_controlnet(list(self.teachers.values()))
        if weights is not None:
            self.load_student(Path(weights))
        self.student.train().requires_grad_(True).to(memory_format=torch.channels_last)
        embedding = self.student.controlnet_cond_embedding
        for part in (embedding.conv_in, embedding.blocks):
            part.requires_grad_(False)
        self.teachers_sha256 = state_sha256(self.teachers.values())
        schedule = teacher.scheduler.alphas_cumprod
        self.register_buffer("abar", schedule, persistent=False)

    @property
    def made_with(self) -> dict[str, Any]:
        return {
            "teachers_sha256": self.teachers_sha256,
            "control_weights": self.control_weights,
        }

    def load_student(self, folder: Path) -> None:
        """Goes on from an exported net; what of its embedding is the teachers' own stays theirs.

        Raises:
            ValueError: it stands for other weights than these.
        """
        found = read_fused_weights(folder, list(self.control_weights))
        if found != self.control_weights:
            raise ValueError(
                f"{folder.name} stands for the weights {found}, not for {self.control_weights}"
            )
        frozen = ("conv_in.", "blocks.")
        state = {
            name: value
            for name, value in load_model(ControlNetModel, folder, dtype=torch.float32)
            .state_dict()
            .items()
            if not name.startswith(tuple(f"controlnet_cond_embedding.{part}" for part in frozen))
        }
        self.student.load_state_dict(state, strict=False)

    @property
    def pipeline(self) -> BasePipeline:
        """The frozen teacher, on the device of the student."""
        pipe = cast(BasePipeline, self.frozen[0])
        return pipe if pipe.device == self.device else pipe.to(self.device)

    @property
    def teachers(self) -> dict[str, ControlNetModel]:
        """The nets in the sum, by the names of their controls."""
        pipe = cast(BasePipeline, self.frozen[0])
        nets = dict(zip(pipe.config["controls"], pipe.controlnet.nets, strict=True))
        return {name: cast(ControlNetModel, nets[name]) for name in self.control_weights}

    def setup(self, stage: str) -> None:
        self.frozen[0].to(frozen_dtype(self.trainer.precision))

    def training_step(self, batch: dict[str, Any], index: int) -> Tensor:
        rows = rows_of(batch)
        t = torch.randint(0, len(self.abar), (rows,), device=self.device)
        given, wanted = self.both(batch, *self.noised(batch, t, None), t)
        loss = torch.stack(relative_errors(given, wanted)).mean()
        self.samples += rows * self.trainer.world_size
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Any], index: int) -> None:
        for case, value in self.validation_errors(batch, index).items():
            rows = rows_of(batch)
            self.log(f"val/{case}", value, prog_bar=True, batch_size=rows, sync_dist=True)

    @torch.no_grad()
    def validation_errors(self, batch: dict[str, Any], index: int) -> dict[str, Tensor]:
        """Of the ``residuals`` as in training, and of the ``output``: the squared error of the
        UNet's output relative to what the controls change in it. 0 is the teachers' own.

        Noise and timesteps follow from ``index``, so that two models are compared on the same.
        """
        rows, last = rows_of(batch), len(self.abar) - 20
        t = torch.linspace(20, last, rows).long().to(self.device)
        z_t, context = self.noised(batch, t, torch.Generator().manual_seed(index))
        given, wanted = self.both(batch, z_t, context, t)
        outputs = [self.output(z_t, context, t, one) for one in (given, wanted, None)]
        error, effect = (outputs[i] - outputs[1] for i in (0, 2))
        return {
            "residuals": torch.stack(relative_errors(given, wanted)).mean(),
            "output": error.square().mean() / effect.square().mean(),
        }

    @torch.no_grad()
    def noised(
        self, batch: Mapping[str, Any], t: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """z_t (B, C, h, w) and the context (B, tokens, dim) of the captions."""
        pipe, captions = self.pipeline, batch.get("caption")
        if "z_0" in batch:
            z_0 = batch["z_0"]
        else:
            pixels = batch["pixels"].contiguous(memory_format=torch.channels_last)
            z_0 = encode(pipe.vae, pixels)
        noise = torch.randn(z_0.shape, generator=generator).to(z_0)
        abar = self.abar[t].view(-1, 1, 1, 1)
        texts = captions is not None and pipe.text_encoder is not None
        context = pipe.encode_texts(captions) if texts else pipe.null_text(len(z_0))
        return abar.sqrt() * z_0 + (1 - abar).sqrt() * noise, context.float()

    def both(
        self, batch: Mapping[str, Any], z_t: Tensor, context: Tensor, t: Tensor
    ) -> tuple[Residuals, Residuals]:
        """What the student gives, and the weighted sum of what the teachers give, float32.

        The maps go through the teachers' embeddings once: the student's own, up to its last
        convolution, is theirs side by side.
        """
        embedding = self.student.controlnet_cond_embedding
        features = {name: features_of(net, batch[name]) for name, net in self.teachers.items()}
        side_by_side = torch.cat(list(features.values()), dim=1).to(self.student.dtype)
        student = Control(
            net=self.student, embedding=embedding.conv_out(side_by_side), weight=scalar(1.0, z_t)
        )
        teachers = [
            Control(
                net=net,
                embedding=embedding_of(net, features[name]),
                weight=scalar(self.control_weights[name], z_t),
            )
            for name, net in self.teachers.items()
        ]
        with embeddings_computed([control.net for control in (student, *teachers)]):
            given = student.residuals(z_t, t, context)
            with torch.no_grad():
                wanted = summed([exact(one.residuals(z_t, t, context)) for one in teachers])
        return exact(given), wanted

    def output(self, z_t: Tensor, context: Tensor, t: Tensor, added: Residuals | None) -> Tensor:
        """The UNet's, float32 (B, C, h, w), with ``added`` or without any control."""
        unet = self.pipeline.unet
        down, mid = ([], None) if added is None else added
        return unet(
            z_t.to(unet.dtype),
            t,
            encoder_hidden_states=context.to(unet.dtype),
            down_block_additional_residuals=[part.to(unet.dtype) for part in down] or None,
            mid_block_additional_residual=mid if mid is None else mid.to(unet.dtype),
            return_dict=False,
        )[0].float()


def exact(residuals: Residuals) -> Residuals:
    """In float32, whatever the networks work in."""
    return [level.float() for level in residuals[0]], residuals[1].float()


def rows_of(batch: Mapping[str, Any]) -> int:
    """How many pictures there are in it."""
    return len(batch["z_0"] if "z_0" in batch else batch["pixels"])


@torch.no_grad()
def features_of(net: ControlNetModel, maps: Tensor) -> Tensor:
    """Maps (B, 3, H, W) uint8 through a net's conditioning embedding but for its last step."""
    embedding = net.controlnet_cond_embedding
    turned = net.config["controlnet_conditioning_channel_order"] == "bgr"
    values = (maps.flip(1) if turned else maps).to(net.dtype) / 255
    values = F.silu(embedding.conv_in(values.contiguous(memory_format=torch.channels_last)))
    for block in embedding.blocks:
        values = F.silu(block(values))
    return values


@torch.no_grad()
def embedding_of(net: ControlNetModel, features: Tensor) -> Tensor:
    """What `camouflage.adapters.controls.embed` gives, from :func:`features_of`."""
    embedding = net.controlnet_cond_embedding.conv_out(features)
    turned = net.config["controlnet_conditioning_channel_order"] == "bgr"
    return embedding.flip(1) if turned else embedding


def relative_errors(given: Residuals, wanted: Residuals) -> list[Tensor]:
    """Of each level: the squared error, relative to the mean square of what is wanted."""
    pairs = zip((*given[0], given[1]), (*wanted[0], wanted[1]), strict=True)
    return [
        (one - other).square().mean() / other.square().mean().clamp_min(1e-12)
        for one, other in pairs
    ]


CARD = """# Model card: fused ControlNet of `{pipeline}`

A `ControlNetModel` of diffusers that takes the maps of several controls as its channels and gives
the weighted sum of what their ControlNets give. Made by `python -m training.export fused`.

| | |
|---|---|
| controls, in the order of the channels, and weights | {weights} |
| distilled from | ControlNets of `{pipeline}`, sha256 {teachers}... |
| steps, samples | {steps:,}, {samples:,} |
| held-out error of the residuals, relative | {residuals} |
| held-out error of the UNet's output, relative to the controls' effect | {output} |

It stands for these weights and no others, and belongs to one UNet. What hides people less with the
nets themselves hides them no better with this one: measure it (`camouflage evaluate`).
"""


def fused_card(state: Mapping[str, Any]) -> str:
    """The text of README.md, from a checkpoint."""
    facts, measured = state["fused"], state["fused"]["measured"]
    weights = ", ".join(f"{name} {weight:g}" for name, weight in facts["control_weights"].items())
    figures = {
        case: f"{measured[f'val/{case}']:.4f}" if f"val/{case}" in measured else "not measured"
        for case in ("residuals", "output")
    }
    return CARD.format(
        pipeline=Path(state["hyper_parameters"]["pipeline"]).name,
        weights=weights,
        teachers=facts["teachers_sha256"][:16],
        steps=state["global_step"],
        samples=facts["samples"],
        **figures,
    )
