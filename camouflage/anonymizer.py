"""START HERE: one picture through all stages, in order.

    picture -> faces -> crops -> control maps -> pipeline -> compose -> audit -> result

Everything that is not redrawn, judged and passed stays inside: a `Result` hands out its picture
only when its audit passed.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camouflage.annotators import draw_maps, face_region, jittered, predict_landmarks
from camouflage.attempts import Subject, Work
from camouflage.audit import Recogniser, audit
from camouflage.errors import OutOfMemory, SettingError
from camouflage.picture import Picture
from camouflage.recipe import Recipe, Rung
from camouflage.result import Result
from camouflage.subjects.cover import covered, crop_of
from camouflage.subjects.faces import Face, FaceDetector
from camouflage.subjects.given import GivenRegion, given_faces, not_given

if TYPE_CHECKING:
    from camouflage.pipelines.base import BasePipeline

Source = str | Path | Image.Image | NDArray[np.uint8] | Picture


class Anonymizer:
    """The product around a pipeline: reads, finds, redraws, composes, audits.

    ``key`` binds the noise: the noise of a face depends on the key, the picture's bytes and the
    face's box, not on order, batch or machine.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        pipeline: BasePipeline,
        detector: FaceDetector | None = None,
        recogniser: Recogniser | None = None,
    ) -> None:
        if pipeline.landmarker is None:
            raise SettingError("scope 'faces' needs a pipeline with a landmark network")
        from camouflage.pipelines.arguments import require_known

        require_known("control_weights", recipe.control_weights, pipeline.config["controls"])
        self.recipe = recipe
        self.pipeline = pipeline
        self.detector = detector or FaceDetector(score=recipe.detection_score)
        self.recogniser = recogniser or Recogniser()

    @classmethod
    def from_recipe(cls, recipe: str | Path | Recipe) -> Anonymizer:
        """By the name of a preset ("mini"), the path of a recipe file, or a recipe."""
        from camouflage.pipelines.base import BasePipeline

        settings = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
        pipeline = BasePipeline.from_pretrained(settings.model)
        pipeline.set_progress_bar_config(disable=True)
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
        None states nothing: such a picture ends as "nobody", whatever the policy.

        Raises `PictureError` if ``source`` cannot be read, `SettingError` if a region does not fit
        the picture and `NonFiniteResult` if the model fails; a picture whose audit fails comes back
        as a `Result` that is "refused".
        """
        clock = Clock()
        with clock("read"):
            picture = self.read(source)
        with clock("detect"):
            faces = self.faces(picture, regions, detect=detect)
        if not faces:
            return self._nobody(picture, clock, looked_at=detect or regions is not None)
        key = secrets.token_hex(16) if seed is None else str(seed)
        return self._redraw_until_passed(picture, faces, key, clock)

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
        self, picture: Picture, faces: Sequence[Face], key: str, clock: Clock
    ) -> Result:
        with clock("annotate"):
            work = Work(
                picture=picture,
                faces=faces,
                subjects=self.subjects(picture, faces),
                source=self.recogniser.embed(picture.pixels, faces),
            )
        for attempt, rung in enumerate(self.recipe.ladder):
            with clock("redraw"):
                chosen = [work.subjects[i] for i in work.pending]
                redrawn = self.redraw(chosen, key, attempt)
            with clock("compose"):
                work.paint(redrawn)
            with clock("audit"):
                self._judge(work)
            work.note("redrawn", *self._numbers(rung))
            if not work.pending:  # passed, or what is wrong is not mended by another face
                break
        if work.pending and self.recipe.on_refusal == "obfuscate":
            with clock("compose"):
                work.cover(self.recipe.obfuscation)
            with clock("audit"):
                self._judge(work)
            work.note(self.recipe.obfuscation, None, None)
        return self._result(work, clock)

    def _judge(self, work: Work) -> None:
        work.judge(
            audit(
                work.picture.pixels,
                work.faces,
                work.pixels,
                recogniser=self.recogniser,
                detector=self.detector,
                source=work.source,
                changed=work.changed,
                threshold=self.recipe.threshold,
                random_weights=self.pipeline.config["random_weights"],
            )
        )

    def _result(self, work: Work, clock: Clock) -> Result:
        passed = work.verdict is not None and work.verdict.passed
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

    def subjects(self, picture: Picture, faces: Sequence[Face]) -> list[Subject]:
        """Every face with its crop, landmarks and region, which covers the face's box or mask."""
        side = self.pipeline.config["size_px"]
        crops = [crop_of(face, side=side) for face in faces]
        pixels = [crop.cut(picture.pixels) for crop in crops]
        points = predict_landmarks(self.pipeline.landmarker, pixels)
        return [
            Subject(
                name=f"{picture.sha256}:{face.box_xyxy}",
                crop=crops[i],
                pixels=pixels[i],
                region=face_region(points[i], side) | covered(face, crops[i]),
                points_xy=points[i],
            )
            for i, face in enumerate(faces)
        ]

    @property
    def control_weights(self) -> dict[str, float]:
        """The weight of each control in this recipe."""
        return {**self.pipeline.config["default_weights"], **self.recipe.control_weights}

    def redraw(
        self, subjects: Sequence[Subject], key: str, attempt: int = 0
    ) -> list[NDArray[np.uint8]]:
        """A new face for each subject, (side, side, 3) uint8, with the numbers of a rung.

        ``attempt`` counts the rungs of the recipe's ladder from 0; each has other noise. Faces go
        through the model in batches, which are halved where the memory does not suffice.

        Raises `OutOfMemory` if one face alone is too much.
        """
        faces: list[NDArray[np.uint8]] = []
        size = self.recipe.face_batch
        while len(faces) < len(subjects):
            batch = subjects[len(faces) : len(faces) + size]
            try:
                faces += self._redraw_batch(batch, key, attempt)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise OutOfMemory(
                        "the model has no memory for one face; free some, or use a smaller model"
                    ) from error
                size = len(batch) // 2
        return faces

    def _redraw_batch(
        self, batch: Sequence[Subject], key: str, attempt: int
    ) -> list[NDArray[np.uint8]]:
        from camouflage.denoise.seeds import generator_for

        anonymization_scale, strength = self._numbers(self.recipe.ladder[attempt])
        output: Any = self.pipeline(
            [s.pixels for s in batch],
            control_images=self.maps(batch, key, attempt),
            control_weights=self.control_weights,
            control_guidance=self.recipe.control_guidance,
            anonymization_scale=anonymization_scale,
            guidance_rescale=self.recipe.guidance_rescale,
            strength=strength,
            num_inference_steps=self.recipe.steps,
            identity=self.recipe.identity,
            generator=[generator_for(key, s.name, attempt) for s in batch],
            output_type="pil",
        )
        return [np.asarray(image) for image in output.images]

    def maps(
        self, subjects: Sequence[Subject], key: str, attempt: int = 0
    ) -> dict[str, list[NDArray[np.uint8]]]:
        """The control maps of an attempt, by control; the shape of a face changes with it."""
        from camouflage.denoise.seeds import generator_for

        side = self.pipeline.config["size_px"]
        points = [
            jittered(
                subject.points_xy,
                side,
                spread=self.recipe.shape_jitter,
                generator=generator_for(key, f"{subject.name}:shape", attempt),
            )
            for subject in subjects
        ]
        return draw_maps(
            [subject.pixels for subject in subjects],
            np.stack(points),
            [name for name, weight in self.control_weights.items() if weight > 0],
            regions=[subject.region for subject in subjects],
            coarseness=self.recipe.colour_coarseness,
        )

    def _numbers(self, rung: Rung) -> tuple[float, float]:
        """Anonymization scale and strength of an attempt."""
        return (
            self.recipe.anonymization_scale + rung.anonymization_scale,
            min(self.recipe.strength + rung.strength, 1.0),
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory was too small. torch's CPU says so by a plain RuntimeError."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return not isinstance(error, OutOfMemory)
    text = str(error)
    return "DefaultCPUAllocator" in text or "could not create a memory object" in text


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
