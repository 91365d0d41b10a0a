"""The hub, its cache on this machine and a mirror of it. The only file that downloads."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from camouflage.errors import SettingError, WeightsError
from camouflage.weights.sums import SUMS

MIRROR = "CAMOUFLAGE_MIRROR"
"""Name of the variable with the address of a mirror, which is asked before the hub."""

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")

SMALL_FILES = ("*.json", "*.txt", SUMS, "pool/faces/*.png", "pool/faces/*.webp")
"""What of a pipeline's or model's repository is always fetched."""
WITHOUT_VARIANT = ("ip_adapter/ip_adapter.safetensors", "pool/index.safetensors")
"""Weights that are stored once, whatever variant is asked for."""

HUB_ARGUMENTS = ("revision", "cache_dir", "token", "local_files_only", "force_download")


def cached(repository: str, patterns: Sequence[str], *, revision: str | None = None) -> Path | None:
    """The folder of what the hub's cache has of a repository, None if it has nothing.

    It may hold a part of the files only.
    """
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    wanted: dict[str, Any] = {"allow_patterns": list(patterns), "revision": revision}
    try:
        return Path(huggingface_hub.snapshot_download(repository, local_files_only=True, **wanted))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def download(
    repository: str,
    patterns: Sequence[str],
    *,
    revision: str | None = None,
    again: bool = False,
    to: Path | None = None,
) -> Path:
    """A folder with those files of a repository: of the mirror, if one is set, else of the hub.

    Args:
        repository: ``owner/name``.
        patterns: of the files' names.
        revision: a commit, or a branch's name; the newest if not given.
        again: also what the cache has already.
        to: a folder of one's own in the place of the cache.

    Raises:
        SettingError: the mirror's address is not one of https.
        WeightsError: neither can be reached or has it, or the disk is full.
    """
    wanted: dict[str, Any] = {"allow_patterns": list(patterns), "revision": revision}
    return _fetched(repository, wanted | {"force_download": again, "local_dir": to})


def _fetched(repository: str, wanted: dict[str, Any]) -> Path:
    """What ``snapshot_download`` gives for ``wanted``, by the first source that has it."""
    import huggingface_hub

    failed: list[Exception] = []
    for source in _sources():
        asked: dict[str, Any] = wanted | source
        try:
            return Path(huggingface_hub.snapshot_download(repository, **asked))
        except (*_failures(), ValueError, RuntimeError) as error:
            if is_disk_full(error):
                raise WeightsError(_no_space(repository)) from error
            failed.append(error)
    raise WeightsError(
        "; ".join(_reason(error, repository, wanted.get("revision")) for error in failed)
    ) from failed[-1]


def require_space(needed_bytes: int, what: str) -> None:
    """Raise `WeightsError` if the disk of the hub's cache has less free than that."""
    from huggingface_hub import constants

    free = _free_bytes(Path(constants.HF_HUB_CACHE))
    if free < needed_bytes:
        raise WeightsError(
            f"{what}: expected {needed_bytes / 1e9:.1f} GB free for the download, the disk has "
            f"{free / 1e9:.1f} GB; make room, or set HF_HOME to a folder on another disk"
        )


def snapshot(
    repository: str, *, variant: str | None, patterns: Sequence[str] = (), **hub: Any
) -> Path:
    """A whole pipeline's or model's folder: from the local cache, else downloaded.

    ``hub`` may hold :data:`HUB_ARGUMENTS`. Raises `WeightsError` if there is no such repository,
    or the disk is full.
    """
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    ends = [f".{variant}", f".{variant}-*"] if variant else [""]
    parts = [f"*/*{end}.safetensors" for end in ends]
    wanted: dict[str, Any] = {
        "allow_patterns": [*SMALL_FILES, *(patterns or [*parts, *WITHOUT_VARIANT])],
        "ignore_patterns": [] if variant else ["*.fp16*.safetensors", "*.non_ema*.safetensors"],
        **hub,
    }
    try:
        if not hub.get("force_download"):
            here: dict[str, Any] = wanted | {"local_files_only": True}
            try:
                return Path(huggingface_hub.snapshot_download(repository, **here))
            except LocalEntryNotFoundError:
                if hub.get("local_files_only"):
                    raise
        return _fetched(repository, wanted)
    except (WeightsError, HFValidationError, LocalEntryNotFoundError) as error:
        if is_disk_full(error):
            raise
        raise WeightsError(
            f"{Path(repository).name}: expected tiny, mini, mini-light, sd15, sd15-light, a folder "
            "in save_pretrained layout, or a repository of the hub that is in the local cache or "
            f"can be reached ({type(error.__cause__ or error).__name__})"
        ) from error


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or what it comes from, is that of a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def _sources() -> list[dict[str, Any]]:
    """Whom to ask, in order: the mirror, which never sees the user's token, then the hub."""
    mirror = os.environ.get(MIRROR)
    if not mirror:
        return [{}]
    if not _is_safe(mirror):
        raise SettingError(f"{MIRROR}: expected an address that begins with https://")
    return [{"endpoint": mirror.rstrip("/"), "token": False}, {}]


def _is_safe(address: str) -> bool:
    """Whether nobody on the way can change what comes from it."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    if parts.scheme == "http":
        return parts.hostname in _THIS_MACHINE
    return parts.scheme == "https" and bool(parts.hostname)


def _failures() -> tuple[type[Exception], ...]:
    """What is raised by a hub that is not there, or that goes away in the middle.

    The base of its own errors is that of the library it speaks HTTP with: requests, httpx or
    httpx2, by its version.
    """
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    return (OSError, EntryNotFoundError, *HfHubHTTPError.__bases__)


def _reason(error: Exception, repository: str, revision: str | None) -> str:
    from huggingface_hub import errors

    named = f"{repository}{f' at {revision[:12]}' if revision else ''}"
    if isinstance(error, errors.GatedRepoError):
        return f"{named}: its owner asks for an account; accept the terms on the hub and log in"
    if isinstance(error, (errors.RepositoryNotFoundError, errors.HFValidationError)):
        return f"{named}: no folder and no repository of the hub has this name"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{named}: there is no such revision"
    return (
        f"{named}: not here, and it cannot be fetched ({type(error).__name__}: no network, offline "
        f"mode, or the hub does not answer); {MIRROR} may name a mirror"
    )


def _no_space(repository: str) -> str:
    return (
        f"{repository}: the disk became full in the download; make room, or set HF_HOME to a "
        "folder on another disk"
    )


def _free_bytes(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
