"""Published weights of FaRL and of FACER's attribute network, under the names that load here.

FaRL: Zheng et al. 2021, arXiv 2112.03109. FACER loads its file by ``torch.load`` as a state, with
no key too many, so that it is no TorchScript archive. Neither file could be downloaded where this
was written: names and shapes are those of the code that loads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from camouflage.annotators.attributes.names import CELEBA_ATTRIBUTES
from camouflage.annotators.attributes.visual import (
    renamed_visual,
    require_names,
    sizes_of,
    visual_names,
)
from camouflage.errors import WeightsError

if TYPE_CHECKING:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

_MODULE = "module."  # before each name of a network that was trained on several GPUs
_VISION = "vision_model."
_VISUAL = "visual."
_BACKBONE = "backbone."
_PROJECTION = "visual_projection.weight"
_HEAD = (
    "weights", "norm_0.weight", "norm_0.bias", "norm_1.weight", "norm_1.bias", "norm_2.weight",
    "norm_2.bias", "final_fc.weight", "final_fc.bias",
)  # fmt: skip


def farl_config() -> CLIPVisionConfig:
    """Of FaRL-Base: CLIP's ViT-B/16 for 224 px, with a projection to 512."""
    return _vision_config(
        hidden_size=768, intermediate_size=3072, layers=12, heads=12, side=224, patch=16,
        projection=512,
    )  # fmt: skip


def clip_vision_from_farl(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published checkpoint's ``state_dict`` for a ``CLIPVisionModelWithProjection``.

    ``state`` has the names of OpenAI's CLIP, ``visual.conv1.weight`` and so on, with or without
    ``visual.``. What belongs to the text, or only to the training, is left out. Raises
    `WeightsError` if something is missing.
    """
    prefix = _VISUAL if any(name.startswith(_VISUAL) for name in state) else ""
    visual = _under(prefix, state)
    require_names(visual, ["proj"], prefix=prefix)
    renamed = {f"{_VISION}{k}": v for k, v in renamed_visual(visual, after=True).items()}
    return renamed | {_PROJECTION: visual["proj"].T}


def farl_vision_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """FaRL's weights in any layout in which they are published, as `clip_vision_from_farl`.

    That of the authors' checkpoint, or that of transformers, a whole CLIP or its vision part with
    the projection; both also with ``module.`` before each name. Raises `WeightsError` if it is
    neither, or something is missing.
    """
    state = {name.removeprefix(_MODULE): value for name, value in state.items()}
    if any(name.startswith(_VISION) for name in state):
        names = [f"{_VISION}{name}" for name in visual_names(_under(_VISION, state))]
        require_names(state, [*names, _PROJECTION])
        return {name: state[name] for name in (*names, _PROJECTION)}
    if f"{_VISUAL}conv1.weight" in state or "conv1.weight" in state:
        return clip_vision_from_farl(state)
    raise WeightsError(
        f"expected a vision transformer of CLIP, with {_VISUAL}conv1.weight or "
        f"{_VISION}embeddings.patch_embedding.weight in it, got {sorted(state)[:3]}"
    )


def attribute_state_from_facer(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of FACER's ``face_attribute.farl.celeba.pt`` for an `AttributeNet`.

    Raises `WeightsError` if something is missing, or the head has other views or labels.
    """
    state = {name.removeprefix(_MODULE): value for name, value in state.items()}
    trunk = renamed_visual(_under(_BACKBONE, state), after=False)
    head = _under("head.", state)
    require_names(head, _HEAD, prefix="head.")
    labels, views = len(head["final_fc.bias"]), head["weights"].shape[1]
    if labels != len(CELEBA_ATTRIBUTES) or views != 3:
        raise WeightsError(
            f"another architecture: {labels} labels of {views} views, expected "
            f"{len(CELEBA_ATTRIBUTES)} of 3"
        )
    renamed = {f"trunk.{name}": value for name, value in trunk.items()}
    return renamed | {f"head.{name}": head[name] for name in _HEAD}


def read_farl(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """`farl_vision_state`, and the ``config.json`` that goes with it. Raises `WeightsError`."""
    found = farl_vision_state(state)
    projection = len(found[_PROJECTION])
    config = _vision_config(**sizes_of(_under(_VISION, found)), projection=projection)
    architecture = {"architectures": ["CLIPVisionModelWithProjection"]}
    return found, architecture | config.to_diff_dict()


def read_facer(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """`attribute_state_from_facer`, and its ``config.json``. Raises `WeightsError`."""
    found = attribute_state_from_facer(state)
    return found, {"_class_name": "AttributeNet", **sizes_of(_under("trunk.", found))}


def load_farl(folder: Path, *, dtype: torch.dtype = torch.float32) -> CLIPVisionModelWithProjection:
    """The image encoder from a local folder, for inference: as the hub has it, or as converted.

    The hub has a whole CLIP; its text part is left out. Raises `WeightsError` if files are missing
    or damaged, or weights and configuration do not go together.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    try:
        state = farl_vision_state(load_file(folder / "model.safetensors"))
        config = CLIPVisionConfig.from_pretrained(folder, local_files_only=True)
        config.projection_dim = len(state[_PROJECTION])  # a whole CLIP's may stand elsewhere
        encoder: Any = CLIPVisionModelWithProjection(config)
        encoder.load_state_dict(state)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"{folder.name}: weights of FaRL and their configuration are missing, damaged or do "
            f"not go together ({type(error).__name__}); fetch them again"
        ) from error
    except WeightsError as error:
        raise WeightsError(f"{folder.name}: {error}") from error
    return encoder.to(dtype=dtype).eval().requires_grad_(False)


def _vision_config(
    *,
    hidden_size: int,
    intermediate_size: int,
    layers: int,
    heads: int,
    side: int,
    patch: int,
    projection: int,
) -> CLIPVisionConfig:
    from transformers import CLIPVisionConfig

    return CLIPVisionConfig(
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=side,
        patch_size=patch,
        projection_dim=projection,
        hidden_act="quick_gelu",
    )


def _under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What begins with ``prefix``, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
