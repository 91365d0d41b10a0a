"""Photographs of people whose names are known, and where a method's results for them lie.

Two layouts: a folder a person; or a flat folder with a JSON file of identities, from a file's name
or stem to the person, as in CAMOUFLaGE's evaluation (arXiv 2403.14790). A flat folder without the
JSON is taken as they take it: every file is a person, which leaves the attacks that need only the
original itself.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from camouflage.errors import SettingError
from camouflage.picture import FORMATS

_COUNTER = re.compile(r"[-_]\d+$")


@dataclass(frozen=True, kw_only=True)
class Photo:
    """An original: ``name`` is its path below the folder, with slashes; ``person`` who is on it."""

    name: str
    person: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """All originals, by name. Raises `SettingError` if there are not two people."""

    photos: tuple[Photo, ...]

    def __post_init__(self) -> None:
        if len({photo.person for photo in self.photos}) < 2:
            raise SettingError(
                "expected photographs of two people or more: a folder a person, or a flat folder "
                f"and a JSON file of identities; got {len(self.photos)} photographs"
            )

    @classmethod
    def load(cls, folder: Path, *, identities: Path | None = None) -> Dataset:
        """Find the photographs of ``folder`` and who is on them.

        Raises:
            SettingError: no such folder, fewer than two people, both layouts mixed, or
                ``identities`` is damaged or lacks a photograph.
        """
        if not folder.is_dir():
            raise SettingError(f"{folder.name}: there is no such folder")
        names = sorted(
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.suffix.lower() in FORMATS and path.is_file() and not path.name.startswith("._")
        )
        nested = [name for name in names if "/" in name]
        if identities is not None:
            people = _identities(identities, names)
        elif nested and len(nested) < len(names):
            raise SettingError(
                f"{folder.name}: has photographs beside folders of photographs; expected a folder "
                "a person, or --identities FILE.json"
            )
        elif nested:
            people = {name: name.split("/")[0] for name in names}
        else:
            people = {name: PurePosixPath(name).stem for name in names}
        return cls(photos=tuple(Photo(name=n, person=people[n], path=folder / n) for n in names))

    def has_other_photos(self) -> bool:
        """Is there a person with two photographs?"""
        return max(Counter(photo.person for photo in self.photos).values()) > 1

    def probes(self, photos_per_person: int | None) -> tuple[Photo, ...]:
        """The first so many photographs of each person, all for None."""
        if photos_per_person is not None and photos_per_person < 1:
            raise SettingError(f"expected photos per person of 1 or more, got {photos_per_person}")
        seen: Counter[str] = Counter()
        chosen = []
        for photo in self.photos:
            seen[photo.person] += 1
            if photos_per_person is None or seen[photo.person] <= photos_per_person:
                chosen.append(photo)
        return tuple(chosen)


def find_results(folder: Path, photos: Sequence[Photo]) -> dict[str, Path]:
    """From an original's name to the file of its result; a name without a result is missing.

    A result has the original's path, with any suffix; or else its stem with a counter or seed
    behind it (``a-12345.png``, ``a_0.jpg``), which CAMOUFLaGE's evaluation strips. In a folder of
    ours, masks and before | after sheets are no results.

    Raises `SettingError` if the folder is missing, or two files could be one original's result.
    """
    if not folder.is_dir():
        raise SettingError(f"{folder.name}: there is no such folder of results")
    by_stem = {str(PurePosixPath(photo.name).with_suffix("")): photo.name for photo in photos}
    names = {photo.name for photo in photos}
    exact: dict[str, list[Path]] = {}
    counted: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in FORMATS or not path.is_file():
            continue
        name = path.relative_to(folder).as_posix()
        stem = str(PurePosixPath(name).with_suffix(""))
        if name in names:
            exact.setdefault(name, []).insert(0, path)
        elif stem in by_stem:
            exact.setdefault(by_stem[stem], []).append(path)
        elif (bare := _COUNTER.sub("", stem)) in by_stem:
            counted.setdefault(by_stem[bare], []).append(path)
    found = {**counted, **exact}
    for name, paths in found.items():
        if len(paths) > 1 and paths[0].relative_to(folder).as_posix() != name:
            raise SettingError(
                f"{folder.name}: {len(paths)} files could be the result of "
                f"{PurePosixPath(name).name}: expected one"
            )
    return {name: paths[0] for name, paths in found.items()}


def read_names(path: Path) -> dict[str, str]:
    """A JSON object from names of people or photographs to a text. Raises `SettingError`."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingError(
            f"{path.name}: cannot be read as JSON ({type(error).__name__})"
        ) from error
    if not isinstance(stored, dict):
        raise SettingError(f'{path.name}: expected {{"name": "text"}}')
    return {str(key): str(value) for key, value in stored.items()}


def _identities(path: Path, names: Sequence[str]) -> dict[str, str]:
    """From a photograph's name to the person."""
    stored = read_names(path)
    people, missing = {}, []
    for name in names:
        pure = PurePosixPath(name)
        keys = (name, str(pure.with_suffix("")), pure.name, pure.stem)
        person = next((stored[key] for key in keys if key in stored), None)
        if person is None:
            missing.append(name)
        people[name] = person or ""
    if missing:
        raise SettingError(
            f"{path.name}: names no person for {len(missing)} photographs, for example "
            f"{PurePosixPath(missing[0]).name}"
        )
    return people
