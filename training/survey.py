"""A look at every picture before any is encoded: what is used, and on which side of the split.

A line of ``pictures.jsonl`` says what was seen of each picture; those that are left out have their
reason.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader, Dataset

from camouflage.errors import MissingExtra, PictureError
from camouflage.listing import cannot_be_listed, is_picture
from camouflage.picture import Picture
from training.split import fingerprint, held_out, near_copies

SEEN = "pictures.jsonl"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One picture file: its bytes' sha256, size in pixels and fingerprint; or ``unreadable``, why.

    ``name`` is the source folder's name and the path below it.
    """

    name: str
    sha256: str = ""
    size_hw: tuple[int, int] = (0, 0)
    fingerprint: int = 0
    unreadable: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Names of the pictures of each split, in a seeded order, and why the others are left out."""

    splits: dict[str, list[Seen]]
    left_out: dict[str, str]

    def sha256(self) -> str:
        """Of the names, the bytes and the order of all that is used."""
        used = {split: [(s.name, s.sha256) for s in seen] for split, seen in self.splits.items()}
        return hashlib.sha256(json.dumps(used).encode()).hexdigest()


class PictureFiles(Dataset[Seen]):
    """Picture files by number; an item is what is seen of it."""

    def __init__(self, files: Sequence[tuple[str, Path]]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Seen:
        name, path = self.files[index]
        try:
            picture = Picture.open(path)
        except (PictureError, MissingExtra, OSError) as error:
            return Seen(name=name, unreadable=why(error))
        return Seen(
            name=name,
            sha256=picture.sha256,
            size_hw=picture.size_hw,
            fingerprint=fingerprint(picture.pixels),
        )


def why(error: Exception) -> str:
    """Its text, without a folder's name."""
    return error.strerror or "" if isinstance(error, OSError) else str(error)


def find_pictures(sources: Sequence[Path]) -> dict[str, Path]:
    """Name to path of every picture in the folders ``sources`` and below, sorted.

    Raises:
        ValueError: a source is no folder, two have one name, or there is no picture in them.
    """
    names = [source.resolve().name for source in sources]
    if len(set(names)) < len(names) or not all(source.is_dir() for source in sources):
        raise ValueError(f"expected folders of different names as sources, got {names}")
    files = {
        f"{name}/{path.relative_to(source).as_posix()}": path
        for name, source in zip(names, sources, strict=True)
        for folder, _, inside in os.walk(source, onerror=cannot_be_listed)
        for path in (Path(folder, file) for file in inside)
        if is_picture(path)
    }
    if not files:
        raise ValueError(f"no picture in {names}")
    return dict(sorted(files.items()))


def look(files: dict[str, Path], record: Path, workers: int) -> list[Seen]:
    """What is seen of ``files``, in their order; each is looked at once, also over several runs.

    ``record`` gets a line a picture as the look goes on.
    """
    known = {seen.name: seen for seen in read_record(record)}
    unseen = [(name, path) for name, path in files.items() if name not in known]
    with record.open("a", encoding="utf-8") as lines:
        for seen in DataLoader(PictureFiles(unseen), batch_size=None, num_workers=workers):
            known[seen.name] = seen
            lines.write(json.dumps(asdict(seen)) + "\n")
            lines.flush()
    return [known[name] for name in files]


def read_record(record: Path) -> Iterator[Seen]:
    """The pictures in ``record``, whose last line is cut off where a stop left it unfinished."""
    if not record.is_file():
        return
    text = record.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        os.truncate(record, len(whole))
    for line in whole.decode().splitlines():
        seen = json.loads(line)
        yield Seen(**(seen | {"size_hw": tuple(seen["size_hw"])}))


def make_plan(seen: Sequence[Seen], *, least_side_px: int, share: float, seed: int) -> Plan:
    """Leave out what cannot be used and each second copy; hold out about ``share`` of the rest.

    Near copies stay on one side of the split.

    Raises:
        ValueError: nothing is left, or nothing to hold out.
    """
    left_out, used, first = {}, [], {}
    for picture in seen:
        if picture.unreadable:
            left_out[picture.name] = f"unreadable: {picture.unreadable}"
        elif min(picture.size_hw) < least_side_px:
            left_out[picture.name] = f"too small: {min(picture.size_hw)} px"
        elif picture.sha256 in first:
            left_out[picture.name] = f"copy: of {first[picture.sha256]}"
        else:
            first[picture.sha256] = picture.name
            used.append(picture)
    if not used:
        raise ValueError(f"none of {len(seen)} pictures can be used: {sorted(left_out.items())[0]}")
    order = np.random.default_rng(seed).permutation(len(used))
    used = [used[i] for i in order]
    held = held_out(near_copies([p.fingerprint for p in used]), seed, share=share)
    if share > 0 and not held.any():
        raise ValueError("nothing can be held out: more than five pictures in every set of copies")
    splits = {
        name: [p for p, chosen in zip(used, mask, strict=True) if chosen]
        for name, mask in (("heldout", held), ("train", ~held))
    }
    return Plan(splits=splits, left_out=left_out)
