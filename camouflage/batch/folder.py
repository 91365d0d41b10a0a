"""Picture by picture: every input ends in exactly one state, and only two states leave a file."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from camouflage.batch.jobs import Job
from camouflage.batch.manifest import Entry, Manifest, State
from camouflage.batch.outcome import Outcome, described, outcome_of
from camouflage.batch.sheet import maps_pixels, sheet_pixels
from camouflage.errors import (
    AuditRefused,
    NobodyFound,
    OutputError,
    OutputLost,
    PictureError,
)
from camouflage.formats import format_of
from camouflage.picture import Picture
from camouflage.subjects.boxes_file import Places, boxes_json, mask_png
from camouflage.write import encode, output_error, remove_partials, write_bytes

if TYPE_CHECKING:
    from camouflage.anonymizer import Anonymizer
    from camouflage.result import Result


def run_folder(
    anonymizer: Anonymizer,
    jobs: Sequence[Job],
    *,
    output: Path,
    manifest: Manifest,
    weights: str,
    places: Places | None = None,
    sheet: bool = False,
    boxes: bool = False,
    masks: bool = False,
    maps: bool = False,
    keep_times: bool = False,
    overwrite: bool = False,
) -> Iterator[Outcome]:
    """Do the jobs one after the other, while the result is iterated over.

    An input that an earlier run finished with the same bytes, recipe, ``weights`` (their hash) and
    key is left as it is. A result that an earlier run left and that must be made again is removed
    first. Whatever goes wrong with one picture makes it ``failed``, and nothing is written for it.

    ``places``: what the user says of where people are. ``sheet``, ``boxes``, ``masks`` and ``maps``
    ask for files beside each result: before | after, what was treated, which pixels were changed,
    from what and by which control maps.
    ``keep_times``: results, those of earlier runs too, get the file times of their inputs, which
    say when a photo was taken.

    Raises:
        OutputLost: nothing more can be written or recorded: the disk is full, read-only or failing,
            or the folder is gone. It, and an interruption, leaves nothing of the input at hand.
        OutputError: what a killed run left half written cannot be removed.
    """
    remove_partials(output)
    run = _Run(
        anonymizer=anonymizer,
        output=output,
        manifest=manifest,
        weights=weights,
        places=places or Places(),
        sheet=sheet,
        boxes=boxes,
        masks=masks,
        maps=maps,
        keep_times=keep_times,
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
    places: Places
    sheet: bool
    boxes: bool
    masks: bool
    maps: bool
    keep_times: bool
    overwrite: bool

    def one(self, job: Job) -> Outcome:
        changes = self._changes(job)
        if changes == ():
            return self._resumed(job)
        start = time.perf_counter()
        try:
            entry = self._decided(job, start)
            self.manifest.append(entry)
        except BaseException:  # stopped: what has no record does not stay
            with contextlib.suppress(OutputError):
                self._remove(job)
            raise
        return outcome_of(job, asdict(entry), redone=changes or (), seconds=entry.seconds["total"])

    def _changes(self, job: Job) -> tuple[str, ...] | None:
        """As `Manifest.changes`; files beside a result that are asked for count as parts of it."""
        if job.problem:
            return None
        changes = self.manifest.changes(
            job.relative,
            source=job.source,
            output=self.output,
            recipe_sha256=self.anonymizer.recipe.sha256,
            weights=self.weights,
            places_sha256=self.places.digest(job.relative),
        )
        state = (self.manifest.entry(job.relative) or {}).get("state")
        if changes == () and state in ("written", "copied"):
            for name in self._beside(job, written=state == "written"):
                if not self.manifest.knows(name):
                    return ("a file beside it (sheet, boxes, mask or maps) is asked for now",)
                if not self.manifest.owns(name, folder=self.output):
                    return ("a file beside it (sheet, boxes, mask or maps) was changed or is gone",)
        return changes

    def _beside(self, job: Job, *, written: bool = True) -> tuple[str, ...]:
        """The files that are asked for. Of a copy nothing was treated."""
        return job.beside(
            sheet=self.sheet,
            boxes=self.boxes and written,
            masks=self.masks and written,
            maps=self.maps and written,
        )

    def _result(self, job: Job, picture: Picture) -> Result:
        """Anonymizers that know no given places do where none are given."""
        key, detect = self.manifest.key, self.places.detect
        regions = self.places.regions(job.relative, picture.size_hw)
        if regions is None and detect:
            return self.anonymizer(picture, seed=key)
        return self.anonymizer(picture, seed=key, regions=regions, detect=detect)

    def _resumed(self, job: Job) -> Outcome:
        entry = self.manifest.entry(job.relative) or {}
        if not entry.get("output"):
            self._remove(job)  # an older result that somebody put back
        elif self.keep_times:
            self._copy_times(job)
        return outcome_of(job, entry, resumed=True)

    def _decided(self, job: Job, start: float) -> Entry:
        try:
            return self._made(job, start)
        except Exception as error:  # noqa: BLE001  one picture must not stop the others
            self._end_if_lost(error)
            self._remove(job)
            return self._entry(job, "failed", start=start, error=error)

    def _end_if_lost(self, error: Exception) -> None:
        """A full disk would only make thousands of inputs fail: that ends the run."""
        if isinstance(error, OutputLost):
            raise error
        if isinstance(error, OutputError) and not os.access(self.output, os.W_OK | os.X_OK):
            raise OutputLost(
                "the output folder is gone or may not be written any more; mend that and run the "
                "same command again, what is finished is kept"
            ) from error

    def _made(self, job: Job, start: float) -> Entry:
        if job.problem:
            raise PictureError(job.problem)
        format_of(job.source.suffix)
        self._make_room(job)
        recipe = self.anonymizer.recipe
        picture = Picture.open(job.source, max_megapixels=recipe.max_megapixels)
        result = self._result(job, picture)
        try:
            image = result.image
        except (NobodyFound, AuditRefused) as error:
            state: State = "nobody" if isinstance(error, NobodyFound) else "refused"
            return self._entry(job, state, start=start, picture=picture, result=result, error=error)
        pixels = np.asarray(image)
        data = encode(pixels, suffix=job.source.suffix, jpeg_quality=recipe.jpeg_quality)
        digest = hashlib.sha256(data).hexdigest()
        self.manifest.about_to_write(job.relative, sha256=digest)
        self._write_beside(job, picture, result, pixels)
        write_bytes(data, self.output / job.relative)
        if self.keep_times:
            self._copy_times(job)
        return self._entry(
            job,
            "copied" if result.state == "copied" else "written",
            start=start,
            picture=picture,
            result=result,
            output_sha256=digest,
        )

    def _copy_times(self, job: Job) -> None:
        """Best effort: there are disks that keep no times."""
        with contextlib.suppress(OSError):
            times = job.source.stat()
            os.utime(self.output / job.relative, ns=(times.st_atime_ns, times.st_mtime_ns))

    def _make_room(self, job: Job) -> None:
        """Remove what stands at the output's place, if it is ours or may be overwritten."""
        self._remove(job)
        for name in (job.relative, *self._beside(job)):
            path = self.output / name
            if os.path.lexists(path):
                if not self.overwrite:
                    raise OutputError(
                        f"{path.name} exists already; ask for overwriting to replace it"
                    )
                _unlink(path)

    def _write_beside(self, job: Job, picture: Picture, result: Result, pixels: np.ndarray) -> None:
        wanted = self._beside(job, written=result.state != "copied")
        if job.sheet in wanted:
            sheet = encode(sheet_pixels(picture.pixels, pixels), suffix=".jpg")
            self._write_one(job.sheet, sheet, private=True)
        if job.boxes in wanted:
            self._write_one(job.boxes, boxes_json(job.relative, result.regions))
        if job.mask in wanted:
            self._write_one(job.mask, mask_png(result.mask))
        if job.maps in wanted:
            rows = self.anonymizer.shown_maps(picture, result, key=self.manifest.key)
            self._write_one(job.maps, encode(maps_pixels(rows), suffix=".jpg"), private=True)

    def _write_one(self, name: str, data: bytes, *, private: bool = False) -> None:
        self.manifest.about_to_write(name, sha256=hashlib.sha256(data).hexdigest())
        write_bytes(data, self.output / name, private=private)

    def _remove(self, job: Job) -> None:
        """Nothing of ours stays at the places of a result and of the files beside it.

        Raises `OutputLost`: an input without a result, beside a result, would be a false record.
        """
        for name in (job.relative, *job.beside()):
            if self.manifest.owns(name, folder=self.output):
                try:
                    _unlink(self.output / name)
                except OutputError as error:
                    raise OutputLost(str(error)) from error

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
            places_sha256=self.places.digest(job.relative),
            error=described(error, job) if error else None,
        )


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise output_error(error, f"{path.name} could not be removed") from error
