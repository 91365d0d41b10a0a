"""Picture by picture: every input ends in exactly one state, and only two states leave a file."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from camouflage.batch.jobs import Job
from camouflage.batch.manifest import Entry, Manifest, State
from camouflage.errors import AuditRefused, CamouflageError, NobodyFound, OutputError, PictureError
from camouflage.picture import FORMATS, Picture
from camouflage.write import encode, remove_partials, write_bytes

if TYPE_CHECKING:
    from camouflage.anonymizer import Anonymizer, Result

SHEET_GAP_PX = 8


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one job. ``resumed``: it was done by an earlier run and left as it is."""

    job: Job
    state: State
    message: str = ""
    resumed: bool = False


def run_folder(
    anonymizer: Anonymizer,
    jobs: Sequence[Job],
    *,
    output: Path,
    manifest: Manifest,
    weights: str,
    sheet: bool = False,
    overwrite: bool = False,
) -> Iterator[Outcome]:
    """Do the jobs one after the other, while the result is iterated over.

    An input that an earlier run finished with the same bytes, recipe, ``weights`` (their hash) and
    key is left as it is. A result that an earlier run left and that must be made again is removed
    first. Whatever goes wrong with one picture makes it ``failed``, and nothing is written for it.

    Raises:
        OutputError: the manifest cannot be written; without a record nothing more is done.
    """
    remove_partials(output)
    run = _Run(
        anonymizer=anonymizer,
        output=output,
        manifest=manifest,
        weights=weights,
        sheet=sheet,
        overwrite=overwrite,
    )
    for job in jobs:
        yield run.one(job)


@dataclass(frozen=True, kw_only=True)
class _Run:
    anonymizer: Anonymizer
    output: Path
    manifest: Manifest
    weights: str
    sheet: bool
    overwrite: bool

    def one(self, job: Job) -> Outcome:
        if self._is_done(job):
            state = self.manifest.state(job.relative)
            return Outcome(job=job, state=state, resumed=True)
        start = time.perf_counter()
        try:
            entry = self._made(job, start)
        except Exception as error:  # noqa: BLE001  one picture must not stop the others
            self._remove(job)
            entry = self._entry(job, "failed", start=start, error=error)
        self.manifest.append(entry)
        message = entry.error["message"] if entry.error else ""
        return Outcome(job=job, state=entry.state, message=message)

    def _is_done(self, job: Job) -> bool:
        return not job.problem and self.manifest.done(
            job.relative,
            source=job.source,
            output=self.output,
            recipe_sha256=self.anonymizer.recipe.sha256,
            weights=self.weights,
        )

    def _made(self, job: Job, start: float) -> Entry:
        if job.problem:
            raise PictureError(job.problem)
        if job.source.suffix.lower() not in FORMATS:
            raise PictureError(f"{job.source.suffix or 'a file without suffix'} is not supported")
        self._make_room(job)
        recipe = self.anonymizer.recipe
        picture = Picture.open(job.source, max_megapixels=recipe.max_megapixels)
        result = self.anonymizer(picture, seed=self.manifest.key)
        try:
            image = result.image
        except (NobodyFound, AuditRefused) as error:
            state: State = "nobody" if isinstance(error, NobodyFound) else "refused"
            return self._entry(job, state, start=start, picture=picture, result=result, error=error)
        pixels = np.asarray(image)
        data = encode(pixels, suffix=job.source.suffix, jpeg_quality=recipe.jpeg_quality)
        digest = hashlib.sha256(data).hexdigest()
        self.manifest.about_to_write(job.relative, sha256=digest)
        if self.sheet:
            self._write_sheet(job, picture.pixels, pixels)
        write_bytes(data, self.output / job.relative)
        return self._entry(
            job,
            "copied" if result.state == "copied" else "written",
            start=start,
            picture=picture,
            result=result,
            output_sha256=digest,
        )

    def _make_room(self, job: Job) -> None:
        """Remove what stands at the output's place, if it is ours or may be overwritten."""
        self._remove(job)
        path = self.output / job.relative
        if os.path.lexists(path):
            if not self.overwrite:
                raise OutputError(f"{path.name} exists already; ask for overwriting to replace it")
            path.unlink()

    def _write_sheet(self, job: Job, before: np.ndarray, after: np.ndarray) -> None:
        data = encode(sheet_pixels(before, after), suffix=".jpg")
        self.manifest.about_to_write(job.sheet, sha256=hashlib.sha256(data).hexdigest())
        write_bytes(data, self.output / job.sheet, overwrite=self.overwrite, private=True)

    def _remove(self, job: Job) -> None:
        """Nothing of ours stays at the places of a result and its sheet."""
        for name in (job.relative, job.sheet):
            if self.manifest.owns(name, folder=self.output):
                (self.output / name).unlink(missing_ok=True)

    def _entry(
        self,
        job: Job,
        state: State,
        *,
        start: float,
        picture: Picture | None = None,
        result: Result | None = None,
        output_sha256: str | None = None,
        error: Exception | None = None,
    ) -> Entry:
        recipe = self.anonymizer.recipe
        stages = dict(result.seconds) if result else {}
        return Entry(
            input=job.relative,
            state=state,
            output=job.relative if output_sha256 else None,
            input_sha256=picture.sha256 if picture else None,
            output_sha256=output_sha256,
            seed=self.manifest.key,
            faces=[asdict(face) for face in result.faces] if result else [],
            seconds={**stages, "total": time.perf_counter() - start},
            recipe_sha256=recipe.sha256,
            weights=self.weights,
            threshold=recipe.threshold,
            attempts=len(recipe.ladder),
            error=_described(error, job) if error else None,
        )


def sheet_pixels(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Before | after, uint8 ``(H, 2 W + gap, 3)``; at most 1600 px a side each."""
    scale = min(1.0, 1600 / max(before.shape[:2]))
    size_wh = max(1, round(before.shape[1] * scale)), max(1, round(before.shape[0] * scale))
    pair = [np.asarray(Image.fromarray(p).resize(size_wh)) for p in (before, after)]
    gap = np.full((size_wh[1], SHEET_GAP_PX, 3), 255, np.uint8)
    return np.concatenate([pair[0], gap, pair[1]], axis=1)


def _described(error: Exception, job: Job) -> dict[str, str]:
    """Type and message, without the folder the input lies in."""
    if isinstance(error, OSError) and not isinstance(error, CamouflageError):
        message = error.strerror or ""  # the text of an OSError holds the whole path
    else:
        message = str(error)
    for folder in {str(job.source.parent), str(job.source.resolve().parent)} - {"."}:
        message = message.replace(folder + os.sep, "")
    return {"type": type(error).__name__, "message": message}
