"""START HERE: one picture through all stages, in order.

    picture -> faces -> crops -> control maps -> pipeline -> compose -> audit -> result

At scope ``scene`` the whole picture goes through the pipeline first, at ``people`` every body; the
faces that were too small for it, or did not pass, follow as crops.

Everything that is not redrawn, judged and passed stays inside: a `Result` hands out its picture
only when its audit passed.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camouflage import ground
from camouflage.attempts import Subject, Work
from camouflage.audit import Embeddings, Recogniser, audit
from camouflage.picture import Picture
from camouflage.placing import require_method
from camouflage.recipe import BaseRecipe, LightRecipe, Recipe
from camouflage.redraw import Redrawer
from camouflage.redraw_base import BaseRedrawer
from camouflage.redraw_light import LightRedrawer
from camouflage.result import Result
from camouflage.subjects.faces import Face, FaceDetector
from camouflage.subjects.given import GivenRegion, given_faces, not_given
from camouflage.subjects.persons import Body, FacelessBody, bodies_of

if TYPE_CHECKING:
    from camouflage.pipelines.base import BasePipeline
    from camouflage.pipelines.light import LightPipeline

Source = str | Path | Image.Image | NDArray[np.uint8] | Picture


class Anonymizer:
    """The product around a pipeline: reads, finds, redraws, composes, audits.

    ``key`` binds the noise: the noise of a face depends on the key, the picture's bytes and the
    face's box, not on order, batch or machine. Threads need one each: a pipeline keeps the state of
    its run.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        pipeline: BasePipeline | LightPipeline,
        detector: FaceDetector | None = None,
        recogniser: Recogniser | None = None,
    ) -> None:
        self.recipe = recipe
        self.pipeline = pipeline
        self.redrawer = redrawer_of(recipe, pipeline)
        self.detector = detector or FaceDetector(score=recipe.detection_score)
        if recipe.method == "light":
            pipeline.detector = self.detector  # pyright: ignore
        self.recogniser = recogniser or Recogniser()

    @classmethod
    def from_recipe(
        cls,
        recipe: str | Path | Recipe,
        *,
        device: str | None = None,
        dtype: str | None = None,
        low_memory: bool = False,
        compiled: bool = False,
    ) -> Anonymizer:
        """By the name of a preset ("mini"), the path of a recipe file, or a recipe.

        ``device``, ``dtype``, ``low_memory`` and ``compiled``: as in
        :func:`camouflage.placing.placed`. Every weight that the recipe needs is found before
        anything is drawn.

        Raises `SettingError` and `WeightsError`.
        """
        from camouflage.placing import placed

        settings = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
        pipeline = placed(
            settings, device=device, dtype=dtype, low_memory=low_memory, compiled=compiled
        )
        return cls(settings, pipeline=pipeline)

    def __call__(
        self,
        source: Source,
        *,
        seed: int | str | None = None,
        regions: Sequence[GivenRegion] | None = None,
        detect: bool = True,
    ) -> Result:
        """Anonymizes one picture. ``seed`` is the key; None draws a fresh one.

        ``regions`` are treated and audited as faces that were found; with ``detect`` faces are
        looked for as well, and those at the same places give way. Without ``detect``, an empty
        ``regions`` states that nobody is in the picture, so that the recipe's policy applies, and
        None states nothing: such a picture ends as "nobody", whatever the policy. At scope "scene"
        all is redrawn and at "people" bodies are looked for in any case.

        Raises `PictureError` if ``source`` cannot be read, `SettingError` if a region does not fit
        the picture and `NonFiniteResult` if the model fails; a picture whose audit fails comes back
        as a `Result` that is "refused".
        """
        clock = Clock()
        with clock("read"):
            picture = self.read(source)
        with clock("detect"):
            faces = self.faces(picture, regions, detect=detect)
            bodies = self.bodies(picture, faces) if self.recipe.scope == "people" else []
        faces = [*faces, *(body.without_face() for body in bodies if not body.has_face)]
        if not faces and self.recipe.scope != "scene":
            return self._nobody(picture, clock, looked_at=detect or regions is not None)
        key = secrets.token_hex(16) if seed is None else str(seed)
        return self._redraw_until_passed(picture, faces, bodies, key, clock)

    def read(self, source: Source) -> Picture:
        """An upright RGB picture from a path, a PIL picture, an array or a `Picture`."""
        if isinstance(source, Picture):
            return source
        if isinstance(source, (str, Path)):
            return Picture.open(Path(source), max_megapixels=self.recipe.max_megapixels)
        return Picture.from_image(source)

    def faces(
        self, picture: Picture, regions: Sequence[GivenRegion] | None = None, *, detect: bool = True
    ) -> Sequence[Face]:
        """The faces that are given, and with ``detect`` those that are found elsewhere."""
        found = self.detector.detect(picture.pixels) if detect else ()
        given = given_faces(regions or (), picture.pixels, detector=self.detector, found=found)
        return [*given, *not_given(found, given)]

    def bodies(self, picture: Picture, faces: Sequence[Face]) -> list[Body]:
        """The people that are found by their bodies, with or without a visible face."""
        annotators = self.pipeline.scene_annotators
        found = annotators.people([picture.pixels])[0]
        if not found:
            return []
        mask = annotators.person_masks([picture.pixels])[0]
        return bodies_of([person.box_xyxy for person in found], mask, faces)

    def _nobody(self, picture: Picture, clock: Clock, *, looked_at: bool) -> Result:
        copied = self.recipe.on_nobody == "copy" and looked_at
        return Result(
            state="copied" if copied else "nobody",
            faces=(),
            verdict=None,
            seconds=clock.seconds,
            size_wh=picture.pixels.shape[1::-1],
            _pixels=picture.pixels if copied else None,
            _jpeg_quality=self.recipe.jpeg_quality,
            _looked_at=looked_at,
        )

    def _redraw_until_passed(
        self,
        picture: Picture,
        faces: Sequence[Face],
        bodies: Sequence[Body],
        key: str,
        clock: Clock,
    ) -> Result:
        with clock("annotate"):
            source = self._embedded(picture, faces)
            subjects = self.subjects(picture, faces, source)
            work = Work(picture=picture, faces=faces, subjects=subjects, source=source)
        for attempt, rung in enumerate(self.recipe.ladder):
            with clock("redraw"):
                if attempt == 0 or work.ground_failed:
                    work.lay(self._ground(picture, faces, bodies, key, attempt))
                redrawn = self.redraw([work.subjects[i] for i in work.due], key, attempt)
            with clock("compose"):
                work.paint(redrawn)
            with clock("audit"):
                self._judge(work)
            work.note("redrawn", *self.redrawer.numbers(rung))
            if work.passed or not (work.pending or work.ground_failed):
                break  # what is wrong with the original's own pixels no other face will mend
        if work.pending and self.recipe.on_refusal == "obfuscate":
            with clock("compose"):
                work.cover(self.recipe.obfuscation)
            with clock("audit"):
                self._judge(work)
            work.note(self.recipe.obfuscation, None, None)
        return self._result(work, clock)

    def _embedded(self, picture: Picture, faces: Sequence[Face]) -> Embeddings:
        faceless = [i for i, face in enumerate(faces) if isinstance(face, FacelessBody)]
        return self.recogniser.embed(picture.pixels, faces).without(faceless)

    def _ground(
        self,
        picture: Picture,
        faces: Sequence[Face],
        bodies: Sequence[Body],
        key: str,
        attempt: int,
    ) -> ground.Ground:
        """What the redrawn faces of an attempt lie on."""
        if self.recipe.scope == "scene":
            return ground.scene(self.redrawer, picture, faces, key=key, attempt=attempt)
        if self.recipe.scope == "people":
            return ground.people(self.redrawer, picture, faces, bodies, key=key, attempt=attempt)
        return ground.untouched(picture)

    def _judge(self, work: Work) -> None:
        work.judge(
            audit(
                work.picture.pixels,
                work.faces,
                work.pixels,
                recogniser=self.recogniser,
                detector=self.detector,
                source=work.source,
                changed=None if work.ground.whole else work.changed,
                whole=work.ground.whole,
                bodies=work.ground.bodies,
                threshold=self.recipe.threshold,
                random_weights=self.pipeline.config["random_weights"],
            )
        )

    def _result(self, work: Work, clock: Clock) -> Result:
        passed = work.passed
        return Result(
            state="passed" if passed else "refused",
            faces=work.records(),
            verdict=work.verdict,
            seconds=clock.seconds,
            size_wh=work.picture.pixels.shape[1::-1],
            regions=tuple(GivenRegion.of(face) for face in work.faces),
            _pixels=work.pixels if passed else None,
            _changed=work.changed if passed else None,
            _jpeg_quality=self.recipe.jpeg_quality,
        )

    def subjects(
        self, picture: Picture, faces: Sequence[Face], source: Embeddings | None = None
    ) -> list[Subject]:
        """Every face, ready to be redrawn. ``source``: their embeddings, if they are known."""
        source = self._embedded(picture, faces) if source is None else source
        says = source.present & ~self.recogniser.sees_nothing(source)
        return [
            replace(subject, embedding=row if known else None)
            for subject, row, known in zip(
                self.redrawer.subjects(picture, faces), source.rows, says, strict=True
            )
        ]

    def shown_maps(
        self, picture: Picture, result: Result, *, key: str
    ) -> list[list[NDArray[np.uint8]]]:
        """A row for the scene or each body (by the scope) and for each face: its crop, then what
        it was drawn from and by, (h, w, 3) uint8 each. They show the ORIGINAL.
        """
        rows = []
        faces = given_faces(result.regions, picture.pixels, detector=self.detector)
        subjects = self.subjects(picture, faces)
        if self.recipe.scope == "scene":
            rows.append(self.redrawer.shown_frame(picture.pixels, faces))
        elif self.recipe.scope == "people":
            bodies = self.bodies(picture, self.faces(picture))
            subjects = [*ground.body_subjects(self.redrawer, picture, bodies, faces), *subjects]
        rows += [self.redrawer.shown(subject, key) for subject in subjects]
        return rows

    def redraw(
        self, subjects: Sequence[Subject], key: str, attempt: int = 0
    ) -> list[NDArray[np.uint8]]:
        """As `Redrawer.crops`: a new face for each subject, (side, side, 3) uint8, or twice as
        fine."""
        return self.redrawer.crops(subjects, key, attempt)


def redrawer_of(recipe: Recipe, pipeline: BasePipeline | LightPipeline) -> Redrawer:
    """What the recipe means for the pipeline.

    Raises `SettingError` if they are not of one method, or the pipeline cannot follow it.
    """
    require_method(recipe, pipeline)
    if isinstance(recipe, LightRecipe):
        return LightRedrawer(recipe=recipe, pipeline=pipeline)  # pyright: ignore
    assert isinstance(recipe, BaseRecipe)  # noqa: S101  there are two methods
    return BaseRedrawer(recipe=recipe, pipeline=pipeline)  # pyright: ignore


class Clock:
    """Seconds spent in each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent
