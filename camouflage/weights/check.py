"""Are weights whole, of the right architecture, and unchanged?"""

from __future__ import annotations

from pathlib import Path

from camouflage.errors import WeightsError
from camouflage.weights import architecture
from camouflage.weights.entry import SPLIT, Entry
from camouflage.weights.header import shapes_of
from camouflage.weights.sums import check_file, check_sums, known_sha256


def check(entry: Entry, folder: Path, *, fix: str, is_published: bool = True) -> None:
    """Raise `WeightsError` unless a folder holds whole weights that fit, unchanged.

    ``fix`` is what to do about it; ``is_published``: the table's hashes are to be met, unless the
    folder has its own list.
    """
    if missing := missing_files(entry, folder):
        raise WeightsError(f"{entry.name}: {', '.join(missing)} not in its folder; {fix}")
    architecture.check_folder_is(entry.needs, folder, entry.name)
    for file in entry.files:
        if file.holds and (absent := set(file.holds) - set(shapes_of(folder / file.local_name))):
            raise WeightsError(
                f"{entry.name}: another architecture ({file.local_name} has no {sorted(absent)})"
            )
    if check_sums(folder, known=True) or not is_published:
        return
    for file in entry.files:
        path = folder / file.local_name
        if file.sha256 and not file.becomes and path.is_file():
            check_file(path, file.sha256, found=known_sha256(path), fix=f"{entry.name}: {fix}")


def missing_files(entry: Entry, folder: Path, *, published: bool = False) -> list[str]:
    """The names of required files that a folder does not have.

    ``published``: as the repository has them, pickles not yet converted.
    """
    names = [f.name if published else f.local_name for f in entry.files if f.required]
    return [name for name in names if not _has(folder, name)]


def _has(folder: Path, name: str) -> bool:
    """Whether a file is there, or all the parts of a file of weights that was split."""
    if (folder / name).is_file():
        return True
    index = folder / f"{name.removesuffix('.safetensors')}{SPLIT[0]}"
    if not name.endswith(".safetensors") or not index.is_file():
        return False
    parts = architecture.config_of(index.parent, index.name, index.name).get("weight_map")
    return isinstance(parts, dict) and all(
        (index.parent / str(part)).is_file() for part in set(parts.values())
    )
