"""How an annotator's network is held and loaded: safetensors of a local folder only."""

from __future__ import annotations

import gc
import importlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from camouflage.errors import MissingExtra, NonFiniteResult, WeightsError

EXTRA = "sd"
"""The extra that brings torchvision and controlnet_aux."""


class Held:
    """A network for inference, on the device and in the precision where it is."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.network.parameters()).dtype

    def to(self, *, device: str | torch.device, dtype: torch.dtype) -> None:
        """Move it there."""
        self.network.to(device=device, dtype=dtype)

    def placed(self, batch: Tensor) -> Tensor:
        """``batch`` where the network is, in its precision."""
        return batch.to(self.device, self.dtype)


def finite(values: Tensor, what: str) -> Tensor:
    """``values`` in float32; raises `NonFiniteResult` if there is NaN or infinity in them."""
    values = values.float()
    if not torch.isfinite(values).all():
        raise NonFiniteResult(f"{what} returned values that are not finite; try dtype float32")
    return values


def freed() -> None:
    """Give the memory of networks back that nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def extra(package: str) -> Iterator[None]:
    """`MissingExtra` for ``package`` where an import in the block fails.

    A torchvision that was built for another torch fails with RuntimeError.
    """
    try:
        yield
    except (ImportError, RuntimeError) as error:
        raise MissingExtra(package, EXTRA) from error


def from_controlnet_aux(module: str, name: str) -> Any:
    """A class of controlnet_aux, imported only now: its package takes seconds and warns a lot.

    Raises `MissingExtra` if it, or torchvision, cannot be imported.
    """
    with warnings.catch_warnings(), extra("controlnet_aux with a torchvision that fits torch"):
        warnings.simplefilter("ignore")
        return getattr(importlib.import_module(f"controlnet_aux.{module}"), name)


def from_transformers(name: str) -> Any:
    """A class of transformers, imported only now. Raises `MissingExtra` if that fails."""
    with extra("a torchvision that fits torch"):
        return getattr(importlib.import_module("transformers"), name)


def load_transformers(
    name: str, folder: Path, *, device: str | torch.device, dtype: torch.dtype, may_miss: str = "-"
) -> Any:
    """A model of transformers by its class' ``name`` from a local folder, every weight its own.

    ``may_miss``: what names of weights begin with that the published files do not have and the
    network does not use.

    Raises:
        MissingExtra: the class needs a package that is not installed.
        WeightsError: no such folder, another architecture, or weights missing or damaged.
    """
    kind = from_transformers(name)
    _require_type(folder, kind.config_class.model_type)
    try:
        with _quiet():
            network, report = kind.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise _not_usable(folder, type(error).__name__) from error
    parameters = {name for name, _ in network.named_parameters()}
    missing = {name for name in report["missing_keys"] if not name.startswith(may_miss)}
    if missing & parameters or report["mismatched_keys"]:
        raise _not_usable(folder, f"{len(missing & parameters)} weights are not in it")
    return network.to(device)


def load_state(
    network: nn.Module,
    file: Path,
    *,
    device: str | torch.device,
    dtype: torch.dtype,
    outer: bool = False,
) -> nn.Module:
    """``network`` with the weights of a safetensors file, all of them and no others.

    The network may have been made on torch's device ``meta``. ``outer``: its names of weights begin
    with the name of a block that the file's do not have. Raises `WeightsError`.
    """
    try:
        state = load_file(file)
        if outer:
            state = {name: state[name.partition(".")[2]] for name in network.state_dict()}
        network.load_state_dict(state, assign=True)
    except (OSError, RuntimeError, KeyError, SafetensorError) as error:
        raise _not_usable(file.parent, f"{file.name}, {type(error).__name__}") from error
    return network.to(device=device, dtype=dtype)


def _require_type(folder: Path, expected: str) -> None:
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _not_usable(folder, "config.json") from error
    if found != expected:
        raise WeightsError(f"{folder.name}: expected weights of type {expected}, got {found}")


def _not_usable(folder: Path, detail: str) -> WeightsError:
    return WeightsError(
        f"{folder.name}: weights are missing, damaged or of another architecture ({detail}); fetch "
        "them again"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own report on missing weights: they are checked here."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
