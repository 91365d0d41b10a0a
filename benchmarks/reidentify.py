"""Are people recognised after anonymization?

    python -m benchmarks.reidentify PHOTOS_BY_PERSON --output DIR --sweep anonymization_scale=0,1

``PHOTOS_BY_PERSON`` has a folder a person. The first photographs of each are anonymized with the
gate off (what the model does, not what the audit refuses); the recogniser then looks for the
nearest among all *other* photographs of all people. Failures count as re-identified; the optimistic
number stands beside. The recogniser is dlib, which the product's audit uses too: with the gate on,
its numbers are optimistic, and another recogniser is needed for a claim.

Writes ``results.json``, ``table.md``, ``sheet.png`` (originals beside results: keep it where the
photographs may be) and ``gallery.npz`` (embeddings of the gallery) into DIR, and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import yaml
from numpy.typing import NDArray

from benchmarks.attack import Gallery, Interval, bootstrap, hits, require_controls
from benchmarks.photos import GALLERY_CACHE, Photo, by_person, gallery_rows, main_face, split
from benchmarks.sheet import contact_sheet, markdown_table
from camouflage import obfuscate
from camouflage.anonymizer import Anonymizer
from camouflage.attempts import paste_order
from camouflage.audit import Recogniser
from camouflage.compose import compose
from camouflage.errors import CamouflageError, SettingError
from camouflage.picture import Picture
from camouflage.recipe import Recipe
from camouflage.subjects.faces import Face, FaceDetector

KEY = "benchmark"
"""The noise of every run, so that two runs can be compared."""
FOUND_SCORE = 0.5
OVERLAP = 0.3
"""Intersection over union from which a face on the result is the one that was there."""
SHEET_PROBES = 12

Method = Callable[[Picture, Sequence[Face]], NDArray[np.uint8]]
"""A picture and its faces to new pixels; raises `CamouflageError` where it fails."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Probe:
    """A photograph to anonymize: ``face`` is the named person's; ``faces`` all, none if missed."""

    photo: Photo
    picture: Picture
    faces: tuple[Face, ...]
    face: Face | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """One method on one probe. ``pixels`` is None if it failed.

    ``by_original`` (128,) is embedded by the original's points, ``by_result`` by those found on the
    result, NaN where not possible; ``found``: a face is there; ``shift``: of its points, in eye
    distances, NaN if not found.
    """

    pixels: NDArray[np.uint8] | None
    by_original: NDArray[np.float64]
    by_result: NDArray[np.float64]
    found: bool
    shift: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """A method over all probes. ``rank1``: worst case, every failure is re-identified; the face is
    cut by the original's points, so that hiding it from the detector does not help.
    ``rank1_optimistic``: failures and faces that are not found count as not re-identified.
    """

    method: str
    attempted: int
    written: int
    found: Interval
    rank1: Interval
    rank1_optimistic: Interval
    shift: Interval


def baselines(*, margin: float = 0.1) -> dict[str, Method]:
    """Everybody's obfuscations, on the detector's boxes grown by ``margin``; our strengths."""
    strengths: dict[str, Callable[..., NDArray[np.uint8]]] = {
        "blur 0.05": lambda p, b: obfuscate.blur(p, b, sigma=0.05),
        "blur 0.15": lambda p, b: obfuscate.blur(p, b, sigma=0.15),
        "pixelate 16": lambda p, b: obfuscate.pixelate(p, b, blocks=16),
        "pixelate 8": lambda p, b: obfuscate.pixelate(p, b, blocks=8),
        "solid": lambda p, b: obfuscate.solid(p, b),
    }

    def on_boxes(change: Callable[..., NDArray[np.uint8]]) -> Method:
        def method(picture: Picture, faces: Sequence[Face]) -> NDArray[np.uint8]:
            boxes = [
                obfuscate.grown(f.box_xyxy, margin=margin, size_hw=picture.size_hw) for f in faces
            ]
            return change(picture.pixels, boxes)

        return method

    return {name: on_boxes(change) for name, change in strengths.items()}


def without_gate(anonymizer: Anonymizer) -> Method:
    """The pipeline and the paste, first attempt, nothing audited."""

    def method(picture: Picture, faces: Sequence[Face]) -> NDArray[np.uint8]:
        subjects = anonymizer.subjects(picture, faces)
        redrawn = anonymizer.redraw(subjects, KEY)
        patches = [subjects[i].patch(redrawn[i]) for i in paste_order(faces)]
        return compose(picture.pixels, patches)[0]

    return method


def with_gate(anonymizer: Anonymizer) -> Method:
    """The product; a refusal is a failure."""

    def method(picture: Picture, faces: Sequence[Face]) -> NDArray[np.uint8]:
        del faces  # it looks for them itself
        return anonymizer(picture, seed=KEY).pixels

    return method


def measured(
    probe: Probe, method: Method, *, detector: FaceDetector, recogniser: Recogniser
) -> Outcome:
    """What ``method`` makes of a probe, seen by an attacker."""
    nothing = np.full(128, np.nan)
    failed = Outcome(
        pixels=None, by_original=nothing, by_result=nothing, found=False, shift=float("nan")
    )
    if probe.face is None:
        return failed
    try:
        pixels = method(probe.picture, probe.faces)
    except CamouflageError:
        return failed  # counted, as re-identified
    seen = at_its_place(detector.detect(pixels), probe.face)
    return Outcome(
        pixels=pixels,
        by_original=recogniser.embed(pixels, [probe.face]).rows[0],
        by_result=nothing if seen is None else recogniser.embed(pixels, [seen]).rows[0],
        found=seen is not None,
        shift=float("nan") if seen is None else landmark_shift(probe.face, seen),
    )


def at_its_place(faces: Sequence[Face], original: Face) -> Face | None:
    """The face of at least FOUND_SCORE that overlaps the original most; None if none does."""
    overlaps = {i: overlap(f, original) for i, f in enumerate(faces) if f.score >= FOUND_SCORE}
    best = max(overlaps, key=overlaps.__getitem__, default=None)
    return faces[best] if best is not None and overlaps[best] >= OVERLAP else None


def overlap(face: Face, other: Face) -> float:
    """Intersection over union of their boxes."""
    a, b = np.array(face.box_xyxy), np.array(other.box_xyxy)
    shared = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


def landmark_shift(original: Face, result: Face) -> float:
    """Mean distance of the five points, in eye distances of the original."""
    distances = np.linalg.norm(result.points_xy - original.points_xy, axis=1)
    return float(distances.mean() / original.eye_distance_px)


def row(method: str, outcomes: Sequence[Outcome], people: Sequence[str], gallery: Gallery) -> Row:
    """The figures of a method; ``people`` are the probes' names."""
    written = np.array([o.pixels is not None for o in outcomes])
    by_original = hits(gallery, np.array([o.by_original for o in outcomes]), people)
    by_result = hits(gallery, np.array([o.by_result for o in outcomes]), people)
    # A written face too small to be embedded was not looked at, which is no success either.
    unseen = ~np.isfinite([o.by_original for o in outcomes]).all(1)
    return Row(
        method=method,
        attempted=len(outcomes),
        written=int(written.sum()),
        found=bootstrap(np.array([o.found for o in outcomes]), people),
        rank1=bootstrap(by_original | unseen | ~written, people),
        rank1_optimistic=bootstrap(by_result, people),
        shift=bootstrap(np.array([o.shift for o in outcomes]), people),
    )


def parse_sweep(text: str) -> dict[str, list[Any]]:
    """``"key=1,2"`` to ``{"key": [1, 2]}``; values are read as YAML."""
    key, equals, values = text.partition("=")
    if not equals or not key or not values:
        raise SettingError(f"expected KEY=VALUE,VALUE..., got {text!r}")
    return {key: [yaml.safe_load(value) for value in values.split(",")]}


def recipes(base: Recipe, sweeps: Sequence[str]) -> dict[str, Recipe]:
    """A name and a recipe for each value of each sweep; the base alone if there is no sweep."""
    found = {
        f"{key}={value}": base.changed({key: _as_setting(base, key, value)})
        for sweep in sweeps
        for key, values in parse_sweep(sweep).items()
        for value in values
    }
    return found or {"recipe": base}


def _as_setting(base: Recipe, key: str, value: Any) -> Any:
    """A recipe is strict about 1 and 1.0; a command line is not."""
    wants_float = isinstance(getattr(base, key, None), float) and isinstance(value, int)
    return float(value) if wants_float else value


def prepared(
    folder: Path,
    output: Path,
    *,
    photos_per_person: int,
    limit: int | None,
    detector: FaceDetector,
    recogniser: Recogniser,
) -> tuple[list[Probe], Gallery]:
    """Probes with their faces, and the gallery of everybody's other photographs."""
    probe_photos, others = split(
        by_person(folder, limit=limit), photos_per_person=photos_per_person
    )
    probes = []
    for photo in probe_photos:
        picture = Picture.open(photo.path)
        faces = detector.detect(picture.pixels)
        face = main_face(faces, picture.size_hw)
        probes.append(Probe(photo=photo, picture=picture, faces=faces, face=face))
    rows, names = gallery_rows(
        others,
        cache=output / GALLERY_CACHE,
        detector=detector,
        recogniser=recogniser,
        leave_out=frozenset(p.picture.sha256 for p in probes),
    )
    return probes, Gallery(rows=rows, people=np.array(names))


def run(
    probes: Sequence[Probe],
    gallery: Gallery,
    methods: dict[str, Method],
    output: Path,
    *,
    detector: FaceDetector,
    recogniser: Recogniser,
    details: dict[str, Any],
) -> list[Row]:
    """Checks the controls, measures every method, writes the results.

    Raises `ControlFailed` before anything is measured that could be believed.
    """
    people = [p.photo.person for p in probes]
    methods = {"unchanged": lambda picture, faces: picture.pixels, **methods}
    rows: list[Row] = []
    columns: dict[str, list[NDArray[np.uint8] | None]] = {}
    controls: dict[str, float] = {}
    for name, method in methods.items():
        outcomes = [measured(p, method, detector=detector, recogniser=recogniser) for p in probes]
        if name == "unchanged":
            seen = [i for i, o in enumerate(outcomes) if np.isfinite(o.by_original).all()]
            embedded = np.array([outcomes[i].by_original for i in seen]).reshape(-1, 128)
            controls = require_controls(gallery, embedded, [people[i] for i in seen])
        rows.append(row(name, outcomes, people, gallery))
        columns[name] = [o.pixels for o in outcomes[:SHEET_PROBES]]
        typer.echo(f"{name}: rank-1 {rows[-1].rank1}, found {rows[-1].found}")
    details = {
        "people": len(set(people)),
        "probes": len(probes),
        "gallery": len(gallery.people),
        "probes_without_a_face": sum(p.face is None for p in probes),
        "controls": controls,
        **details,
    }
    report = {"details": details, "rows": [asdict(r) for r in rows]}
    (output / "results.json").write_text(json.dumps(report, indent=1))
    (output / "table.md").write_text(markdown_table([asdict(r) for r in rows], controls["chance"]))
    contact_sheet(columns).save(output / "sheet.png")
    return rows


def main(
    photos: Annotated[Path, typer.Argument(help="A folder with a folder of photographs a person.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")],
    recipe: Annotated[str, typer.Option(help="A preset's name or a recipe's file.")] = "mini",
    model: Annotated[str | None, typer.Option(help="Another model than the recipe's.")] = None,
    photos_per_person: Annotated[int, typer.Option(min=1, help="Anonymized, of each.")] = 2,
    sweep: Annotated[
        list[str] | None, typer.Option(help="A setting and its values: KEY=VALUE,VALUE.")
    ] = None,
    gate: Annotated[bool, typer.Option("--gate", help="Add a row with the audit on.")] = False,
    limit: Annotated[int | None, typer.Option(min=2, help="Only the first people.")] = None,
) -> None:
    """Rank-1 of anonymized faces against other photographs of the same people."""
    base = Recipe.load(recipe)
    base = base if model is None else base.changed({"model": model})
    output.mkdir(parents=True, exist_ok=True)
    first = Anonymizer.from_recipe(base)
    detector, recogniser = first.detector, first.recogniser
    methods = baselines()
    for name, settings in recipes(base, sweep or []).items():
        methods[name] = without_gate(_like(first, settings))
    if gate:
        methods["recipe, gate on"] = with_gate(first)
    probes, gallery = prepared(
        photos,
        output,
        photos_per_person=photos_per_person,
        limit=limit,
        detector=detector,
        recogniser=recogniser,
    )
    run(
        probes,
        gallery,
        methods,
        output,
        detector=detector,
        recogniser=recogniser,
        details={"recogniser": "dlib (also the gate's)", "recipe": base.model_dump()},
    )
    typer.echo((output / "table.md").read_text())


def _like(first: Anonymizer, settings: Recipe) -> Anonymizer:
    """Another recipe on the same networks."""
    if settings.model != first.recipe.model:
        return Anonymizer.from_recipe(settings)
    return Anonymizer(
        settings,
        pipeline=first.pipeline,
        detector=first.detector,
        recogniser=first.recogniser,
        trusted_model=first.trusted_model,
    )


if __name__ == "__main__":
    typer.run(main)
