"""A whole pipeline from a folder or a repository, checked before and after it is loaded."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError

from camouflage import weights
from camouflage.errors import SettingError, WeightsError

_Pipeline = TypeVar("_Pipeline")

CLASS_OF = {
    "tiny": "BasePipeline",
    "mini": "BasePipeline",
    "sd15": "BasePipeline",
    "mini-light": "LightPipeline",
    "sd15-light": "LightPipeline",
}
"""The pipeline of each size that has a name."""


def check_arguments(asked: type, name_or_path: str | Path, kwargs: dict[str, Any]) -> None:
    """Arguments of ``asked.from_pretrained`` as we allow them; ``use_safetensors=True`` is set.

    ``torch_dtype``, as diffusers called it for long, is ``dtype``.

    Raises:
        SettingError: ``use_safetensors=False``, ``trust_remote_code``, or a size of the other
            method.
    """
    require_class(asked, CLASS_OF.get(str(name_or_path)), str(name_or_path))
    if "torch_dtype" in kwargs:
        kwargs.setdefault("dtype", kwargs.pop("torch_dtype"))
    if not kwargs.setdefault("use_safetensors", True):
        raise SettingError("use_safetensors: weights are read from safetensors only")
    if kwargs.pop("trust_remote_code", False):
        raise SettingError("trust_remote_code: code that comes with weights is never run")


def require_class(asked: type, found: str | None, name: str) -> None:
    """Raise `SettingError` where the pipeline ``name`` is known to be of the other method."""
    if found in CLASS_OF.values() and found != asked.__name__:
        raise SettingError(f"{name} is a {found}: load it with {found}.from_pretrained")


def made(make: Callable[..., _Pipeline], name: str, kwargs: dict[str, Any]) -> _Pipeline:
    """What ``make`` puts together as the size ``name``.

    Raises `SettingError` for a keyword that it does not take.
    """
    given = {key: value for key, value in kwargs.items() if key != "use_safetensors"}
    try:
        inspect.signature(make).bind(**given)
    except TypeError as error:
        raise SettingError(f'"{name}": {error}') from error
    return make(**given)


def load_folder(
    asked: type, load: Callable[..., _Pipeline], name_or_path: str | Path, kwargs: dict[str, Any]
) -> tuple[_Pipeline, Path]:
    """What diffusers' own ``load`` makes of a folder, or of a repository of the hub, and where.

    ``asked``: the class that it shall be. ``kwargs``: those of
    ``DiffusionPipeline.from_pretrained``.

    Raises:
        SettingError: it is a pipeline of the other method.
        WeightsError: weights that are missing, damaged or not what their checksums say.
    """
    hub = {name: kwargs.pop(name) for name in weights.HUB_ARGUMENTS if name in kwargs}
    folder = weights.local_folder(name_or_path, variant=kwargs.get("variant"), **hub)
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    require_class(asked, index.get("_class_name"), folder.name)
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
