"""START HERE: originals and results in, figures out. What ``camouflage evaluate`` runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from camouflage.annotators.landmarks import LandmarkNet
from camouflage.errors import SettingError
from camouflage.evaluate.dataset import Dataset, read_names
from camouflage.evaluate.figures import figures
from camouflage.evaluate.methods import (
    BASELINES,
    Baseline,
    FolderMethod,
    Method,
    baselines,
    mean_crop,
)
from camouflage.evaluate.networks import load_network
from camouflage.evaluate.originals import Cache, Looker, Original, read_originals
from camouflage.evaluate.protocol import Context, Outcome, Tools, context, jsonable, run
from camouflage.evaluate.rates import Gallery, own_distances
from camouflage.evaluate.recognisers import load_encoders
from camouflage.subjects.faces import FaceDetector
from camouflage.weights import mini_folder

VERSION = 1
"""Of the layout of ``results.json``."""
RANDOM_FACES = 24


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an evaluation is made of.

    ``photos_per_person``: results are expected for the first so many of each person, None for all;
    every photograph is in the attacker's gallery. ``recognisers``: as `load_encoders` reads them,
    the first is the one that strata, diversity and tests are told of. ``attributes``: files of
    networks with ``readings``. ``groups``: a JSON file, from a person or a photograph's name to a
    label. ``with_baselines``: all of them, or only the clean control, which the checks need.
    """

    originals: Path
    methods: Mapping[str, Sequence[Path]]
    identities: Path | None = None
    photos_per_person: int | None = None
    recognisers: Sequence[str] = ("dlib",)
    attributes: Sequence[str] = ()
    groups: Path | None = None
    with_baselines: bool = True
    cache: Path | None = None

    def __post_init__(self) -> None:
        if not self.recognisers:
            raise SettingError("expected a recogniser, for example dlib")
        if "clean" in self.methods:
            raise SettingError("'clean' is the name of the control: expected another method's name")
        wrong = [name for name in self.methods if name in BASELINES]
        if wrong and self.with_baselines:
            raise SettingError(f"{wrong[0]!r} is a baseline's name: expected another method's name")


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """``results`` is what ``results.json`` holds; the rest is for the pictures.

    ``distances``: of each method (M,) the distance of a result to its own original by the first
    recogniser, NaN where there is none.
    """

    results: dict[str, Any]
    outcomes: Mapping[str, Sequence[Outcome]]
    probes: Sequence[Context]
    distances: Mapping[str, NDArray[np.float64]]

    def json(self) -> str:
        """``results.json``."""
        return json.dumps(self.results, indent=1, allow_nan=False)


def evaluate(
    settings: Settings, *, tell: Callable[[str, int, int], None] = lambda name, done, of: None
) -> Evaluation:
    """Measure every method on the same originals; ``tell`` hears (what, done, of).

    The first folder of a method is measured; further ones are runs with other seeds, for the
    diversity alone.

    Raises:
        SettingError: originals, results, identities or groups that cannot be used.
        WeightsError: a recogniser's.
        ControlFailed: the attack does not find unchanged faces, so that its figures mean nothing.
    """
    dataset = Dataset.load(settings.originals, identities=settings.identities)
    expected = dataset.probes(settings.photos_per_person)
    tested = [
        [FolderMethod.load(name, folder, dataset.photos) for folder in folders]
        for name, folders in settings.methods.items()
    ]
    groups = read_names(settings.groups) if settings.groups else {}
    encoders = load_encoders(settings.recognisers)
    if len({encoder.name for encoder in encoders}) < len(encoders):
        raise SettingError("two recognisers have one name: expected different ones")
    tools = Tools(
        looker=Looker(FaceDetector(), encoders, Cache(settings.cache)),
        landmarks=_landmarks(),
        attributes=[load_network(text) for text in settings.attributes],
    )
    tell("originals", 0, len(dataset.photos))
    originals, rows = read_originals(dataset.photos, tools.looker)
    names = {photo.name for photo in expected}
    chosen = [original for original in originals if original.photo.name in names]
    probes = [context(original, tools) for original in chosen]
    strangers = synthetic_faces(RANDOM_FACES) if settings.with_baselines else []
    methods: list[Method] = [
        *_baselines(chosen, settings, strangers),
        *(runs[0] for runs in tested),
    ]
    outcomes = run(methods, probes, tools, tell=lambda n, done: tell(n, done, len(probes)))
    seeds = {
        runs[0].name: [_again(one, probes, tools) for one in runs[1:]]
        for runs in tested
        if len(runs) > 1
    }
    gallery = Gallery(originals=originals, rows=rows)
    found = figures(
        outcomes,
        gallery,
        probes,
        tools.looker,
        baselines=frozenset(method.name for method in methods if method.baseline),
        groups=groups,
        seeds=seeds,
        strangers=strangers,
    )
    attributes = {
        name: reading.kind
        for network in tools.attributes
        for name, reading in network.settings.readings.items()
    }
    results = {
        "version": VERSION,
        "originals": settings.originals.name,
        "photos_per_person": settings.photos_per_person,
        "copies_left_out": len(dataset.photos) - len(originals),
        "attributes": attributes,
        **found,
    }
    return Evaluation(
        results=jsonable(results),
        outcomes=outcomes,
        probes=probes,
        distances={
            name: own_distances(o, gallery, encoders[0].name, probes)
            for name, o in outcomes.items()
        },
    )


def _again(method: FolderMethod, probes: Sequence[Context], tools: Tools) -> list[Outcome]:
    return run([method], probes, tools)[method.name]


def _baselines(
    originals: Sequence[Original], settings: Settings, faces: Sequence[NDArray[np.uint8]]
) -> list[Baseline]:
    if not settings.with_baselines:
        return [Baseline(name="clean", change=lambda pixels, original: pixels)]
    return baselines(faces, mean_crop(originals))


def synthetic_faces(count: int, *, seed: int = 0, steps: int = 16) -> list[NDArray[np.uint8]]:
    """Faces that nothing steers, from ``mini``: (128, 128, 3) each, aligned as its crops are."""
    from camouflage.pipelines.base import BasePipeline

    pipe = BasePipeline.from_pretrained("mini")
    pipe.set_progress_bar_config(disable=True)
    grey = np.full((128, 128, 3), 128, np.uint8)
    found: Any = pipe(
        [grey] * count,
        anonymization_scale=1.0,
        control_guidance=0.0,
        strength=1.0,
        num_inference_steps=steps,
        generator=[torch.Generator().manual_seed(seed + i) for i in range(count)],
    )
    return [np.asarray(image) for image in found.images]


def _landmarks() -> LandmarkNet:
    net = LandmarkNet.from_pretrained(mini_folder() / "landmarker", dtype=torch.float32)
    return net.eval()
