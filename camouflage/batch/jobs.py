"""Which pictures are meant: files and folders in, one job a picture out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from camouflage.errors import SettingError
from camouflage.picture import FORMATS

# fmt: off
NOT_READ = frozenset(
    {
        ".avif", ".gif", ".heic", ".heif", ".jxl", ".jp2", ".j2k", ".jpx", ".psd", ".tga",
        ".ppm", ".pgm", ".pnm", ".ico", ".svg", ".eps", ".pdf", ".dng", ".raw", ".cr2", ".cr3",
        ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw", ".mp4", ".mov", ".m4v", ".avi",
        ".mkv", ".webm", ".mpg", ".mpeg", ".3gp", ".mts",
    }
) - set(FORMATS)
# fmt: on
"""People may be in these as well, so they are inputs that fail, not files that are passed over."""


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
        path = PurePosixPath(self.relative)
        return str(path.with_name(f"{path.stem}.sheet.jpg"))


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """``jobs`` in the order of their names; ``passed_over``: files that are no pictures."""

    jobs: tuple[Job, ...]
    passed_over: int


def find_jobs(inputs: Sequence[Path], *, output: Path, sheet: bool = False) -> Jobs:
    """All pictures among files and folders; a folder's tree is kept.

    A link that leads out of its folder is a job with a problem, it is not followed; the output
    folder is left out where it lies inside an input. Files of types that hold no pictures are
    counted and passed over.

    Raises:
        SettingError: an input is missing, two inputs would get one output name, or an output would
            be written over an input.
    """
    jobs: list[Job] = []
    passed_over = 0
    for path in inputs:
        if path.is_dir():
            for job in _in_folder(path, output=output.resolve()):
                picture = _is_picture(Path(job.relative))
                passed_over += not (picture or job.problem)
                jobs += [job] if picture or job.problem else []
        elif path.exists():
            jobs.append(Job(source=path, relative=path.name))
        else:
            raise SettingError(f"{path.name}: there is no such file or folder")
    _check_names(jobs, output=output, sheet=sheet)
    return Jobs(jobs=tuple(jobs), passed_over=passed_over)


def _is_picture(path: Path) -> bool:
    # "._name.jpg" is macOS's companion of a file, not a picture.
    return path.suffix.lower() in NOT_READ | set(FORMATS) and not path.name.startswith("._")


def _in_folder(folder: Path, *, output: Path) -> Iterator[Job]:
    inside = folder.resolve()
    for root, folders, files in os.walk(folder, followlinks=False, onerror=_raise):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        folders[:] = [n for n in folders if n not in links and (Path(root, n).resolve() != output)]
        for name in sorted(files + links):
            source = Path(root, name)
            problem = ""
            if source.is_symlink() and not source.resolve().is_relative_to(inside):
                problem = "a link that leads out of its folder is not followed"
            elif source.is_symlink() and source.is_dir():
                continue  # what it leads to is met where it is
            yield Job(
                source=source, relative=source.relative_to(folder).as_posix(), problem=problem
            )


def _raise(error: OSError) -> None:
    raise SettingError(f"a folder cannot be listed: {error.strerror}") from error


def _check_names(jobs: Sequence[Job], *, output: Path, sheet: bool) -> None:
    sources = {os.path.realpath(job.source) for job in jobs}
    taken: dict[str, Job] = {"manifest.jsonl": Job(source=Path(), relative="manifest.jsonl")}
    for job in jobs:
        for name in (job.relative, job.sheet) if sheet else (job.relative,):
            if name in taken:
                raise SettingError(f"two inputs would be written to {name}: run them separately")
            taken[name] = job
            if os.path.realpath(output / name) in sources:
                raise SettingError(f"{name} would be written over an input: use another folder")
