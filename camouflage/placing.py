"""Where a recipe's model runs, and in which numbers: the pipeline, loaded and ready."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from camouflage import weights
from camouflage.errors import SettingError
from camouflage.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from camouflage.pipelines.base import BasePipeline

DTYPES = ("float32", "bfloat16", "float16")


def placed(
    recipe: Recipe,
    *,
    device: str | None = None,
    dtype: str | None = None,
    low_memory: bool = False,
) -> BasePipeline:
    """The pipeline of a recipe, with every weight that its annotators will need at hand.

    Args:
        recipe: which model, and which annotators.
        device: of torch, as "cuda" or "cuda:1"; None is the GPU if there is one, but the CPU for
            a model of aligned faces, which is small and measured there.
        dtype: one of :data:`DTYPES`; None is bfloat16 on a GPU and float32 elsewhere.
        low_memory: keep on the GPU only the part at work, and decode in tiles: slower, and a scene
            of 768 px fits in 8 GiB.

    Raises:
        SettingError: no such device or dtype here, or low memory without a GPU.
        WeightsError: what is missing, all of it at once.
    """
    import torch

    from camouflage.pipelines.base import BasePipeline

    if dtype is not None and dtype not in DTYPES:
        raise SettingError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    small = recipe.model in ("mini", "tiny")
    where = _device(device, small=small)
    numbers = getattr(torch, dtype or ("float32" if where.type == "cpu" or small else "bfloat16"))
    if low_memory and where.type == "cpu":
        raise SettingError("low memory moves parts between a GPU and the CPU: there is no GPU here")
    pipeline = BasePipeline.from_pretrained(recipe.model, dtype=numbers)
    pipeline.set_progress_bar_config(disable=True)
    _require_annotators(recipe, pipeline)
    if low_memory:
        pipeline.enable_model_cpu_offload(device=where)
        pipeline.vae.enable_tiling()
        return pipeline
    return pipeline.to(where)


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
    used = {**pipeline.config["default_weights"], **recipe.control_weights}
    names = [name for name, weight in used.items() if weight > 0]
    annotators = pipeline.scene_annotators
    caption = recipe.prompt is None and annotators.has_captioner
    weights.require(annotators.needed(names, caption=caption, people=recipe.scope == "people"))
