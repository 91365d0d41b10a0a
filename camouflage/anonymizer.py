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
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camouflage.annotators import draw_maps, face_region, predict_landmarks
from camouflage.audit import Recogniser, Verdict, audit
from camouflage.compose import Patch, compose
from camouflage.errors import AuditRefused, NobodyFound, SettingError
from camouflage.picture import Picture
from camouflage.recipe import Recipe
from camouflage.subjects.crops import AlignedCrop, align
from camouflage.subjects.faces import Face, FaceDetector

if TYPE_CHECKING:
    from camouflage.pipelines.base import BasePipeline

Source = str | Path | Image.Image | NDArray[np.uint8] | Picture
State = Literal["passed", "copied", "nobody", "refused"]


@dataclass(frozen=True, kw_only=True)
class FaceRecord:
    """What happened to one face: its box, how it was treated, dlib's distance after each attempt.

    None stands for an attempt in which the face could not be compared and was judged by its pixels.
    """

    box_xyxy: tuple[int, int, int, int]
    score: float
    method: Literal["redrawn"]
    distances: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """What became of one picture.

    ``state``: "passed" (redrawn and the audit passed), "copied" (nobody found, a clean copy was
    asked for), "nobody" or "refused"; only the first two have a picture.
    """

    state: State
    faces: tuple[FaceRecord, ...]
    verdict: Verdict | None
    seconds: dict[str, float]
    size_wh: tuple[int, int]
    _pixels: NDArray[np.uint8] | None = field(repr=False)
    _jpeg_quality: int = 95

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """(H, W, 3) RGB uint8. Raises `AuditRefused` or `NobodyFound` if there is none to give."""
        if self.state == "nobody":
            raise NobodyFound(
                "no person was found and the recipe says to write nothing then; "
                "on_nobody='copy' gives a clean copy"
            )
        if self.state == "refused" or self._pixels is None:
            reasons = "; ".join(self.verdict.reasons) if self.verdict else "no verdict"
            raise AuditRefused(
                f"the audit did not pass ({reasons}); try more attempts, a larger anonymization "
                "scale or strength, or another seed"
            )
        return self._pixels

    @property
    def image(self) -> Image.Image:
        """The picture. Raises `AuditRefused` or `NobodyFound` if there is none to give."""
        return Image.fromarray(self.pixels)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Writes the picture whole or not at all, without metadata; the suffix says the format.

        Raises what `image` raises, and `OutputError` if ``path`` exists or cannot be written.
        """
        from camouflage.write import write_picture

        write_picture(self.pixels, Path(path), overwrite=overwrite, jpeg_quality=self._jpeg_quality)


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
        trusted_model: bool = True,
    ) -> None:
        if pipeline.landmarker is None:
            raise SettingError("scope 'faces' needs a pipeline with a landmark network")
        self.recipe = recipe
        self.pipeline = pipeline
        self.detector = detector or FaceDetector(score=recipe.detection_score)
        self.recogniser = recogniser or Recogniser()
        self.trusted_model = trusted_model

    @classmethod
    def from_recipe(cls, recipe: str | Path | Recipe) -> Anonymizer:
        """By the name of a preset ("mini"), the path of a recipe file, or a recipe."""
        from camouflage.pipelines.base import BasePipeline

        settings = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
        pipeline = BasePipeline.from_pretrained(settings.model)
        pipeline.set_progress_bar_config(disable=True)
        return cls(settings, pipeline=pipeline, trusted_model=settings.model != "tiny")

    def __call__(self, source: Source, *, seed: int | str | None = None) -> Result:
        """Anonymizes one picture. ``seed`` is the key; None draws a fresh one.

        Raises `PictureError` if ``source`` cannot be read and `NonFiniteResult` if the model fails;
        a picture whose audit fails comes back as a `Result` that is "refused".
        """
        clock = Clock()
        with clock("read"):
            picture = self.read(source)
        with clock("detect"):
            faces = self.detector.detect(picture.pixels)
        if not faces:
            return self._nobody(picture, clock)
        key = secrets.token_hex(16) if seed is None else str(seed)
        return self._redraw_until_passed(picture, faces, key, clock)

    def read(self, source: Source) -> Picture:
        """An upright RGB picture from a path, a PIL picture, an array or a `Picture`."""
        if isinstance(source, Picture):
            return source
        if isinstance(source, (str, Path)):
            return Picture.open(Path(source), max_megapixels=self.recipe.max_megapixels)
        return Picture.from_image(source)

    def _nobody(self, picture: Picture, clock: Clock) -> Result:
        copied = self.recipe.on_nobody == "copy"
        return Result(
            state="copied" if copied else "nobody",
            faces=(),
            verdict=None,
            seconds=clock.seconds,
            size_wh=picture.pixels.shape[1::-1],
            _pixels=picture.pixels if copied else None,
            _jpeg_quality=self.recipe.jpeg_quality,
        )

    def _redraw_until_passed(
        self, picture: Picture, faces: Sequence[Face], key: str, clock: Clock
    ) -> Result:
        with clock("annotate"):
            subjects = self.subjects(picture, faces)
            source = self.recogniser.embed(picture.pixels, faces)
        distances: list[list[float | None]] = [[] for _ in faces]
        redrawn: dict[int, NDArray[np.uint8]] = {}
        pending = list(range(len(faces)))
        for attempt in range(self.recipe.attempts):
            with clock("redraw"):
                chosen = [subjects[i] for i in pending]
                redrawn |= dict(zip(pending, self.redraw(chosen, key, attempt), strict=True))
            with clock("compose"):
                result, changed = compose(
                    picture.pixels, [subjects[i].patch(redrawn[i]) for i in paste_order(faces)]
                )
            with clock("audit"):
                verdict = audit(
                    picture.pixels,
                    faces,
                    result,
                    recogniser=self.recogniser,
                    detector=self.detector,
                    source=source,
                    changed=changed,
                    threshold=self.recipe.threshold,
                    trusted_model=self.trusted_model,
                )
            for own, judged in zip(distances, verdict.faces, strict=True):
                own.append(judged.distance)
            pending = [i for i, judged in enumerate(verdict.faces) if not judged.passed]
            if verdict.passed or not pending:
                break
        return Result(
            state="passed" if verdict.passed else "refused",
            faces=tuple(
                FaceRecord(
                    box_xyxy=face.box_xyxy, score=face.score, method="redrawn", distances=tuple(d)
                )
                for face, d in zip(faces, distances, strict=True)
            ),
            verdict=verdict,
            seconds=clock.seconds,
            size_wh=picture.pixels.shape[1::-1],
            _pixels=result if verdict.passed else None,
            _jpeg_quality=self.recipe.jpeg_quality,
        )

    def subjects(self, picture: Picture, faces: Sequence[Face]) -> list[Subject]:
        """Every face with its crop, landmarks, region and control maps."""
        side = self.pipeline.config["size_px"]
        crops = [align(face.points_xy, side=side) for face in faces]
        pixels = [crop.cut(picture.pixels) for crop in crops]
        points = predict_landmarks(self.pipeline.landmarker, pixels)
        used = [n for n, w in self.control_weights.items() if w > 0]
        maps = draw_maps(pixels, points, used)
        return [
            Subject(
                name=f"{picture.sha256}:{face.box_xyxy}",
                crop=crops[i],
                pixels=pixels[i],
                region=face_region(points[i], side),
                maps={name: maps[name][i] for name in used},
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
        """A new face for each subject, (side, side, 3) uint8.

        The second attempt has other noise, each one after it pushes further away as well.
        """
        from camouflage.denoise.seeds import generator_for

        push = max(attempt - 1, 0)
        faces: list[NDArray[np.uint8]] = []
        for start in range(0, len(subjects), self.recipe.face_batch):
            batch = subjects[start : start + self.recipe.face_batch]
            output: Any = self.pipeline(
                [s.pixels for s in batch],
                control_images={n: [s.maps[n] for s in batch] for n in batch[0].maps},
                control_weights=self.control_weights,
                anonymization_scale=self.recipe.anonymization_scale + 0.25 * push,
                control_guidance=self.recipe.control_guidance,
                strength=min(self.recipe.strength + 0.05 * push, 1.0),
                num_inference_steps=self.recipe.steps,
                identity=self.recipe.identity,
                generator=[generator_for(key, s.name, attempt) for s in batch],
                output_type="pil",
            )
            faces += [np.asarray(image) for image in output.images]
        return faces


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """One face, ready to be redrawn. ``name`` binds its noise."""

    name: str
    crop: AlignedCrop
    pixels: NDArray[np.uint8]
    region: NDArray[np.bool_]
    maps: dict[str, NDArray[np.uint8]]

    def patch(self, redrawn: NDArray[np.uint8]) -> Patch:
        """``redrawn`` (side, side, 3) uint8 where this face was."""
        return Patch(crop=self.crop, pixels=redrawn, region=self.region)


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


def paste_order(faces: Sequence[Face]) -> list[int]:
    """Largest first, so that a small face in front of a large one stays on top."""
    return sorted(range(len(faces)), key=lambda i: -faces[i].size_px)
