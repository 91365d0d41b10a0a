"""A whole pipeline from a folder or a repository, checked before and after it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError

from camouflage import weights
from camouflage.errors import SettingError, WeightsError

_Pipeline = TypeVar("_Pipeline")


def check_arguments(kwargs: dict[str, Any]) -> None:
    """Keywords of ``from_pretrained`` as we allow them; ``use_safetensors=True`` is set.

    Raises:
        SettingError: ``use_safetensors=False`` or ``trust_remote_code``.
    """
    if not kwargs.setdefault("use_safetensors", True):
        raise SettingError("use_safetensors: weights are read from safetensors only")
    if kwargs.pop("trust_remote_code", False):
        raise SettingError("trust_remote_code: code that comes with weights is never run")


def load_folder(
    load: Callable[..., _Pipeline], name_or_path: str | Path, kwargs: dict[str, Any]
) -> tuple[_Pipeline, Path]:
    """What diffusers' own ``load`` makes of a folder, or of a repository of the hub, and where.

    ``kwargs``: those of ``DiffusionPipeline.from_pretrained``.

    Raises:
        WeightsError: weights that are missing, damaged or not what their checksums say.
    """
    hub = {name: kwargs.pop(name) for name in weights.HUB_ARGUMENTS if name in kwargs}
    folder = weights.local_folder(name_or_path, variant=kwargs.get("variant"), **hub)
    try:
        pipeline: Any = load(folder, **kwargs)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{folder.name}: a part is missing, damaged or no safetensors file "
            f"({type(error).__name__})"
        ) from error
    for part, module in pipeline.components.items():
        if isinstance(module, torch.nn.Module):  # diffusers only logs what is missing
            weights.check_loaded(module, f"{folder.name}: {part}")
    return pipeline, folder
