"""What happened to each input: JSON lines, only ever appended, readable by their owner alone.

The first line is a header with the key of the seeds. Each further line is an :class:`Entry`, or
says which file is about to be written (so that a run killed at the worst moment can tell its own
file from somebody else's). The last line of an input counts. There are no embeddings in it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
import weakref
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from camouflage import __version__
from camouflage.errors import OutputError, OutputLost, SettingError
from camouflage.weights import file_sha256
from camouflage.write import output_error, sync_folder, write_all

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

State = Literal["written", "copied", "nobody", "refused", "failed"]
STATES: tuple[State, ...] = ("written", "copied", "nobody", "refused", "failed")
FINISHED: tuple[State, ...] = ("written", "copied", "nobody", "refused")
"""States that the same input, recipe, weights and key lead to again; failures may pass."""
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
    places_sha256: str = ""
    """Of what the user said of the places to redraw; empty if nothing."""
    version: str = __version__
    """Of this package."""
    error: dict[str, str] | None = None

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise SettingError(f"expected a state of {STATES}, got {self.state!r}")
        if (self.state in ("written", "copied")) != (self.output is not None):
            raise SettingError("written and copied inputs have an output, the others have none")


class Manifest:
    """``DIR/manifest.jsonl``: the record of all runs into one output folder.

    ``key``: of the seeds, as text. Without one, the key of the last run is taken, or a new random
    one. Make it by :meth:`open`, and close it, or use it in a ``with`` statement: while it is open
    no other run can have the folder. The system takes that lock from a run that is killed. There is
    no lock on Windows, and none on network disks that know no locks.
    """

    def __init__(self, path: Path, descriptor: int, *, key: str | None) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        self._end = weakref.finalize(self, os.close, descriptor)
        lines = _parsed(self._read())
        self._entries = {
            line["input"]: line for line in lines if line.get("state") and line.get("input")
        }
        self._ours: dict[str, set[str]] = {}
        for line in lines:
            self._note_output(line)
        keys = [line["key"] for line in lines if isinstance(line.get("key"), str)]
        self.key = key if key is not None else (keys[-1] if keys else secrets.token_hex(16))
        if not keys or keys[-1] != self.key:
            self._append({"manifest": VERSION, "key": self.key})

    @classmethod
    def open(cls, path: Path, *, key: str | None = None) -> Manifest:
        """Take the folder for this run, read the manifest if there is one, and note the key.

        A line that is cut off (by a killed run) is passed over: its input counts as not done.

        Raises:
            OutputError: another run has the folder, or the manifest cannot be read or written.
        """
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, flags, 0o600)
            try:
                _require_file(descriptor, path)
                _lock(descriptor, path)
                if hasattr(os, "fchmod"):
                    with contextlib.suppress(PermissionError):  # USB sticks have no modes
                        os.fchmod(descriptor, 0o600)
                sync_folder(path.parent)
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            raise output_error(error, f"{path.name} cannot be written") from error
        return cls(path, descriptor, key=key)

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other runs have the folder."""
        self._descriptor = None
        self._end()

    def append(self, entry: Entry) -> None:
        """Add the entry, and wait until it is on the disk."""
        self._append(asdict(entry))

    def about_to_write(self, output: str, *, sha256: str) -> None:
        """Note a file before it is written, so that it is known as ours if the run is killed."""
        self._append({"about_to_write": output, "output": output, "output_sha256": sha256})

    def entry(self, relative: str) -> dict[str, Any] | None:
        """The last entry of an input, as it stands in the file; None if there is none."""
        return self._entries.get(relative)

    def changes(
        self,
        relative: str,
        *,
        source: Path,
        output: Path,
        recipe_sha256: str,
        weights: str,
        places_sha256: str = "",
    ) -> tuple[str, ...] | None:
        """What is not any more as it was when the input was finished, in words; empty if all is.

        None if the input was never finished: it has no entry, or it failed. Finished are inputs
        that were written or copied, and those of which nothing came because of what is in them
        (nobody, refused): with the same input, recipe, weights, key and version it would be so
        again.
        """
        entry = self._entries.get(relative, {})
        if entry.get("state") not in FINISHED:
            return None
        changed = {
            "the input changed": not _same(source, entry.get("input_sha256")),
            "the recipe changed": entry.get("recipe_sha256") != recipe_sha256,
            "the weights changed": entry.get("weights") != weights,
            "another version of camouflage": entry.get("version") != __version__,
            "another seed": entry.get("seed") != self.key,
            "the given boxes changed": entry.get("places_sha256", "") != places_sha256,
            "the output was changed or is gone": bool(entry.get("output"))
            and not _same(output / str(entry["output"]), entry.get("output_sha256")),
        }
        return tuple(reason for reason, true in changed.items() if true)

    def knows(self, output: str) -> bool:
        """Whether a run has noted a file of this name, whatever became of it."""
        return output in self._ours

    def owns(self, output: str, *, folder: Path) -> bool:
        """Whether the file at ``folder / output`` has the bytes that a run noted for it."""
        return self.knows(output) and file_sha256(folder / output) in self._ours[output]

    def _note_output(self, line: dict[str, Any]) -> None:
        if line.get("output_sha256"):
            self._ours.setdefault(str(line.get("output")), set()).add(line["output_sha256"])

    def _append(self, line: dict[str, Any]) -> None:
        text = json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"
        # Names that are not valid Unicode are kept as what Python makes of them.
        data = text.encode("utf-8", "backslashreplace")
        try:
            descriptor = self._still_there()
            end = os.lseek(descriptor, 0, os.SEEK_END)
            if end:
                os.lseek(descriptor, end - 1, os.SEEK_SET)
                if os.read(descriptor, 1) != b"\n":
                    data = b"\n" + data  # the last run was killed within a line
            write_all(descriptor, data)
            os.fsync(descriptor)
        except OSError as error:
            what = f"{self.path.name} cannot be written"
            raise OutputLost(str(output_error(error, what))) from error
        if "state" in line:
            self._entries[line["input"]] = line
        self._note_output(line)

    def _still_there(self) -> int:
        """The open file, if it is still the one in the folder."""
        if self._descriptor is None:
            raise OutputLost(f"{self.path.name} is closed; open it again to go on")
        try:
            there = os.path.samestat(os.fstat(self._descriptor), os.lstat(self.path))
        except FileNotFoundError:
            there = False
        if not there:
            raise OutputLost(
                f"{self.path.name} is gone: it or the output folder was removed or replaced while "
                "this ran; run the same command again"
            )
        return self._descriptor

    def _read(self) -> str:
        assert self._descriptor is not None  # noqa: S101  it was just opened
        try:
            with open(self._descriptor, "rb", closefd=False) as file:
                return file.read().decode("utf-8", "replace")
        except OSError as error:
            raise output_error(error, f"{self.path.name} cannot be read") from error


def _require_file(descriptor: int, path: Path) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OutputError(f"{path.name}: expected a regular file; remove what stands there")


def _lock(descriptor: int, path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(
            f"{path.name} is in use: another run writes into this folder; wait until it has ended, "
            "or choose another folder"
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise


def _same(path: Path, sha256: object) -> bool:
    return bool(sha256) and file_sha256(path) == sha256


def _parsed(text: str) -> list[dict[str, Any]]:
    lines = []
    for line in text.split("\n"):  # splitlines() also splits inside of names
        try:
            value = json.loads(line)
        except ValueError:
            continue  # cut off: its input counts as not done
        if isinstance(value, dict) and all(
            isinstance(value.get(name) or "", str) for name in ("input", "output", "output_sha256")
        ):
            lines.append(value)
    return lines
