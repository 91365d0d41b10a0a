"""Forty attributes of an aligned face, by FACER's network: a CLIP vision transformer and a head.

The trunk is FaRL (Zheng et al. 2021, arXiv 2112.03109), fine-tuned on CelebA by FACER's authors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from camouflage.annotators.attributes.align import aligned, facer_template, five_points
from camouflage.annotators.attributes.names import CELEBA_ATTRIBUTES
from camouflage.errors import NonFiniteResult, SettingError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Of RGB in [0, 1], as CLIP was trained (Radford et al. 2021, arXiv 2103.00020)."""


class AttributeReader(Protocol):
    """Any network of attributes: FACER's, or the small one of mini-light.

    ``template`` (5, 2): where the five points of a face are in its square of ``side`` px, from the
    pixels' edges.
    """

    side: int
    template: NDArray[np.float64]

    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    def __call__(self, pixels: Tensor) -> Tensor:
        """(N, 3, side, side) in [0, 1] to (N, 40) float32 in [0, 1]."""
        ...


class AttributeNet(ModelMixin, ConfigMixin):
    """Probabilities of `CELEBA_ATTRIBUTES`: (N, 3, side, side) in [0, 1] to (N, 40) float32.

    Args:
        hidden_size, intermediate_size, layers, heads, side, patch, activation: of the vision
            transformer; the defaults are FaRL's, CLIP's ViT-B/16.
        mean, std: of the three colours in [0, 1].
        template_xy: where the five points of a face are, (5, 2) px of the square from the pixels'
            edges; FACER's if not given.
        live: the attributes that the weights know. The channels of all others are exactly 0.

    Raises `SettingError` for an attribute that is none, and for a template that is not (5, 2).
    """

    @register_to_config
    def __init__(
        self,
        hidden_size: int = 768,
        intermediate_size: int = 3072,
        layers: int = 12,
        heads: int = 12,
        side: int = 224,
        patch: int = 16,
        activation: str = "quick_gelu",
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
        template_xy: Sequence[Sequence[float]] | None = None,
        live: Sequence[str] = CELEBA_ATTRIBUTES,
    ) -> None:
        super().__init__()
        if unknown := sorted(set(live) - set(CELEBA_ATTRIBUTES)):
            raise SettingError(f"live: expected names of CELEBA_ATTRIBUTES, got {unknown}")
        self.side = side
        self.template = facer_template(side) if template_xy is None else five_points(template_xy)
        self.trunk = _trunk(
            hidden_size=hidden_size,
            intermediate_size=intermediate_size,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            image_size=side,
            patch_size=patch,
            hidden_act=activation,
        )
        self.head = _Head(hidden_size, len(CELEBA_ATTRIBUTES))
        is_live = torch.tensor([name in live for name in CELEBA_ATTRIBUTES])
        self.register_buffer("is_live", is_live, persistent=False)
        self.register_buffer("colour_mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("colour_std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 40) float32 in [0, 1]; exactly 0 in the channels that are not live."""
        normalised = (pixels - self.colour_mean) / self.colour_std
        tokens = self.trunk(pixel_values=normalised).last_hidden_state  # (N, 1 + patches, C)
        probabilities = self.head(tokens).float().sigmoid()
        return torch.where(self.is_live, probabilities, torch.zeros_like(probabilities))


class _Head(nn.Module):
    """One logit an attribute, of a mean of three views of the tokens (N, 1 + patches, C).

    logits = W sum_i softmax(w)_i norm_i(v_i) + b, with v the mean of the patches, their greatest
    values, and the class token. Names of weights are FACER's.
    """

    def __init__(self, channels: int, labels: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(1, 3, 1))
        self.norm_0 = nn.LayerNorm(channels)
        self.norm_1 = nn.LayerNorm(channels)
        self.norm_2 = nn.LayerNorm(channels)
        self.final_fc = nn.Linear(channels, labels)

    def forward(self, tokens: Tensor) -> Tensor:
        patches = tokens[:, 1:]
        views = (
            self.norm_0(patches.mean(1)),
            self.norm_1(patches.amax(1)),
            self.norm_2(tokens[:, 0]),
        )
        mixed = (torch.stack(views, 1) * self.weights.softmax(1)).sum(1)  # (N, C)
        return self.final_fc(mixed)


def _trunk(**settings: int | str) -> nn.Module:
    """The tokens after the last block. The norm after them is none of FACER's, and left out."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    model = CLIPVisionModel(CLIPVisionConfig(**settings))  # type: ignore[arg-type]
    trunk: Any = getattr(model, "vision_model", model)  # older transformers: a level deeper
    trunk.post_layernorm = nn.Identity()
    return trunk


@torch.no_grad()
def predict_attributes(
    net: AttributeReader,
    pictures: Sequence[NDArray[np.uint8]],
    points_xy: Sequence[ArrayLike],
    *,
    batch_size: int = 32,
) -> NDArray[np.float32]:
    """(N, 40) probabilities of the attributes of N faces, on the net's device, in its precision.

    Args:
        net: the network.
        pictures: (H, W, 3) RGB uint8, one a face; one with several faces is given several times.
        points_xy: (5, 2) a face, pixel centres at whole numbers.
        batch_size: faces at once.

    Raises:
        SettingError: not as many faces as pictures, no batch, or what `aligned` does not take.
        NonFiniteResult: the network does not give numbers.
    """
    if len(pictures) != len(points_xy):
        raise SettingError(f"got {len(pictures)} pictures and the points of {len(points_xy)} faces")
    if batch_size < 1:
        raise SettingError(f"batch_size: expected at least 1, got {batch_size}")
    found = [np.zeros((0, len(CELEBA_ATTRIBUTES)), np.float32)]
    for start in range(0, len(pictures), batch_size):
        batch = slice(start, start + batch_size)
        found.append(_of_batch(net, pictures[batch], points_xy[batch]))
    return np.concatenate(found)


def _of_batch(
    net: AttributeReader, pictures: Sequence[NDArray[np.uint8]], points_xy: Sequence[ArrayLike]
) -> NDArray[np.float32]:
    squares = [
        aligned(picture, points, template_xy=net.template, side=net.side)
        for picture, points in zip(pictures, points_xy, strict=True)
    ]
    batch = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).to(net.device)
    probabilities = net(batch.to(net.dtype) / 255).cpu().numpy()
    if not np.isfinite(probabilities).all():
        raise NonFiniteResult("the attribute network returned values that are not finite")
    return probabilities
