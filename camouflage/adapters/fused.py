"""One ControlNet in the place of several: all their maps in, the weighted sum of their residuals
out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from torch import Tensor, nn

from camouflage.errors import WeightsError

WEIGHTS_FILE = "fused_weights.json"
"""Beside an exported net: the weight in its sum of each control by name, in the order of its maps.
"""


def fused_controlnet(nets: Sequence[ControlNetModel]) -> ControlNetModel:
    """A new net that takes the maps of all ``nets``, in their order, as channels.

    A stock ``ControlNetModel`` with ``3 n`` conditioning channels (15 for five nets). Its
    conditioning embedding is as wide as theirs together and starts as exactly the sum of theirs; it
    is computed once a picture. The rest, which is computed at each step, is a copy of the first
    net's, so that it must be trained (`training.fused`) to give the sum of their residuals.

    The idea, a net distilled from several, is ours to try; no paper gives its form.
    """
    first = nets[0]
    widths = first.config["conditioning_embedding_out_channels"]
    channels = sum(net.config["conditioning_channels"] for net in nets)
    made: Any = ControlNetModel.from_config(
        first.config,
        conditioning_channels=channels,
        conditioning_embedding_out_channels=[len(nets) * width for width in widths],
        controlnet_conditioning_channel_order="rgb",
    )
    embedding = made.controlnet_cond_embedding
    rest = {
        name: value
        for name, value in first.state_dict().items()
        if not name.startswith("controlnet_cond_embedding.")
    }
    made.load_state_dict(rest, strict=False)
    _side_by_side(embedding.conv_in, [_first_convolution(net) for net in nets])
    for index, block in enumerate(embedding.blocks):
        theirs: Any = [net.controlnet_cond_embedding.blocks[index] for net in nets]
        _side_by_side(block, theirs)
    _summed(embedding.conv_out, [net.controlnet_cond_embedding.conv_out for net in nets])
    return made.to(first.dtype)


def fused_condition(maps: Sequence[Tensor]) -> Tensor:
    """The condition of a fused net, (B, 3 n, H, W), of its maps, (B, 3, H, W) each, in order."""
    return torch.cat(list(maps), dim=1)


def write_fused_weights(folder: Path, weights: dict[str, float]) -> None:
    """What :func:`read_fused_weights` reads."""
    text = json.dumps(weights, indent=2) + "\n"
    (folder / WEIGHTS_FILE).write_text(text, encoding="utf-8")


def read_fused_weights(folder: Path, controls: Sequence[str]) -> dict[str, float]:
    """The weights that an exported net stands for, of ``controls``, which are in order.

    Raises `WeightsError` if they cannot be read, or are of other controls or in another order.
    """
    try:
        text = (folder / WEIGHTS_FILE).read_text(encoding="utf-8")
        weights = {str(name): float(weight) for name, weight in json.loads(text).items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise WeightsError(
            f"fused_controlnet: expected {WEIGHTS_FILE} in {folder.name}, a weight for each control"
        ) from error
    if list(weights) != [name for name in controls if name in weights]:
        raise WeightsError(
            f"fused_controlnet: its maps are {list(weights)}, in this order; expected some of "
            f"{list(controls)}, in theirs"
        )
    return weights


def _first_convolution(net: ControlNetModel) -> nn.Conv2d:
    """For maps in the order red, green, blue, whatever the net's own is."""
    convolution = net.controlnet_cond_embedding.conv_in
    if net.config["controlnet_conditioning_channel_order"] == "rgb":
        return convolution
    turned = nn.Conv2d(convolution.in_channels, convolution.out_channels, 3, padding=1)
    turned.load_state_dict(convolution.state_dict())
    turned.weight.data = turned.weight.data.flip(1)
    return turned


@torch.no_grad()
def _side_by_side(wide: nn.Conv2d, narrow: Sequence[nn.Conv2d]) -> None:
    """``wide`` does to each group of channels what its one of ``narrow`` does."""
    wide.weight.zero_()
    row = column = 0
    for one in narrow:
        rows, columns = one.weight.shape[:2]
        wide.weight[row : row + rows, column : column + columns] = one.weight
        row, column = row + rows, column + columns
    wide.bias.copy_(torch.cat([one.bias for one in narrow]))  # type: ignore[arg-type]


@torch.no_grad()
def _summed(wide: nn.Conv2d, narrow: Sequence[nn.Conv2d]) -> None:
    """``wide`` gives the sum of what ``narrow`` give of their groups of channels."""
    wide.weight.copy_(torch.cat([one.weight for one in narrow], dim=1))
    wide.bias.copy_(torch.stack([one.bias for one in narrow]).sum(0))  # type: ignore[arg-type]
