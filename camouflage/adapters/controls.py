"""ControlNets at work in one run: weight, part of the run, and their embedding computed once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from torch import Tensor, nn

from camouflage.windows import lies_within

Residuals = tuple[list[Tensor], Tensor]
"""What ControlNets add to the UNet: one tensor a level on the way down, one in the middle."""

_PASS = nn.Identity()  # one object for all runs: a compiled net sees the same module again


@dataclass(frozen=True, kw_only=True)
class Control:
    """One ControlNet in one run.

    Attributes:
        net: used inside :func:`embeddings_computed` only.
        embedding: of the condition, by :func:`embed`, (B, channels, h, w), of the net's dtype.
        weight: of its residuals, a tensor without dimensions (a number would recompile a compiled
            net for each value).
        start, end: the part of the run, in [0, 1], in which it is on.
        every: it is computed at every n-th step, and where it starts or the text changes; in
            between its last residuals are used again.
    """

    net: ControlNetModel
    embedding: Tensor
    weight: Tensor
    start: float = 0.0
    end: float = 1.0
    every: int = 1
    _kept: list[tuple[Tensor, Residuals]] = field(default_factory=list, init=False, repr=False)

    def is_active(self, step: int, steps: int) -> bool:
        """Whether ``step``, from 0, of ``steps`` lies wholly inside start to end."""
        return lies_within(step, steps, self.start, self.end)

    def residuals(self, z_t: Tensor, t: Tensor, context: Tensor, step: int = 0) -> Residuals:
        """What the net adds to the UNet, down and middle, times its weight.

        ``z_t`` (rows * B, C, h, w) and ``context`` (rows * B, tokens, dim) may hold the batch
        several times over. ``step`` counts from 0. What is kept is used again for the very same
        ``context`` only.
        """
        if step % self.every and self._kept and self._kept[0][0] is context:
            return self._kept[0][1]
        rows, dtype = len(z_t) // len(self.embedding), self.embedding.dtype
        found = self.net(
            z_t.to(dtype),
            t,
            encoder_hidden_states=context.to(dtype),
            controlnet_cond=self.embedding.repeat(rows, 1, 1, 1),
            conditioning_scale=self.weight,
            return_dict=False,
        )
        if self.every > 1:
            self._kept[:] = [(context, found)]
        return found


def embed(net: ControlNetModel, condition: Tensor) -> Tensor:
    """The conditioning embedding of ``condition``, ready for a net without its embedding.

    ``condition`` is (B, 3, H, W) in [0, 1] for a map, (B, C, h, w) for a latent. A net of channel
    order "bgr" turns the channels of whatever it gets, so they are turned here before and after.
    """
    turned = net.config["controlnet_conditioning_channel_order"] == "bgr"
    condition = condition.to(net.dtype)
    embedding = net.controlnet_cond_embedding(condition.flip(1) if turned else condition)
    return embedding.flip(1) if turned else embedding


@contextmanager
def embeddings_computed(nets: Iterable[ControlNetModel]) -> Iterator[None]:
    """Within it the nets take :func:`embed`'s result as their condition, after it a map again.

    The embedding is constant over the steps and a good part of a net's cost at full resolution.
    """
    nets = list(nets)
    own = [net.controlnet_cond_embedding for net in nets]
    try:
        for net in nets:
            net.register_module("controlnet_cond_embedding", _PASS)
        yield
    finally:
        for net, embedding in zip(nets, own, strict=True):
            net.register_module("controlnet_cond_embedding", embedding)


def scalar(value: float, like: Tensor) -> Tensor:
    """``value`` as a tensor without dimensions on the device of ``like``."""
    return torch.tensor(value, dtype=torch.float32, device=like.device)
