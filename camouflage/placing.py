"""Where a recipe's model runs, and in which numbers: the pipeline, loaded and ready."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camouflage import weights
from camouflage.errors import SettingError
from camouflage.recipe import BaseRecipe, Recipe

if TYPE_CHECKING:
    import torch

    from camouflage.pipelines.base import BasePipeline
    from camouflage.pipelines.light import LightPipeline

MOST_COMPILED = 128
"""Kinds of calls (network, size, batch) that are compiled, the later ones are not; ours. The
pictures of a folder have some dozen shapes at most, as scenes are drawn at one area."""
DTYPES = ("float32", "bfloat16", "float16")


def placed(
    recipe: Recipe,
    *,
    device: str | None = None,
    dtype: str | None = None,
    low_memory: bool = False,
    compiled: bool = False,
) -> BasePipeline | LightPipeline:
    """The pipeline of a recipe, with every weight that its annotators will need at hand.

    Args:
        recipe: which model, and which annotators.
        device: of torch, as "cuda" or "cuda:1"; None is the GPU if there is one, but the CPU for
            a model of aligned faces, which is small and measured there.
        dtype: one of :data:`DTYPES`; None is bfloat16 for scenes on a GPU and float32 elsewhere.
        low_memory: text encoder, UNet, autoencoder and annotators are on the GPU only while they
            work (the ControlNets stay), and pictures are en- and decoded in tiles: slower, and by
            our estimate a scene of 768 px fits in 8 GiB.
        compiled: the networks of a step are compiled (`compile_networks`): the first pictures take
            minutes, each further one less than without.

    Raises:
        SettingError: no such device or dtype here, low memory without a GPU, or together with
            compiled networks.
        WeightsError: what is missing, all of it at once.
    """
    where, numbers = place_of(
        recipe, device=device, dtype=dtype, low_memory=low_memory, compiled=compiled
    )
    pipeline: Any = _pipeline_class(recipe.model).from_pretrained(recipe.model, dtype=numbers)
    require_method(recipe, pipeline)
    pipeline.set_progress_bar_config(disable=True)
    _require_annotators(recipe, pipeline)
    channels_last(pipeline)
    if low_memory:
        pipeline.enable_model_cpu_offload(device=where)
        pipeline.vae.enable_tiling()
        pipeline.scene_annotators.frugal = True
        return pipeline
    pipeline.to(where)
    if compiled:
        compile_networks(pipeline)
    return pipeline


def channels_last(pipeline: Any) -> None:
    """Weights of convolutions in the order that is fastest on CPUs and GPUs.

    The same weights; results change by rounding alone.
    """
    import torch

    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.to(memory_format=torch.channels_last)  # pyright: ignore


def compile_networks(pipeline: Any, **options: Any) -> None:
    """Compiles, in place, what runs at each step: UNet, ControlNets, adapter.

    ``options`` are those of ``torch.compile``. Compiled for the first time at the first call, and
    again for pictures or batches of another size, up to `MOST_COMPILED` times. Needs a C++ compiler
    on a CPU, Triton on a GPU.
    """
    import torch._dynamo

    limit = torch._dynamo.config.recompile_limit  # the networks share their code, and so the limit
    torch._dynamo.config.recompile_limit = max(limit, MOST_COMPILED)
    names = ("unet", "identity_controlnet", "fused_controlnet", "adapter")
    nets = [getattr(pipeline, name, None) for name in names]
    nets += getattr(getattr(pipeline, "controlnet", None), "nets", [])
    for net in nets:
        if net is not None:
            net.compile(**options)


def require_method(recipe: Recipe, pipeline: Any) -> None:
    """Raise `SettingError` if recipe and pipeline are not of one method."""
    method = "light" if hasattr(pipeline, "image_encoder") else "base"
    if recipe.method != method:
        size = "sd15" if pipeline.config.get("annotators") == "scene" else "mini"
        preset = f"{size}-light" if method == "light" else size
        raise SettingError(
            f"{recipe.model} is a model of method {method}, and the recipe is of {recipe.method}: "
            f"take the preset {preset} (--recipe {preset})"
        )


def place_of(
    recipe: Recipe,
    *,
    device: str | None = None,
    dtype: str | None = None,
    low_memory: bool = False,
    compiled: bool = False,
) -> tuple[torch.device, torch.dtype]:
    """Device and dtype as `placed` takes them, without loading anything. Raises `SettingError`."""
    import torch

    if dtype is not None and dtype not in DTYPES:
        raise SettingError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    small = _is_small(recipe.model)
    where = _device(device, small=small)
    numbers = getattr(torch, dtype or ("float32" if where.type == "cpu" or small else "bfloat16"))
    if low_memory and (small or where.type == "cpu"):
        raise SettingError("low memory is for models of scenes on a GPU; leave it out")
    if low_memory and compiled:
        raise SettingError(
            "low memory moves networks to and from the GPU, compiled ones stay there: choose one"
        )
    return where, numbers


def _is_small(model: str) -> bool:
    """Whether it is a model of aligned faces, as far as its name or folder says."""
    if model in ("mini", "mini-light", "tiny"):
        return True
    index = _index(model)
    return bool(index) and index.get("annotators", "aligned_face") == "aligned_face"


def preset_of(model: str) -> str:
    """The preset for a model's folder, as far as it says what it is; else mini's."""
    index = _index(model)
    size = "mini" if index.get("annotators", "aligned_face") == "aligned_face" else "sd15"
    return f"{size}-light" if index.get("_class_name") == "LightPipeline" else size


def _pipeline_class(model: str) -> type[BasePipeline] | type[LightPipeline]:
    """By the name of a size, or by what a folder says."""
    if model in ("mini-light", "sd15-light") or _index(model).get("_class_name") == "LightPipeline":
        from camouflage.pipelines.light import LightPipeline

        return LightPipeline
    from camouflage.pipelines.base import BasePipeline

    return BasePipeline


def _index(model: str) -> dict[str, Any]:
    """The ``model_index.json`` of a folder, empty where there is none."""
    try:
        return json.loads((Path(model) / "model_index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _device(name: str | None, *, small: bool) -> torch.device:
    import torch

    if name is None:
        name = "cuda" if torch.cuda.is_available() and not small else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingError(f"device: {name!r} cannot be used here; try cpu") from error
    return device


def _require_annotators(recipe: Recipe, pipeline: Any) -> None:
    if pipeline.config["annotators"] != "scene":
        return
    people = recipe.scope == "people"
    if not isinstance(recipe, BaseRecipe):
        weights.require(pipeline.scene_annotators.needed([], caption=False, people=people))
        return
    names = list(pipeline.weights_in_use(recipe.control_weights))
    annotators = pipeline.scene_annotators
    caption = recipe.prompt is None and annotators.has_captioner
    weights.require(annotators.needed(names, caption=caption, people=people))
