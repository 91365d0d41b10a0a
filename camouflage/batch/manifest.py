"""What happened to each input: JSON lines, only ever appended, readable by their owner alone.

The first line is a header with the key of the seeds. Each further line is an :class:`Entry`, or
says which file is about to be written (so that a run killed at the worst moment can tell its own
file from somebody else's). The last line of an input counts. There are no embeddings in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from camouflage.errors import OutputError, SettingError

State = Literal["written", "copied", "nobody", "refused", "failed"]
STATES: tuple[State, ...] = ("written", "copied", "nobody", "refused", "failed")
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One input. Paths are relative to the input and the output folder, with forward slashes.

    ``faces``: one record a face. ``seconds``: by stage. ``error``: type and message, of a failed
    input or of one that was not written.
    """

    input: str
    state: State
    output: str | None = None
    input_sha256: str | None = None
    output_sha256: str | None = None
    seed: str
    faces: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    recipe_sha256: str
    weights: str
    threshold: float
    attempts: int
    """How many the recipe's ladder has."""
    error: dict[str, str] | None = None

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise SettingError(f"expected a state of {STATES}, got {self.state!r}")
        if (self.state in ("written", "copied")) != (self.output is not None):
            raise SettingError("written and copied inputs have an output, the others have none")


class Manifest:
    """``DIR/manifest.jsonl``: the record of all runs into one output folder.

    ``key``: of the seeds, as text. Without one, the key of the last run is taken, or a new random
    one. Make it by :meth:`open`.
    """

    def __init__(self, path: Path, *, key: str, lines: list[dict[str, Any]]) -> None:
        self.path = path
        self.key = key
        self._entries = {line["input"]: line for line in lines if "state" in line}
        self._ours = [line for line in lines if line.get("output_sha256")]

    @classmethod
    def open(cls, path: Path, *, key: str | None = None) -> Manifest:
        """Read the manifest if there is one, and note the key.

        A line that is cut off (by a killed run) is passed over: its input counts as not done.

        Raises:
            OutputError: it cannot be read or written.
        """
        lines = _read_lines(path)
        keys = [line["key"] for line in lines if isinstance(line.get("key"), str)]
        chosen = key if key is not None else (keys[-1] if keys else secrets.token_hex(16))
        manifest = cls(path, key=chosen, lines=lines)
        if not keys or keys[-1] != chosen:
            manifest._append({"manifest": VERSION, "key": chosen})
        return manifest

    def append(self, entry: Entry) -> None:
        """Add the entry, and wait until it is on the disk."""
        self._append(asdict(entry))

    def about_to_write(self, output: str, *, sha256: str) -> None:
        """Note a file before it is written, so that it is known as ours if the run is killed."""
        self._append({"about_to_write": output, "output": output, "output_sha256": sha256})

    def done(
        self, relative: str, *, source: Path, output: Path, recipe_sha256: str, weights: str
    ) -> bool:
        """Whether the input was written or copied, and all is as it was then.

        True only if input, recipe, weights and key are those of the entry, and the output has the
        bytes the entry says.
        """
        entry = self._entries.get(relative, {})
        made = {"recipe_sha256": recipe_sha256, "weights": weights, "seed": self.key}
        return (
            entry.get("state") in ("written", "copied")
            and all(entry.get(name) == value for name, value in made.items())
            and _same(output / str(entry.get("output")), entry.get("output_sha256"))
            and _same(source, entry.get("input_sha256"))
        )

    def state(self, relative: str) -> State:
        """The state of an input that has an entry."""
        return self._entries[relative]["state"]

    def owns(self, output: str, *, folder: Path) -> bool:
        """Whether the file at ``folder / output`` has the bytes that a run noted for it."""
        digests = [line["output_sha256"] for line in self._ours if line.get("output") == output]
        return bool(digests) and file_sha256(folder / output) in digests

    def _append(self, line: dict[str, Any]) -> None:
        text = json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"
        # Names that are not valid Unicode are kept as what Python makes of them.
        data = text.encode("utf-8", "backslashreplace")
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, flags, 0o600)
            with open(descriptor, "r+b", buffering=0) as file:
                if hasattr(os, "fchmod"):
                    os.fchmod(descriptor, 0o600)
                end = file.seek(0, os.SEEK_END)
                if end and os.pread(descriptor, 1, end - 1) != b"\n":
                    data = b"\n" + data  # the last run was killed within a line
                file.write(data)
                os.fsync(descriptor)
        except OSError as error:
            raise OutputError(f"{self.path.name} cannot be written: {error.strerror}") from error
        if "state" in line:
            self._entries[line["input"]] = line
        if line.get("output_sha256"):
            self._ours.append(line)


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, empty if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return _digest(file)
    except OSError:
        return ""


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()  # hashlib.file_digest is of Python 3.11
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _same(path: Path, sha256: object) -> bool:
    return bool(sha256) and file_sha256(path) == sha256


def _read_lines(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    except OSError as error:
        raise OutputError(f"{path.name} cannot be read: {error.strerror}") from error
    lines = []
    for line in text.split("\n"):  # splitlines() also splits inside of names
        try:
            value = json.loads(line)
        except ValueError:
            continue  # cut off: its input counts as not done
        if isinstance(value, dict):
            lines.append(value)
    return lines
