"""A whole pipeline's or model's folder: of this package, as it is given, or of the hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from camouflage.errors import WeightsError
from camouflage.weights import hub as the_hub
from camouflage.weights.local import models_folder
from camouflage.weights.resolve import digests_of_groups
from camouflage.weights.sums import SUMS, check_sums, digests_of

LIBRARIES = ("diffusers", "transformers")
"""Whose classes a pipeline's ``model_index.json`` may name, beside those of this package."""


def mini_folder() -> Path:
    """The model inside this package.

    Raises:
        WeightsError: it is not in this installation.
    """
    return _in_package("weights", "model_index.json", of="mini")


def mini_light_folder() -> Path:
    """What ``mini-light`` has beside the weights of ``mini``, inside this package.

    Raises:
        WeightsError: it is not in this installation.
    """
    return _in_package("light", SUMS, of="mini-light")


def readout_folder() -> Path:
    """What `camouflage.annotators.readout` reads, inside this package.

    Raises:
        WeightsError: it is not in this installation.
    """
    return _in_package("readout", SUMS, of="readout")


def upscaler_folder(name_or_path: str) -> Path:
    """The folder that a recipe's ``upscaler`` names: ``mini``'s, inside this package, or one as it
    is given. It passed its list of hashes, if it has one.

    Raises:
        WeightsError: there is no such folder, or it does not pass.
    """
    if name_or_path == "mini":
        folder = _in_package("upscaler", SUMS, of="mini's upscaler")
    else:
        folder = Path(name_or_path)
    if not folder.is_dir():
        raise WeightsError(
            f"upscaler: expected mini or the folder of one, found none named {folder.name}; "
            "training/README.md says how to make one"
        )
    check_sums(folder, known=True)
    return folder


def _in_package(name: str, needed: str, *, of: str) -> Path:
    import importlib.resources

    folder = Path(str(importlib.resources.files("camouflage.mini"))) / name
    if not (folder / needed).is_file():
        raise WeightsError(
            f"the weights of {of} are not in this installation; install camouflage-anonymizer "
            "again, or train them as training/README.md says"
        )
    return folder


def start_pool_folder(name_or_path: str) -> Path:
    """The folder with ``pool``, ``image_encoder`` and ``attribute_net`` that a recipe's
    ``start_pool`` names: that of ``mini-light``, or one as it is given. It passed its list of
    hashes, if it has one.

    Raises:
        WeightsError: there is no such folder, it lacks one of the three, or it does not pass.
    """
    folder = mini_light_folder() if name_or_path == "mini-light" else Path(name_or_path)
    parts = ("pool", "image_encoder", "attribute_net")
    if lacking := [part for part in parts if not (folder / part).is_dir()]:
        raise WeightsError(
            f"start_pool: expected mini-light or a folder with pool/, image_encoder/ and "
            f"attribute_net/, and {folder.name} has no {' and no '.join(lacking)}: copy "
            "mini-light's and put your own pool there, which `camouflage pool build` makes"
        )
    check_sums(folder, known=True)
    return folder


def local_folder(name_or_path: str | Path, *, variant: str | None = None, **hub: Any) -> Path:
    """The folder of ``mini``, a folder as it is given, or a repository of the hub as a folder.

    A repository is looked for in the local cache first and downloaded only if it is not there:
    safetensors, JSON and vocabularies alone. ``hub`` may hold ``revision`` (a commit pins it),
    ``cache_dir``, ``token``, ``local_files_only`` and ``force_download``, as in huggingface_hub.
    What comes back is checked: see :func:`check_folder`.

    Raises:
        WeightsError: there is no such folder or repository, or it does not pass its check.
    """
    folder = _folder(name_or_path, variant=variant, **hub)
    check_folder(folder, needs_sums=name_or_path == "mini", whole=_is_here(name_or_path))
    return folder


def weights_of(model: str, *, start_pool: str | None = None, upscaler: str | None = None) -> str:
    """What a manifest says of the weights; the name itself for ``tiny``.

    With a ``start_pool`` or an ``upscaler``, one hash over all of them; what chooses from a pool,
    the readout, is in it.

    One hash over the names and hashes of a folder's weights and configurations, which are checked
    as well, and read once for both. That of ``sd15`` is over the entries of its group, and over
    the annotators and the captioner as far as they are here.

    Raises:
        WeightsError: as `local_folder`, `start_pool_folder` and `upscaler_folder`.
    """
    if upscaler is not None:
        drawn = weights_of(model, start_pool=start_pool)
        return _hash_of(
            {"model": drawn, "upscaler": _hash_of(digests_of(upscaler_folder(upscaler)))}
        )
    if start_pool is not None:
        found = digests_of(start_pool_folder(start_pool))
        read = ("pool/", "image_encoder/", "attribute_net/", "starts.safetensors")
        used = {k: v for k, v in found.items() if k.startswith(read)}
        read_out = _hash_of(digests_of(readout_folder()))
        parts = {"model": weights_of(model), "start_pool": _hash_of(used), "readout": read_out}
        return _hash_of(parts)
    if model == "tiny":
        return model
    if model == "sd15":
        return _hash_of(digests_of_groups(model, also="scene"))
    if model == "sd15-light":
        adapters = models_folder() / "light-sd15"
        trained = digests_of(adapters) if adapters.is_dir() else {}
        return _hash_of(digests_of_groups(model, also=model) | trained)
    if model == "mini-light":
        both = {"mini": mini_folder(), "light": mini_light_folder()}
        found = {name: digests_of(folder) for name, folder in both.items()}
        check_folder(both["mini"], needs_sums=True, digests=found["mini"])
        check_sums(both["light"], digests=found["light"])
        found["readout"] = digests_of(readout_folder())
        return _hash_of({f"{part}/{k}": v for part, one in found.items() for k, v in one.items()})
    folder = _folder(model, variant=None)
    digests = digests_of(folder)
    check_folder(folder, needs_sums=model == "mini", digests=digests, whole=_is_here(model))
    return _hash_of(digests)


def _hash_of(digests: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(list(digests.items())).encode()).hexdigest()


def transformers_folder(name_or_path: str, **hub: Any) -> Path:
    """The folder of one model of transformers: as it is given, or of the hub, safetensors alone.

    ``hub`` as in `local_folder`. Raises `WeightsError` if there is no such folder or repository.
    """
    folder = Path(name_or_path)
    if not folder.is_dir():
        folder = the_hub.snapshot(name_or_path, variant=None, patterns=["*.safetensors"], **hub)
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise WeightsError(f"{folder.name}: expected a config.json and a .safetensors file in it")
    return folder


def _is_here(name_or_path: str | Path) -> bool:
    """Whether it is no repository, of which perhaps a part was fetched."""
    return name_or_path == "mini" or Path(name_or_path).is_dir()


def _folder(name_or_path: str | Path, *, variant: str | None, **hub: Any) -> Path:
    if name_or_path == "mini":
        return mini_folder()
    folder = Path(name_or_path)
    return (
        folder if folder.is_dir() else the_hub.snapshot(str(name_or_path), variant=variant, **hub)
    )


def check_folder(
    folder: Path,
    *,
    needs_sums: bool = False,
    digests: Mapping[str, str] | None = None,
    whole: bool = True,
) -> None:
    """Refuse a pipeline's folder that would run foreign code or whose files are not its own.

    ``digests``: sha256 by relative name of its weights and configurations, for one who has read
    them already. Unless ``whole``, files of the list may be missing.

    Raises:
        WeightsError: ``model_index.json`` is missing or names classes of other libraries than
            :data:`LIBRARIES`; a file's hash is not that of :data:`SUMS`; a weight file is not in
            it, or is missing; or there is no such list and ``needs_sums`` asks for one.
    """
    _check_classes(folder)
    if not check_sums(folder, digests=digests, whole=whole) and needs_sums:
        raise WeightsError(f"{folder.name}: expected {SUMS} beside the weights; install again")


def _check_classes(folder: Path) -> None:
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{folder.name}: expected a folder in save_pretrained layout, with a model_index.json"
        ) from error
    lists = {k: v for k, v in index.items() if isinstance(v, list) and len(v) == 2}
    for part, (library, name) in lists.items():
        if part == "controls" or library is None or library in LIBRARIES:
            continue  # two names of controls are no class
        if not str(library).startswith("camouflage."):
            raise WeightsError(
                f"{folder.name}: {part} is a {library}.{name}; expected classes of diffusers, "
                "transformers or camouflage only"
            )
