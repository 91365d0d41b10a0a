"""The image prompt: a Perceiver resampler and decoupled cross-attention, through diffusers' own
IP-Adapter.

Source: Ye et al. 2023, IP-Adapter, arXiv 2308.06721, in its "Plus" form; as CAMOUFLaGE-Light
(Piano et al., arXiv 2403.14790) uses it. The image tokens have keys and values of their own in
every cross-attention layer; what they give is added to what the text gives, times a scale.

diffusers keeps an attached adapter out of its configuration, so that ``save_pretrained`` loses it
on the next load. Here it is saved by itself, as ``ip_adapter.safetensors`` in the published layout,
which ``load_ip_adapter`` of any pipeline of diffusers reads too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.attention_processor import AttnProcessor2_0, IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import IPAdapterPlusImageProjection, MultiIPAdapterImageProjection
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from camouflage.errors import SettingError, WeightsError

FILE = "ip_adapter.safetensors"
TOKENS = 16
"""Image tokens of CAMOUFLaGE-Light, as its inference has them (its training code says 32)."""
DEPTH = 4
"""Blocks of the resampler; diffusers loads no other number."""
HEAD_WIDTH = 64
"""Width of a head of the resampler; diffusers loads no other."""


def attach_image_prompt(
    unet: UNet2DConditionModel, *, embed_dim: int, width: int = 768, tokens: int = TOKENS
) -> None:
    """A new image prompt on ``unet``: the resampler at random, keys and values the UNet's own.

    Args:
        unet: has none yet.
        embed_dim: width of the image encoder's tokens (768 for FaRL).
        width: of the resampler, a multiple of 64 (768 in CAMOUFLaGE-Light).
        tokens: into how many the picture is told.

    Raises:
        SettingError: the UNet has one already, or ``width`` is no multiple of 64.
    """
    if unet.encoder_hid_proj is not None:
        raise SettingError("this UNet has an image prompt already: detach_image_prompt it first")
    if width % HEAD_WIDTH or width < HEAD_WIDTH:
        raise SettingError(f"width: expected a multiple of {HEAD_WIDTH}, got {width}")
    resampler = IPAdapterPlusImageProjection(
        embed_dims=embed_dim,
        output_dims=unet.config["cross_attention_dim"],
        hidden_dims=width,
        depth=DEPTH,
        dim_head=HEAD_WIDTH,
        heads=width // HEAD_WIDTH,
        num_queries=tokens,
    )
    processors: Any = {name: _processor(unet, name, tokens) for name in unet.attn_processors}
    unet.set_attn_processor(processors)
    unet.encoder_hid_proj = MultiIPAdapterImageProjection([resampler])  # pyright: ignore
    unet.config.encoder_hid_dim_type = "ip_image_proj"  # pyright: ignore
    nn.Module.to(unet, device=unet.device, dtype=unet.dtype)


def _processor(unet: UNet2DConditionModel, name: str, tokens: int) -> nn.Module | AttnProcessor2_0:
    if not _is_cross(name):
        return AttnProcessor2_0()
    layer = unet.get_submodule(name.removesuffix(".processor"))
    keys, values = cast(nn.Linear, layer.to_k), cast(nn.Linear, layer.to_v)
    processor = IPAdapterAttnProcessor2_0(
        hidden_size=keys.out_features,
        cross_attention_dim=keys.in_features,
        num_tokens=(tokens,),  # type: ignore[arg-type]
        scale=1.0,  # type: ignore[arg-type]
    )
    processor.to_k_ip[0].load_state_dict({"weight": keys.weight})
    processor.to_v_ip[0].load_state_dict({"weight": values.weight})
    return processor


def _is_cross(name: str) -> bool:
    return name.endswith("attn2.processor")


def _cross_attentions(unet: UNet2DConditionModel) -> list[str]:
    return [name for name in unet.attn_processors if _is_cross(name)]


def detach_image_prompt(unet: UNet2DConditionModel) -> None:
    """The UNet as it was before; nothing happens to one without an image prompt."""
    unet.set_attn_processor(AttnProcessor2_0())
    unet.encoder_hid_proj = None
    unet.config.encoder_hid_dim_type = None  # pyright: ignore


@contextmanager
def image_prompt_detached(unet: UNet2DConditionModel) -> Iterator[None]:
    """Within it the UNet has no image prompt, after it the same again."""
    projection, kind = unet.encoder_hid_proj, unet.config.encoder_hid_dim_type  # pyright: ignore
    unet.encoder_hid_proj = None  # its attention is none of the UNet's
    processors: Any = dict(unet.attn_processors)
    try:
        detach_image_prompt(unet)
        yield
    finally:
        unet.set_attn_processor(processors)
        unet.encoder_hid_proj = projection
        unet.config.encoder_hid_dim_type = kind  # pyright: ignore


def resampler_of(unet: UNet2DConditionModel) -> IPAdapterPlusImageProjection:
    """The resampler of an attached image prompt. Raises `SettingError` if there is none."""
    if not isinstance(unet.encoder_hid_proj, MultiIPAdapterImageProjection):
        raise SettingError("this UNet has no image prompt; attach or load one first")
    return cast(IPAdapterPlusImageProjection, unet.encoder_hid_proj.image_projection_layers[0])


def image_attentions_of(unet: UNet2DConditionModel) -> dict[str, IPAdapterAttnProcessor2_0]:
    """The keys and values of the image in each cross-attention layer, by the layer's name."""
    return {
        name: processor
        for name, processor in unet.attn_processors.items()
        if isinstance(processor, IPAdapterAttnProcessor2_0)
    }


def set_image_prompt_scale(unet: UNet2DConditionModel, scale: float) -> None:
    """How much what the image gives counts beside the text; 0 equals no image prompt."""
    for processor in image_attentions_of(unet).values():
        processor.scale = [scale]  # pyright: ignore


def image_tokens(unet: UNet2DConditionModel, hidden: Tensor) -> Tensor:
    """What the image says to the UNet, (B, tokens, dim), of the encoder's (B, patches, width)."""
    resampler = resampler_of(unet)
    resampler.to(hidden.device)  # an offloaded UNet is brought back whole, its parts are not
    return resampler(hidden.to(resampler.proj_in.weight.dtype))


@contextmanager
def tokens_computed(unet: UNet2DConditionModel) -> Iterator[None]:
    """Within it the UNet takes `image_tokens`' result as its image, after it hidden states again.

    The tokens are constant over the steps, but diffusers would compute them at each.
    """
    own = unet.encoder_hid_proj
    try:
        unet.register_module("encoder_hid_proj", _Given())
        yield
    finally:
        unet.register_module("encoder_hid_proj", own)


class _Given(nn.Module):
    """In the place of the resampler: what comes in is tokens already."""

    def forward(self, image_embeds: list[Tensor]) -> list[Tensor]:
        return image_embeds


def image_prompt_state(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """The weights in the published layout: ``image_proj.*`` and ``ip_adapter.N.to_k_ip.weight``."""
    found = {f"image_proj.{k}": v for k, v in _published(resampler_of(unet).state_dict()).items()}
    attentions = image_attentions_of(unet)
    for place, name in enumerate(_cross_attentions(unet)):
        for kind in ("to_k_ip", "to_v_ip"):
            weight = getattr(attentions[name], kind)[0].weight
            found[f"ip_adapter.{2 * place + 1}.{kind}.weight"] = weight
    return {name: value.detach().contiguous() for name, value in found.items()}


def _published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The resampler's weights under the names of the IP-Adapter's own code."""
    names = {
        "ln0.": "0.norm1.",
        "ln1.": "0.norm2.",
        "attn.to_q.": "0.to_q.",
        "attn.to_out.0.": "0.to_out.",
        "ff.0.": "1.0.",
        "ff.1.net.0.proj.": "1.1.",
        "ff.1.net.2.": "1.3.",
    }
    found = {}
    for name, value in state.items():
        if not name.startswith("layers."):
            found[name] = value
            continue
        _, block, rest = name.split(".", 2)
        if rest == "attn.to_k.weight":
            both = [value, state[f"layers.{block}.attn.to_v.weight"]]
            found[f"layers.{block}.0.to_kv.weight"] = torch.cat(both)
        elif rest != "attn.to_v.weight":
            ours = next(start for start in names if rest.startswith(start))
            found[f"layers.{block}.{names[ours]}{rest.removeprefix(ours)}"] = value
    return found


def save_image_prompt(unet: UNet2DConditionModel, folder: Path) -> None:
    """Write :data:`FILE` into ``folder``, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(image_prompt_state(unet), folder / FILE)


@contextmanager
def _without_a_needless_warning() -> Iterator[None]:
    """diffusers' loader moves the UNet and then warns of modules to keep in float32: of none."""
    logger = logging.getLogger("diffusers.models.modeling_utils")
    before = logger.level
    try:
        logger.setLevel(logging.ERROR)
        yield
    finally:
        logger.setLevel(before)


def load_image_prompt(unet: UNet2DConditionModel, folder: Path) -> None:
    """Attach the image prompt in ``folder`` to ``unet``, through diffusers' own loader.

    Raises:
        WeightsError: the file is missing, damaged, or for another UNet.
    """
    path = folder / FILE
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{FILE}: missing, or no safetensors file") from error
    parts: dict[str, Any] = {"image_proj": {}, "ip_adapter": {}}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        if part not in parts:
            raise WeightsError(f"{FILE}: expected image_proj.* and ip_adapter.*, got {name}")
        parts[part][rest] = value
    numbers = {str(2 * place + 1) for place in range(len(_cross_attentions(unet)))}
    if extra := sorted({name.partition(".")[0] for name in parts["ip_adapter"]} - numbers):
        raise WeightsError(f"{FILE}: its weights are not for this UNet (no attention {extra})")
    try:
        with _without_a_needless_warning():
            unet._load_ip_adapter_weights([parts], low_cpu_mem_usage=False)
    except (KeyError, RuntimeError, ValueError, AttributeError) as error:
        detach_image_prompt(unet)
        raise WeightsError(
            f"{FILE}: its weights are not for this UNet, or not all there ({error})"
        ) from error
