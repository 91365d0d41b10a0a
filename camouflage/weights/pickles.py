"""Published pickles into safetensors, after their hash matched.

A pickle can run code when it is read. These are read by torch's restricted reader, which makes
tensors and nothing else, and only after their bytes are known to be the published ones.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camouflage.errors import SettingError, WeightsError
from camouflage.weights.atomic import new_folder
from camouflage.weights.entry import Entry, File
from camouflage.weights.layouts import arranged
from camouflage.weights.sums import check_file, file_sha256, write_sums

if TYPE_CHECKING:
    from torch import Tensor

WRAPPERS = ("state_dict", "model", "params", "net")
"""Keys under which training programs keep the weights among other things."""

_PREFIX = "module."
"""What a network that was trained on several GPUs has before each name."""


def convert(
    entry: Entry,
    source: Path,
    target: Path,
    *,
    sha256: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """A folder of safetensors, with a card and a list of hashes, of an entry's pickles.

    Args:
        entry: of the table.
        source: the folder that holds them, and the configurations that go with them; or the file,
            if it is one.
        target: the folder to make; whole, or not at all.
        sha256: by file name, for files of which the table knows none; it has the last word.
        overwrite: also if ``target`` is there.

    Raises:
        SettingError: nothing of the entry is a pickle, or a hash is known nowhere, or another one
            than the table's is given.
        WeightsError: a file is missing, has another hash, holds anything but tensors, or those of
            another network, or there is no room.
    """
    if not entry.pickles:
        raise SettingError(f"{entry.name}: published as safetensors; there is nothing to convert")
    pickles = {file: _path_of(file, source, entry) for file in entry.pickles}
    hashes = {file: _checked(file, path, entry, sha256 or {}) for file, path in pickles.items()}
    with new_folder(target, overwrite=overwrite) as folder:
        for file in entry.files:
            if not file.becomes and source.is_dir() and (source / file.name).is_file():
                shutil.copyfile(source / file.name, folder / file.name)
        for file, path in pickles.items():  # over what has the same name
            _write(file, path, folder)
        (folder / "README.md").write_text(_card(entry, hashes), encoding="utf-8")
        write_sums(folder)
    return target


def _write(file: File, path: Path, folder: Path) -> None:
    """What a pickle becomes, and the configuration that its layout tells."""
    tensors = tensors_of(path)
    try:
        named, config = arranged(file.layout, tensors)
    except WeightsError as error:
        raise WeightsError(f"{path.name}: {error}") from error
    _save(named, folder / file.becomes)
    if config:
        text = json.dumps(config, indent=2) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")


def tensors_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickle by name, without what training programs wrap around them.

    Raises:
        WeightsError: it holds other things than tensors, asks for code to be run, or is damaged.
    """
    import pickle
    import zipfile

    import torch

    if _is_torchscript(path):
        raise WeightsError(
            f"{path.name}: a TorchScript archive, which is code and not read here; where you trust "
            "it, torch.save(torch.jit.load(FILE).state_dict(), OTHER), then convert OTHER"
        )
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, ValueError) as e:
        raise WeightsError(
            f"{path.name}: not loaded; damaged, or more than tensors ({type(e).__name__})"
        ) from e
    state = _unwrapped(loaded)
    if not isinstance(state, dict) or not state:
        raise WeightsError(f"{path.name}: expected tensors by name, got {type(state).__name__}")
    if others := [str(key) for key, value in state.items() if not isinstance(value, torch.Tensor)]:
        raise WeightsError(f"{path.name}: expected tensors only, got others: {others[:5]}")
    return {str(key).removeprefix(_PREFIX): value for key, value in state.items()}


def _is_torchscript(path: Path) -> bool:
    """Whether it is what ``torch.jit.save`` writes: only that has constants beside its code."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _unwrapped(loaded: Any) -> Any:
    for _ in WRAPPERS:
        inner = [
            loaded[key]
            for key in WRAPPERS
            if isinstance(loaded, dict) and isinstance(loaded.get(key), dict)
        ]
        if not inner:
            break
        loaded = inner[0]
    return loaded


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Each with memory of its own: safetensors refuses tensors that share theirs."""
    from safetensors.torch import save_file

    own = {key: value.detach().clone().contiguous() for key, value in tensors.items()}
    save_file(own, path, metadata={"format": "pt"})


def _path_of(file: File, source: Path, entry: Entry) -> Path:
    path = source / file.name if source.is_dir() else source
    if not path.is_file():
        raise WeightsError(
            f"{entry.name}: expected {file.name}; camouflage models fetch {entry.name}"
        )
    if source.is_file() and len(entry.pickles) > 1:
        wanted = [one.name for one in entry.pickles]
        raise SettingError(f"{entry.name}: expected a folder with {', '.join(wanted)}")
    return path


def _checked(file: File, path: Path, entry: Entry, given: Mapping[str, str]) -> str:
    own = given.get(file.name, "").lower()
    if own and file.sha256 and own != file.sha256:
        raise SettingError(
            f"{entry.name}: {file.name} is known, with the sha256 {file.sha256}; no other is taken"
        )
    expected = file.sha256 or own
    if not expected:
        raise SettingError(
            f"{entry.name}: no hash of {file.name} is known; give the one that you trust, "
            f"--sha256 {file.name}=HASH (this file's is {file_sha256(path)})"
        )
    check_file(path, expected, fix=f"fetch it again: camouflage models fetch {entry.name}")
    return expected


def _card(entry: Entry, hashes: Mapping[File, str]) -> str:
    sources = "\n".join(
        f"* `{file.becomes}` from `{file.name}`, sha256 `{digest}`"
        for file, digest in hashes.items()
    )
    hub = f"[{entry.repository}](https://huggingface.co/{entry.repository})"
    commit = f" at {entry.revision}" if entry.revision else ""
    origin = next((file.address for file in hashes if file.address), hub + commit)
    return (
        f"# {entry.name}\n\n{entry.what}\n\n"
        f"Converted by `camouflage models convert`; the numbers are those of {origin}:"
        f"\n\n{sources}\n\n"
        f"Licence: {entry.licence}\n\nUse: {entry.use}\n"
    )
