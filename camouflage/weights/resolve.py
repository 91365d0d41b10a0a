"""The folder of an entry: given, among one's models, in the hub's cache, or fetched.

In this order, and what comes back is checked: all files are there, they are of the architecture,
and their hashes are those of a ``SHA256SUMS`` beside them, or else of the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path

from camouflage.errors import WeightsError
from camouflage.weights import architecture, hub
from camouflage.weights.check import check, missing_files
from camouflage.weights.entry import Entry
from camouflage.weights.fetching import fetch_all
from camouflage.weights.local import is_missing, local
from camouflage.weights.sums import known_sha256
from camouflage.weights.table import entries_of


def find(name: str, *, at: Path | str | None = None, download: bool = True) -> Path:
    """The checked local folder of an entry.

    Args:
        name: in the table.
        at: weights of one's own in the place of the published ones: a folder, a repository
            ``owner/name``, or for a base also one ``.safetensors`` file, which then comes back.
            They must be of the same architecture; the table's hashes do not apply to them.
        download: False never fetches nor converts.

    Raises:
        SettingError: there is no such entry.
        WeightsError: missing, damaged, of another architecture, not to be fetched, no room.
    """
    return require([name], at={name: at} if at else None, download=download)[name]


def require(
    names: Iterable[str],
    *,
    at: Mapping[str, Path | str | None] | None = None,
    download: bool = True,
) -> dict[str, Path]:
    """`find` for several entries or groups: everything that is wrong is said at once.

    Raises:
        SettingError: there is no such entry or group.
        WeightsError: one line for each that cannot be used.
    """
    given = {name: path for name, path in (at or {}).items() if path}
    found: dict[str, Path] = {}
    problems: dict[str, str] = {}
    missing: list[Entry] = []
    for entry in entries_of(names):
        try:
            if entry.name in given:
                found[entry.name] = _given(entry, given[entry.name], download=download)
            elif (folder := local(entry)) is not None:
                found[entry.name] = folder
            else:
                missing.append(entry)
        except WeightsError as error:
            problems[entry.name] = str(error)
    if missing and download:
        problems |= fetch_all(missing, found)
    else:
        problems |= {entry.name: is_missing(entry) for entry in missing}
    if problems:
        raise WeightsError("\n".join(problems.values()))
    return found


def digests_of_groups(needed: str, *, also: str) -> dict[str, str]:
    """sha256 of every file of the entries of two groups, by ``entry/file``.

    Those of ``needed`` are found first. Those of ``also`` are never fetched: one that cannot be
    used has its own name, and nothing for it.
    """
    found = require([needed])
    digests: dict[str, str] = {}
    for entry in entries_of([needed, also]):
        folder = found.get(entry.name) or _usable(entry)
        digests |= _digests(entry, folder) if folder else {entry.name: ""}
    return digests


def _usable(entry: Entry) -> Path | None:
    """Its checked folder on this machine, None if it is missing or damaged."""
    try:
        return local(entry)
    except WeightsError:
        return None


def _digests(entry: Entry, folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    inside = sorted((path.relative_to(folder).as_posix(), path) for path in files)
    patterns = [file.becomes for file in entry.files if file.becomes] + entry.patterns
    return {
        f"{entry.name}/{relative}": known_sha256(path)
        for relative, path in inside
        if any(fnmatch(relative, pattern) for pattern in patterns)
    }


def _given(entry: Entry, at: Path | str, *, download: bool) -> Path:
    path = Path(at)
    fix = "what was given cannot be used"
    if path.is_file() and entry.role == "base":
        architecture.check_file_is_base(path, entry.name)
        return path
    if path.is_dir():
        check(entry, path, fix=fix, is_published=False)
        return path
    if str(at).count("/") != 1 or path.is_absolute():
        raise WeightsError(f"{entry.name}: {path.name} is no folder, file or owner/name of the hub")
    published = str(at) == entry.repository
    folder = hub.cached(str(at), entry.patterns)
    if folder is None or missing_files(entry, folder):
        if not download:
            raise WeightsError(f"{entry.name}: {at} is not here")
        hub.require_space(entry.size_bytes, entry.name)
        folder = hub.download(str(at), entry.patterns)
    check(entry, folder, fix=fix, is_published=published)
    return folder
