"""Fetch entries of the table, and convert those that are published as pickles."""

from __future__ import annotations

from pathlib import Path

from camouflage.errors import SettingError, WeightsError
from camouflage.weights import hub
from camouflage.weights.atomic import new_folder
from camouflage.weights.check import check
from camouflage.weights.entry import Entry
from camouflage.weights.local import is_missing, local, models_folder
from camouflage.weights.pickles import convert
from camouflage.weights.sums import write_sums
from camouflage.weights.table import entry_of


def fetch(name: str, *, again: bool = False, revision: str | None = None) -> Path:
    """Fetch an entry, convert what is published as pickles, check it.

    Args:
        name: in the table.
        again: also what the hub's cache has, and what was converted. A folder of one's own is
            never replaced by a download: it is what `find` takes, so that it is checked instead.
        revision: another commit than the table's, into the folder of one's models, with a list
            of its hashes; `find` takes it from there.

    Raises:
        SettingError: there is no such entry; a revision of pickles, whose hashes nobody knows.
        WeightsError: as `find`.
    """
    entry = entry_of(name)
    if revision is not None:
        return _pinned(entry, revision, again=again)
    own = models_folder() / entry.name
    if (not again or (own.is_dir() and not entry.is_converted)) and (here := local(entry)):
        return here
    hub.require_space(entry.size_bytes, entry.name)
    return _fetched(entry, again=again)


def fetch_all(missing: list[Entry], found: dict[str, Path]) -> dict[str, str]:
    """Fetch what is missing into ``found``; the problems by name."""
    try:
        hub.require_space(sum(entry.size_bytes for entry in missing), "these weights")
    except WeightsError as error:
        return {entry.name: is_missing(entry) for entry in missing} | {"": str(error)}
    problems: dict[str, str] = {}
    for entry in missing:
        try:
            found[entry.name] = _fetched(entry, again=False)
        except WeightsError as error:
            problems[entry.name] = str(error)
    return problems


def _fetched(entry: Entry, *, again: bool) -> Path:
    if entry.by_hand:
        raise WeightsError(is_missing(entry))
    try:
        folder = hub.download(
            entry.repository, entry.patterns, revision=entry.revision, again=again
        )
    except WeightsError as error:
        raise WeightsError(f"{is_missing(entry)} ({error})") from error
    if entry.is_converted:
        folder = _converted(entry, folder, again=again)
    check(entry, folder, fix=f"camouflage models fetch --again {entry.name}")
    return folder


def _converted(entry: Entry, published: Path, *, again: bool) -> Path:
    """The converted folder; that of another process, if one was faster."""
    target = models_folder() / entry.name
    try:
        return convert(entry, published, target, overwrite=again)
    except WeightsError:
        if again or not target.is_dir():
            raise
    return target


def _pinned(entry: Entry, revision: str, *, again: bool) -> Path:
    if entry.is_converted:
        raise SettingError(
            f"{entry.name}: published as pickles, of which only those of the list, known by their "
            "hash, are read"
        )
    target = models_folder() / entry.name
    hub.require_space(entry.size_bytes, entry.name)
    with new_folder(target, overwrite=again) as part:
        hub.download(entry.repository, entry.patterns, revision=revision, to=part)
        check(entry, part, fix=f"take another revision of {entry.name}", is_published=False)
        write_sums(part)
    return target
