"""Which pictures are meant: files and folders in, one job a picture out."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from camouflage.errors import SettingError
from camouflage.formats import FORMATS
from camouflage.listing import MASK_SUFFIX, cannot_be_listed, is_picture, masks_of

OWN_NAMES = ("manifest.jsonl", "recipe.yaml")
"""Files of a run in its output folder."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One input. ``relative``: its path below the output folder, with forward slashes.

    ``problem``: why it must not be read, empty if it may be.
    """

    source: Path
    relative: str
    problem: str = ""

    @property
    def sheet(self) -> str:
        """Where its before | after picture goes."""
        return self._beside(".sheet.jpg")

    @property
    def boxes(self) -> str:
        """Where the boxes of what was treated go."""
        return self._beside(".boxes.json")

    @property
    def mask(self) -> str:
        """Where the mask of what was changed goes."""
        return self._beside(MASK_SUFFIX)

    @property
    def maps(self) -> str:
        """Where the picture of its starts and control maps goes."""
        return self._beside(".maps.jpg")

    def beside(
        self, *, sheet: bool = True, boxes: bool = True, masks: bool = True, maps: bool = True
    ) -> tuple[str, ...]:
        """The files beside a result; none for what can have no result, as the film of a photo."""
        if self.problem or self.source.suffix.lower() not in FORMATS:
            return ()
        wanted = {self.sheet: sheet, self.boxes: boxes, self.mask: masks, self.maps: maps}
        return tuple(name for name, true in wanted.items() if true)

    def _beside(self, suffix: str) -> str:
        path = PurePosixPath(self.relative)
        return str(path.with_name(f"{path.stem}{suffix}"))


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """``jobs`` in the order of their names; ``passed_over``: files that are no pictures."""

    jobs: tuple[Job, ...]
    passed_over: int


def find_jobs(
    inputs: Sequence[Path],
    *,
    output: Path,
    sheet: bool = False,
    boxes: bool = False,
    masks: bool = False,
    maps: bool = False,
) -> Jobs:
    """All pictures among files and folders; a folder's tree is kept.

    A link that leads out of its folder is a job with a problem, it is not followed; the output
    folder is left out where it lies inside an input. Files of types that hold no pictures, and the
    masks that an earlier run wrote beside the pictures, are counted and passed over.

    Raises:
        SettingError: an input is missing, two inputs would get one output name (also one that
            differs only in case or in Unicode normalisation: many disks see no difference), or an
            output would be written over an input or into a folder of inputs.
    """
    jobs: list[Job] = []
    passed_over = 0
    for path in inputs:
        if path.is_dir():
            for job in _in_folder(path, output=output):
                picture = is_picture(Path(job.relative))
                passed_over += not (picture or job.problem)
                jobs += [job] if picture or job.problem else []
        elif path.exists():
            jobs.append(Job(source=path, relative=path.name))
        else:
            raise SettingError(f"{path.name}: there is no such file or folder")
    files = {job.source.as_posix(): job.source for job in jobs if not job.problem}
    of_earlier_runs = masks_of(files, files)
    kept = [job for job in jobs if job.source.as_posix() not in of_earlier_runs]
    passed_over += len(jobs) - len(kept)
    jobs = kept
    names = [
        name
        for job in jobs
        for name in (job.relative, *job.beside(sheet=sheet, boxes=boxes, masks=masks, maps=maps))
    ]
    _check_names(names)
    _check_places(names, jobs, [path for path in inputs if path.is_dir()], output=output)
    return Jobs(jobs=tuple(jobs), passed_over=passed_over)


def _in_folder(folder: Path, *, output: Path) -> Iterator[Job]:
    inside = os.path.realpath(folder)
    for root, folders, files in os.walk(folder, followlinks=False, onerror=cannot_be_listed):
        kept, links = [], []
        for name in sorted(folders):
            path = Path(root, name)
            if path.is_symlink() or not _is_within(path, inside):
                links.append(name)
            elif not _is_same(path, output):
                kept.append(name)
        folders[:] = kept
        for name in sorted(files + links):
            source = Path(root, name)
            problem = ""
            if (name in links or source.is_symlink()) and not _is_within(source, inside):
                problem = "a link that leads out of its folder is not followed"
            elif source.is_symlink() and source.is_dir():
                continue  # what it leads to is met where it is
            relative = source.relative_to(folder).as_posix()
            yield Job(source=source, relative=relative, problem=problem)


def _is_within(path: str | Path, folder: str) -> bool:
    """Whether a path, all links followed, leads to ``folder`` (a real path) or below."""
    return Path(os.path.realpath(path)).is_relative_to(folder)


def _is_same(path: Path, other: Path) -> bool:
    """Whether two paths lead to one file or folder, in whatever case they are spelled."""
    try:
        return os.path.samefile(path, other)
    except OSError:
        return os.path.realpath(path) == os.path.realpath(other)


def _check_names(names: Sequence[str]) -> None:
    taken = {folded(name): name for name in OWN_NAMES}
    folders = {folded(str(parent)): str(parent) for n in names for parent in _parents(n)}
    for name in names:
        other = taken.get(folded(name)) or folders.get(folded(name))
        if other == name:
            raise SettingError(f"two inputs would be written to {name}: run them separately")
        if other is not None:
            raise SettingError(
                f"{other} and {name} are one name on many disks: rename one, or run them separately"
            )
        taken[folded(name)] = name


def _parents(name: str) -> Sequence[PurePosixPath]:
    return list(PurePosixPath(name).parents)[:-1]


def folded(name: str) -> str:
    """What names have in common that differ only in case or in Unicode normalisation.

    Letter by letter, as the disks of Windows and macOS do it: ``ß`` is not ``ss``.
    """
    letters = unicodedata.normalize("NFC", name)
    same = (next((f for f in (c.casefold(), c.lower()) if len(f) == 1), c) for c in letters)
    return unicodedata.normalize("NFC", "".join(same))


def _check_places(
    names: Sequence[str], jobs: Sequence[Job], folders: Sequence[Path], *, output: Path
) -> None:
    real_output = os.path.realpath(output)
    # A folder of inputs around the output is fine: the output is left out of it.
    real_folders = {os.path.realpath(folder) for folder in folders} - {real_output}
    inside = [folder for folder in real_folders if _is_within(folder, real_output)]
    sources = {os.path.realpath(job.source) for job in jobs}
    files = {_identity(job.source) for job in jobs} - {None}
    for name in names:
        path = os.path.realpath(output / name)
        if path in sources or _identity(output / name) in files:
            raise SettingError(f"{name} would be written over an input: use another folder")
        if any(_is_within(path, folder) for folder in inside):
            raise SettingError(f"{name} would be written among the inputs: use another folder")


def _identity(path: Path) -> tuple[int, int] | None:
    """Of the file, whatever its name is: two names may differ in case only, or be hard links."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
