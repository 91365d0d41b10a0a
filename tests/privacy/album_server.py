"""Runs an album in forked children that can be killed; test_killed.py talks to it. No torch.

Each line of stdin is an order (JSON), each line of stdout says what became of it. A child that is
told a clock time is killed from outside at that time; one that is told a number of lines kills
itself before that line of `camouflage.batch` or `camouflage.write` is run.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from PIL import Image

import camouflage.batch
import camouflage.write
from camouflage.batch import Manifest, find_jobs, run_folder
from camouflage.errors import AuditRefused
from camouflage.picture import Picture
from camouflage.recipe import Recipe

WATCHED = (str(Path(camouflage.batch.__file__).parent), camouflage.write.__file__)

RECIPE = Recipe.load("mini")


@dataclass(frozen=True)
class Result:
    state: str
    pixels: np.ndarray
    faces: tuple = ()
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def image(self) -> Image.Image:
        if self.state == "refused":
            raise AuditRefused("refused")
        return Image.fromarray(255 - self.pixels)


class Inverter:
    def __init__(self) -> None:
        self.recipe = RECIPE
        self.calls: list[str] = []

    def __call__(self, source: Picture, *, seed: str) -> Result:
        self.calls.append(source.name)
        return Result("refused" if "refused" in source.name else "passed", source.pixels)


class Lines:
    """Counts the lines that are run in what is watched, and kills the process at one of them."""

    def __init__(self, fatal: int) -> None:
        self.fatal, self.count = fatal, 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> Lines | None:
        if event == "call" and not frame.f_code.co_filename.startswith(WATCHED):
            return None
        self.count += event == "line"
        if self.count == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return self


def run(order: dict[str, Any]) -> dict[str, Any]:
    if order.get("named"):  # as where there are no files without a name
        camouflage.write._nameless = lambda folder: None
    lines, inverter = Lines(order.get("line", -1)), Inverter()
    output = Path(order["output"])
    found = find_jobs([Path(order["album"])], output=output)
    if "line" in order:
        sys.settrace(lines)
    with Manifest.open(output / "manifest.jsonl", key=order["key"]) as manifest:
        outcomes = list(
            run_folder(inverter, found.jobs, output=output, manifest=manifest, weights="w")
        )
    sys.settrace(None)
    return {
        "calls": inverter.calls,
        "states": {o.job.relative: o.state for o in outcomes},
        "resumed": [o.job.relative for o in outcomes if o.resumed],
        "redone": [o.job.relative for o in outcomes if o.redone],
        "lines": lines.count,
    }


def fork(order: dict[str, Any]) -> dict[str, Any]:
    reader, writer = os.pipe()
    start = time.perf_counter()
    child = os.fork()
    if not child:
        try:
            os.write(writer, json.dumps(run(order)).encode())
        except BaseException:  # noqa: BLE001  the child must end here
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    if "seconds" in order:
        time.sleep(order["seconds"])
        os.kill(child, signal.SIGKILL)
    with open(reader, "rb") as file:
        answer = file.read()
    _, status = os.waitpid(child, 0)
    return {
        "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
        "took": time.perf_counter() - start,
        **(json.loads(answer) if answer else {}),
    }


if __name__ == "__main__":
    # A killed process loses nothing of what it gave the system, so the disk need not be waited for.
    os.fsync = lambda _: time.sleep(0.0005)
    for line in sys.stdin:
        print(json.dumps(fork(json.loads(line))), flush=True)
