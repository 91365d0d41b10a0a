"""What became of one input, for whoever runs a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from camouflage.batch.jobs import Job
from camouflage.batch.manifest import State
from camouflage.errors import CamouflageError


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one job.

    ``output``: the file, relative to the output folder, if there is one. ``error`` and ``message``:
    type and text where there is none. ``resumed``: an earlier run finished it and it was left as it
    is. ``redone``: an earlier run finished it, and this is what changed since. ``faces``: how many
    were found. ``seconds``: spent on it by this run.
    """

    job: Job
    state: State
    output: str | None = None
    error: str = ""
    message: str = ""
    resumed: bool = False
    redone: tuple[str, ...] = ()
    faces: int = 0
    seconds: float = 0.0


def outcome_of(
    job: Job,
    entry: dict[str, Any],
    *,
    resumed: bool = False,
    redone: tuple[str, ...] = (),
    seconds: float = 0.0,
) -> Outcome:
    """From a job's entry in the manifest."""
    error = entry.get("error") or {}
    return Outcome(
        job=job,
        state=entry["state"],
        output=entry.get("output"),
        error=error.get("type", ""),
        message=error.get("message", ""),
        resumed=resumed,
        redone=redone,
        faces=len(entry.get("faces") or ()),
        seconds=seconds,
    )


def described(error: Exception, job: Job) -> dict[str, str]:
    """Type and message, without the folder the input lies in; its name stands beside it already."""
    if isinstance(error, OSError) and not isinstance(error, CamouflageError):
        message = error.strerror or ""  # the text of an OSError holds the whole path
    else:
        message = str(error)
    for folder in {str(job.source.parent), os.path.dirname(os.path.realpath(job.source))} - {"."}:
        message = message.replace(folder + os.sep, "")
    message = message.removeprefix(f"{job.source.name}: ")
    return {"type": type(error).__name__, "message": message}
