"""Learning the image encoder of mini-light: to say of a face what a describer could say of it.

FaRL (Zheng et al. 2022, arXiv 2112.03109), the image encoder of CAMOUFLaGE-Light, learned from
faces with captions, and by masked image modelling. Synthetic faces have no captions. So the
embedding must tell landmarks (pose, expression, shape), attributes, and where which colours are,
and the tokens a coarse picture of their patch and, as in masked image modelling, of the patches
that were hidden. Who it is, it is never asked: near embeddings are faces that look alike, not faces
of one person. Masked image modelling alone was tried first, with a vision transformer: after
58,000 samples a linear probe of its tokens knew colours, but neither sex nor smiles.

All numbers are our choice.
"""

from __future__ import annotations

from itertools import islice

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camouflage.annotators.attributes.network import CLIP_MEAN, CLIP_STD
from camouflage.annotators.landmarks import MESH_INDICES, LandmarkNet
from camouflage.mini.image_encoder import TOKEN_LAYERS, SmallImageEncoder
from camouflage.weights import load_model, mini_folder
from training.schedules import adamw

CELLS = 8
"""Tokens a side; also the side of the coarse picture that the embedding must tell."""
FINE = 4
"""Side of the coarse picture that each token must tell of its patch."""


def normalised(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1] to what an encoder of the CLIP family reads."""
    mean, std = (pixels.new_tensor(v).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    return (pixels / 2 + 0.5 - mean) / std


def patches(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, 64, 48): of each patch, row by row, its picture of 4 x 4."""
    small = F.adaptive_avg_pool2d(pixels, CELLS * FINE)
    return F.unfold(small, FINE, stride=FINE).transpose(1, 2)


def hidden(pixels: Tensor, mask: Tensor) -> Tensor:
    """``pixels`` with 0, which is grey, in the patches of ``mask`` (B, 64) bool."""
    grid = mask.view(-1, 1, CELLS, CELLS).to(pixels.dtype)
    return pixels * (1 - F.interpolate(grid, pixels.shape[-2:], mode="nearest"))


@torch.no_grad()
def start_from(encoder: SmallImageEncoder, landmarker: LandmarkNet) -> None:
    """Body and features of the landmark network, whose first layer reads other numbers.

    With x = 2 (n s + m) - 1 for pixels n that are normalised by mean m and spread s, its weights
    are multiplied by 2 s and its bias gets what 2 m - 1 gave (but for the zeros at the border).
    """
    encoder.body.load_state_dict(landmarker.body.state_dict())
    encoder.features.load_state_dict(landmarker.head[1].state_dict())
    first = encoder.body[1]
    mean, std = (
        torch.tensor(v).repeat_interleave(16).view(1, -1, 1, 1) for v in (CLIP_MEAN, CLIP_STD)
    )
    first.bias += (first.weight * (2 * mean - 1)).sum((1, 2, 3))
    first.weight *= 2 * std


class ImageEncoderModule(L.LightningModule):
    """Starts from the landmark network of ``mini``, whose features know shapes already.

    A third of each batch is masked, ``mask_share`` of its patches.
    """

    def __init__(self, mask_share: float = 0.4, learning_rate: float = 1e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.encoder = SmallImageEncoder()
        start = load_model(LandmarkNet, mini_folder() / "landmarker", dtype=torch.float32)
        start_from(self.encoder, start)
        width = self.encoder.token_width
        embedding = self.encoder.config["projection_dim"]
        self.patch_of = nn.Linear(width, 3 * FINE**2)
        self.points_of = nn.Linear(embedding, 2 * len(MESH_INDICES))
        self.points_of.bias.data = start.mean_xy.flatten() - 0.5
        self.attributes_of = nn.Linear(embedding, 40)
        self.colours_of = nn.Linear(embedding, 3 * CELLS**2)

    @torch.no_grad()
    def on_fit_start(self) -> None:
        """The embedding starts as the principal components of the features, of equal spread.

        Without it all faces start with nearly one embedding, and it takes long to come apart.
        """
        if self.trainer.ckpt_path is not None:
            return
        loader = self.trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        encoder, found = self.encoder, []
        for batch in islice(loader, 20):
            pixels = normalised(batch["pixels"].to(self.device))
            found.append(encoder.described(encoder.body[:TOKEN_LAYERS](pixels)))
        features = torch.cat(found)
        if len(features) < encoder.config["projection_dim"]:
            raise ValueError(
                f"the embedding starts from at least {encoder.config['projection_dim']} faces, got "
                f"{len(features)}: raise batch_size or epoch_samples"
            )
        mean = features.mean(0)
        _, spread, axes = torch.linalg.svd(features - mean, full_matrices=False)
        count = encoder.config["projection_dim"]
        weight = axes[:count] / spread[:count, None] * len(features) ** 0.5
        encoder.visual_projection.weight.copy_(weight)
        encoder.visual_projection.bias.copy_(-weight @ mean)

    def losses(self, batch: dict[str, Tensor], mask: Tensor) -> dict[str, Tensor]:
        """Each loss by its name; ``mask`` (B, 64) bool is what the encoder does not see."""
        pixels = normalised(batch["pixels"])
        out = self.encoder(hidden(pixels, mask))
        points = (batch["points_xy"] + 0.5) / pixels.shape[-1] - 0.5
        wanted = batch["attributes"]
        known = wanted.isfinite()
        tell = F.normalize(out.image_embeds, dim=-1) * out.image_embeds.shape[-1] ** 0.5
        said = F.binary_cross_entropy_with_logits(
            self.attributes_of(tell), wanted.nan_to_num(0.0), reduction="none"
        )
        colours = F.adaptive_avg_pool2d(pixels, CELLS).flatten(1)
        return {
            "patches": (self.patch_of(out.hidden_states[-2]) - patches(pixels)).abs().mean(),
            "points": (self.points_of(tell) - points.flatten(1)).abs().mean(),
            "attributes": (said * known).sum() / known.sum().clamp_min(1),
            "colours": (self.colours_of(tell) - colours).abs().mean(),
        }

    def draw_mask(self, batch: int) -> Tensor:
        """(batch, 64) bool: equally many patches in each of the first third, none in the rest."""
        order = torch.rand(batch, CELLS**2).argsort(1)
        mask = order < round(self.hparams["mask_share"] * CELLS**2)
        mask[batch // 3 :] = False
        return mask

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        mask = self.draw_mask(len(batch["pixels"])).to(batch["pixels"].device)
        losses = self.losses(batch, mask)
        self.log_dict({f"train/{name}": value for name, value in losses.items()})
        return losses["patches"] + 20 * losses["points"] + losses["attributes"] + losses["colours"]

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        rows = len(batch["pixels"])
        nothing = torch.zeros((rows, CELLS**2), dtype=torch.bool, device=batch["pixels"].device)
        losses = self.losses(batch, nothing)
        found = {f"val/{name}": value for name, value in losses.items()}
        self.log_dict(found, prog_bar=True, batch_size=rows)

    def configure_optimizers(self) -> dict:
        return adamw(self, learning_rate=self.hparams["learning_rate"], weight_decay=0.05)
