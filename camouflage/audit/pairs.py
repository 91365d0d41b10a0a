"""Which result belongs to which original: two files, or the files of two folders by their names.

Masks that ``--write-masks`` left beside either are passed over.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from camouflage.errors import SettingError
from camouflage.listing import cannot_be_listed, is_picture, masks_of

_Files = dict[str, tuple[Path, str]]  # relative name: path, and why it must not be read


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Paths of an original and its result, None where there is none, and their relative names.

    ``problem``: why they must not be read, empty if they may be.
    """

    original: Path | None
    result: Path | None
    name: str
    result_name: str = ""
    problem: str = ""


def find_pairs(originals: Path, results: Path) -> tuple[Pair, ...]:
    """The pairs of two files, or of two folders in the order of their names.

    Raises:
        SettingError: a path is missing, one is a file and the other a folder, both are one folder,
            the originals lie inside the results, or no original has a result.
    """
    for path in (originals, results):
        if not path.exists():
            raise SettingError(f"{path.name}: there is no such file or folder")
    if originals.is_dir() != results.is_dir():
        raise SettingError("expected two files or two folders, got a file and a folder")
    if originals.resolve() == results.resolve():
        raise SettingError("the originals and the results are one: expected two different paths")
    if not originals.is_dir():
        name, result_name = originals.name, results.name
        return (Pair(original=originals, result=results, name=name, result_name=result_name),)
    if originals.resolve().is_relative_to(results.resolve()):
        raise SettingError("the originals lie inside the results: keep them apart")
    found = _pictures(originals, leave_out=results)
    found = _without_masks(found, found)
    pairs = _paired(found, _without_masks(_pictures(results), found))
    if not any(pair.original and pair.result for pair in pairs):
        raise SettingError("no result belongs to an original: expected the same relative names")
    return pairs


def _pictures(folder: Path, *, leave_out: Path | None = None) -> _Files:
    """Relative name to path and problem, of all pictures; links out of the folder are problems."""
    inside, found = folder.resolve(), {}
    for root, folders, files in os.walk(folder, followlinks=False, onerror=cannot_be_listed):
        linked = [name for name in folders if Path(root, name).is_symlink()]
        folders[:] = sorted(
            name
            for name in folders
            if name not in linked
            and (not leave_out or Path(root, name).resolve() != leave_out.resolve())
        )
        for name in sorted([*files, *linked]):
            path = Path(root, name)
            leads_out = path.is_symlink() and not path.resolve().is_relative_to(inside)
            if (leads_out and name in linked) or (name not in linked and is_picture(path)):
                problem = "a link that leads out of its folder is not followed" if leads_out else ""
                found[path.relative_to(folder).as_posix()] = path, problem
    return found


def _without_masks(files: _Files, originals: _Files) -> _Files:
    masks = masks_of(originals, {n: path for n, (path, problem) in files.items() if not problem})
    return {name: file for name, file in files.items() if name not in masks}


def _paired(originals: _Files, results: _Files) -> tuple[Pair, ...]:
    by_stem: dict[PurePosixPath, list[str]] = {}
    for name in originals:
        by_stem.setdefault(PurePosixPath(name).with_suffix(""), []).append(name)
    pairs, paired = [], set()
    for result_name, (result, result_problem) in results.items():
        stem = PurePosixPath(result_name).with_suffix("")
        names = [result_name] if result_name in originals else by_stem.get(stem, [])
        for name in names:
            original, problem = originals[name]
            paired.add(name)
            pairs.append(
                Pair(
                    original=original, result=result, name=name, result_name=result_name,
                    problem=problem or result_problem,
                )
            )  # fmt: skip
        if not names:
            pairs.append(
                Pair(original=None, result=result, name=result_name, result_name=result_name)
            )
    alone = (name for name in originals if name not in paired)
    pairs += [Pair(original=originals[name][0], result=None, name=name) for name in alone]
    return tuple(sorted(pairs, key=lambda pair: (pair.name, pair.result_name)))
