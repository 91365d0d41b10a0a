"""dlib's face recognition network, read from dlib's own file and run by PyTorch.

Davis King, "High Quality Face Recognition with Deep Metric Learning", blog.dlib.net, 2017: a
ResNet-34 with fewer layers and half the filters. dlib itself runs it on one core without a BLAS as
its packages are built; the same numbers come many times sooner from here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from camouflage.errors import WeightsError

MEANS_RGB = (122.782, 117.001, 104.298)  # dlib, input_rgb_image: its defaults, those of the file
BLOCKS = ((32, False),) * 3 + ((64, True),) + ((64, False),) * 3
BLOCKS += ((128, True),) + ((128, False),) * 2 + ((256, True),) + ((256, False),) * 2
BLOCKS += ((256, True),)
"""Filters of each residual block, and whether it halves the sides: dlib's `anet_type`."""
CONVOLUTIONS = 1 + 2 * len(BLOCKS)


class Block(nn.Module):
    """Two convolutions and what came in, which dlib fills up with zeros to the same shape."""

    def __init__(self, inputs: int, filters: int, *, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        stride, padding = (2, 0) if halves else (1, 1)
        self.first = nn.Conv2d(inputs, filters, 3, stride=stride, padding=padding)
        self.second = nn.Conv2d(filters, filters, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(functional.relu(self.first(x)))
        if self.halves:
            x = functional.avg_pool2d(x, 2)
        channels = y.shape[1] - x.shape[1]
        high, wide = (max(a, b) for a, b in zip(x.shape[2:], y.shape[2:], strict=True))
        x = functional.pad(x, (0, wide - x.shape[3], 0, high - x.shape[2], 0, channels))
        y = functional.pad(y, (0, wide - y.shape[3], 0, high - y.shape[2]))
        return functional.relu(x + y)


class DlibNetwork(nn.Module):
    """Chips (N, 3, 150, 150) float RGB in [0, 255] -> embeddings (N, 128)."""

    means: Tensor

    def __init__(self) -> None:
        super().__init__()
        widths = [32, *(filters for filters, _ in BLOCKS)]
        self.stem = nn.Conv2d(3, 32, 7, stride=2)
        self.blocks = nn.Sequential(
            *(
                Block(inputs, filters, halves=halves)
                for inputs, (filters, halves) in zip(widths, BLOCKS, strict=False)
            )
        )
        self.head = nn.Linear(widths[-1], 128, bias=False)
        self.register_buffer("means", torch.tensor(MEANS_RGB)[:, None, None], persistent=False)

    def forward(self, chips: Tensor) -> Tensor:
        x = functional.relu(self.stem((chips - self.means) / 256))
        x = self.blocks(functional.max_pool2d(x, 3, stride=2))
        return self.head(x.mean((2, 3)))

    @classmethod
    def load(cls, path: Path) -> DlibNetwork:
        """From dlib's file of the network, in inference mode.

        Raises `WeightsError` if the file holds another network.
        """
        network, content = cls(), path.read_bytes()
        filters = list(_parameters(content, b"con_4"))
        scales = list(_parameters(content, b"affine_"))
        heads = list(_parameters(content, b"fc_2", before=2))
        if (len(filters), len(scales), len(heads)) != (CONVOLUTIONS, CONVOLUTIONS, 1):
            raise WeightsError(
                f"{path.name}: expected {CONVOLUTIONS} convolutions with as many scales, and one "
                f"head, got {len(filters)}, {len(scales)} and {len(heads)}: it is another network"
            )
        convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        with torch.no_grad():
            for layer, filter_, scale in zip(convolutions, filters, scales, strict=True):
                _fill(layer, filter_, scale, name=path.name)
            network.head.weight.copy_(heads[0].reshape(network.head.weight.T.shape).T)
        return network.eval().requires_grad_(False)


def _fill(layer: nn.Conv2d, filters: Tensor, scales: Tensor, *, name: str) -> None:
    """The layer from dlib's: filters, then biases; and the scale and shift after it."""
    size, outputs = layer.weight.numel(), layer.out_channels
    if len(filters) != size + outputs or len(scales) != 2 * outputs:
        raise WeightsError(
            f"{name}: expected a convolution of {size + outputs} and {2 * outputs} numbers, got "
            f"{len(filters)} and {len(scales)}: it is another network"
        )
    scale, shift = scales[:outputs], scales[outputs:]
    layer.weight.copy_(filters[:size].reshape(layer.weight.shape) * scale[:, None, None, None])
    assert layer.bias is not None  # noqa: S101  it was made with one
    layer.bias.copy_(filters[size:] * scale + shift)


def _parameters(content: bytes, kind: bytes, *, before: int = 0) -> Iterator[Tensor]:
    """The parameters of all layers of a kind, each flat, in the order of computation.

    dlib's format: the layer's name with its length; ``before`` integers; then a tensor: its
    version, 2, its four dimensions, and as many floats, little-endian.
    """
    mark = bytes([1, len(kind)]) + kind
    at = content.find(mark)
    while at >= 0:
        position = at + len(mark)
        for _ in range(before):
            _, position = _integer(content, position)
        numbers = []
        for _ in range(5):
            number, position = _integer(content, position)
            numbers.append(number)
        count = int(np.prod(numbers[1:]))
        end = position + struct.calcsize(f"<{count}f")
        if numbers[0] != 2 or end > len(content):
            raise WeightsError(f"expected a tensor of dlib's second version, got {numbers}")
        yield torch.from_numpy(np.frombuffer(content[position:end], "<f4").astype(np.float32))
        at = content.find(mark, end)


def _integer(content: bytes, position: int) -> tuple[int, int]:
    """dlib's: a byte with the count of bytes and the sign, then those bytes; and where it ends."""
    if position >= len(content):
        raise WeightsError("dlib's file of the recogniser ends within a layer: install it anew")
    head = content[position]
    end = position + 1 + (head & 0x0F)
    number = int.from_bytes(content[position + 1 : end], "little")
    return (-number if head & 0x80 else number), end
