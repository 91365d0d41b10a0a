"""A CLIP vision transformer with the names of OpenAI's code, into the names of transformers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from camouflage.errors import WeightsError

HEAD_CHANNELS = 64
"""Channels of one attention head: every vision transformer of CLIP has width / 64 heads."""

_OUTER = {
    "class_embedding": "embeddings.class_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "ln_pre.weight": "pre_layrnorm.weight",  # so spelt there
    "ln_pre.bias": "pre_layrnorm.bias",
}
_AFTER = {"ln_post.weight": "post_layernorm.weight", "ln_post.bias": "post_layernorm.bias"}
_IN_A_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.")


def renamed_visual(state: Mapping[str, Tensor], *, after: bool) -> dict[str, Tensor]:
    """The tensors under the names of transformers' ``CLIPVisionModel``; others are left out.

    The one projection to queries, keys and values is cut into three. ``after``: with the norm after
    the last block. Raises `WeightsError` if some are missing.
    """
    names = _OUTER | (_AFTER if after else {})
    layers = layers_of(state, _BLOCK)
    for layer in range(layers):
        names |= _block_names(layer)
    joined = [f"transformer.resblocks.{n}.attn.in_proj_{end}" for n, end in _projections(layers)]
    require_names(state, [*names, *joined])
    renamed = {new: state[old] for old, new in names.items()}
    for (layer, end), old in zip(_projections(layers), joined, strict=True):
        for part, value in zip("qkv", state[old].chunk(3), strict=True):
            renamed[f"encoder.layers.{layer}.self_attn.{part}_proj.{end}"] = value
    return renamed


def visual_names(state: Mapping[str, Tensor]) -> list[str]:
    """What a ``CLIPVisionModel`` of as many blocks as ``state`` has must hold."""
    layers = layers_of(state, re.compile(r"encoder\.layers\.(\d+)\."))
    names = [*_OUTER.values(), *_AFTER.values()]
    for layer in range(layers):
        names += _block_names(layer).values()
        names += [
            f"encoder.layers.{layer}.self_attn.{part}_proj.{end}"
            for part in "qkv"
            for end in ("weight", "bias")
        ]
    return names


def sizes_of(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Width, blocks, heads, patch and side in px of a state with the names of transformers."""
    width, _, patch, _ = state["embeddings.patch_embedding.weight"].shape
    tokens = len(state["embeddings.position_embedding.weight"])
    return {
        "hidden_size": width,
        "intermediate_size": len(state["encoder.layers.0.mlp.fc1.bias"]),
        "layers": layers_of(state, re.compile(r"encoder\.layers\.(\d+)\.")),
        "heads": max(width // HEAD_CHANNELS, 1),
        "side": round((tokens - 1) ** 0.5) * patch,
        "patch": patch,
    }


def layers_of(state: Iterable[str], block: re.Pattern[str]) -> int:
    """How many blocks there are: one more than the greatest number in a name, at least one."""
    return 1 + max((int(found[1]) for found in map(block.match, state) if found), default=0)


def require_names(state: Mapping[str, Tensor], names: Iterable[str], *, prefix: str = "") -> None:
    """Raise `WeightsError` that says which of ``names`` are missing; ``prefix`` is put before."""
    if missing := sorted(f"{prefix}{name}" for name in names if name not in state):
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise WeightsError(f"another architecture: {', '.join(missing[:5])}{more} not in it")


def _block_names(layer: int) -> dict[str, str]:
    return {
        f"transformer.resblocks.{layer}.{old}.{end}": f"encoder.layers.{layer}.{new}.{end}"
        for old, new in _IN_A_BLOCK.items()
        for end in ("weight", "bias")
    }


def _projections(layers: int) -> list[tuple[int, str]]:
    return [(layer, end) for layer in range(layers) for end in ("weight", "bias")]
