"""The hash of a file, and the list of hashes beside weights."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from camouflage.errors import WeightsError

SUMS = "SHA256SUMS"
"""A line a file, as ``sha256sum`` writes and checks it."""
POOL = "pool/"
"""A user may put a pool of faces beside weights that have a list; it knows its own hashes."""


def check_sums(
    folder: Path,
    *,
    digests: Mapping[str, str] | None = None,
    known: bool = False,
    whole: bool = True,
) -> bool:
    """Whether ``folder`` has a list :data:`SUMS`, all of which its files pass.

    ``digests``: sha256 by relative name of its weights and configurations, for one who has read
    them already. ``known``: what was read in this process is not read again. Unless ``whole``,
    files of the list may be missing, as in a part of a repository.

    Raises:
        WeightsError: a file's hash is not that of the list; or a file of weights is not in it, or
            is missing.
    """
    sums = folder / SUMS
    if not sums.is_file():
        return False
    listed = _read_sums(sums)
    present = {file.relative_to(folder).as_posix() for file in _files(folder)}
    others = (name for name in present - set(listed) if not name.startswith(POOL))
    if unlisted := sorted(others):
        raise WeightsError(f"{folder.name}: {unlisted} are not in {SUMS}; remove them")
    for name, digest in listed.items():
        if not whole and not (folder / name).exists():
            continue
        found = known_sha256(folder / name) if known else (digests or {}).get(name)
        check_file(folder / name, digest, found=found, fix="fetch or install these weights again")
    return True


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
    lines = [f"{digest}  {name}\n" for name, digest in digests_of(folder).items()]
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


def known_sha256(path: Path) -> str:
    """`file_sha256`, read once in a process for as long as the file stays the same."""
    try:
        state = path.stat()
    except OSError:
        return ""
    return _sha256_of(path, state.st_ino, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=256)
def _sha256_of(path: Path, inode: int, size: int, changed_ns: int) -> str:
    del inode, size, changed_ns  # they are the key
    return file_sha256(path)


def digests_of(folder: Path) -> dict[str, str]:
    """sha256 by relative name of the weights and configurations in ``folder`` and below."""
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
