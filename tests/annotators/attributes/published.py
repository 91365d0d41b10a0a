"""FaRL's and FACER's networks as they are published: OpenAI's names, on torch alone, small.

Written from the description of the networks, and used as the reference for what is converted.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

WIDTH, LAYERS, HEADS, PATCH, SIDE, PROJECTION = 32, 3, 4, 8, 32, 24


class QuickGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        parts = {"c_fc": nn.Linear(width, 4 * width), "gelu": QuickGelu()}
        parts["c_proj"] = nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(OrderedDict(parts))

    def forward(self, x: Tensor) -> Tensor:
        seen = self.ln_1(x)
        x = x + self.attn(seen, seen, seen, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))


class Visual(nn.Module):
    """``hidden``: the tokens before the first block and after each."""

    def __init__(self, *, width: int, layers: int, heads: int, ends: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, PATCH, stride=PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.positional_embedding = nn.Parameter(torch.randn((SIDE // PATCH) ** 2 + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, heads)
        if ends:
            self.ln_post = nn.LayerNorm(width)
            self.proj = nn.Parameter(torch.randn(width, PROJECTION) * width**-0.5)

    def hidden(self, pixels: Tensor) -> list[Tensor]:
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(pixels), 1, -1)
        states = [self.ln_pre(torch.cat([first, patches], 1) + self.positional_embedding)]
        for block in self.transformer.resblocks:
            states.append(block(states[-1]))
        return states

    def forward(self, pixels: Tensor) -> Tensor:
        return self.ln_post(self.hidden(pixels)[-1][:, 0]) @ self.proj


class Head(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(1, 3, 1))
        self.norm_0, self.norm_1, self.norm_2 = (nn.LayerNorm(width) for _ in range(3))
        self.final_fc = nn.Linear(width, 40)

    def forward(self, tokens: Tensor) -> Tensor:
        side = SIDE // PATCH
        planes = tokens[:, 1:].transpose(1, 2).unflatten(2, (side, side))  # (N, C, s, s)
        mean, most = planes.mean((2, 3)), planes.amax((2, 3))
        share = self.weights.softmax(1)
        mixed = share[:, 0] * self.norm_0(mean) + share[:, 1] * self.norm_1(most)
        return self.final_fc(mixed + share[:, 2] * self.norm_2(tokens[:, 0]))


class Facer(nn.Module):
    """Of pixels that are normalised already."""

    def __init__(self, *, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.backbone = Visual(width=width, layers=layers, heads=heads, ends=False)
        self.head = Head(width)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.backbone.hidden(pixels)[-1]).sigmoid()


class Farl(nn.Module):
    """With something of the text beside it, and of the training, as in the checkpoint."""

    def __init__(self, *, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.visual = Visual(width=width, layers=layers, heads=heads)
        self.visual.lm_transformer = Transformer(width, 1, heads)
        self.transformer = Transformer(16, 1, 2)
        self.text_projection = nn.Parameter(torch.randn(16, PROJECTION))
        self.logit_scale = nn.Parameter(torch.zeros(()))


def varied(network: nn.Module) -> nn.Module:
    """``network`` with random numbers everywhere, also where one or zero would hide a mistake."""
    with torch.no_grad():
        for value in network.parameters():
            value.add_(torch.randn_like(value) * 0.2)
    return network.eval()
