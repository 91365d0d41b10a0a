"""What a recipe of CAMOUFLaGE-Light means for its pipeline: fakes, swaps, attributes, guidance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from camouflage.attempts import Subject
from camouflage.errors import SettingError
from camouflage.recipe import LightRecipe, LightRung
from camouflage.redraw import Redrawer
from camouflage.subjects.faces import SAME_PLACE, Face, overlap

if TYPE_CHECKING:
    from camouflage.pipelines.light import LightPipeline
    from camouflage.pipelines.light_faces import LightFace
    from camouflage.pipelines.starts import Starts
    from camouflage.recipe import Rung
    from camouflage.swap import SwapSettings
    from camouflage.swap.pool import PoolFace


@dataclass(frozen=True, kw_only=True, eq=False)
class LightRedrawer(Redrawer):
    """Of a `LightPipeline`.

    In a crop there is always a face to swap: the one it was made for. Each attempt takes another
    fake.
    """

    recipe: LightRecipe
    pipeline: LightPipeline
    _starts_of_pool: list[Starts] = field(init=False, default_factory=list, repr=False)

    def _check(self) -> None:
        recipe = self.recipe
        if self.pipeline.pool is None:
            raise SettingError(
                f"{recipe.model} has no pool of faces to swap for: make one with `camouflage pool "
                "build` and put it into the model's folder as pool/"
            )
        if recipe.swap_blend == "whole":
            _require_whole(recipe, aligned=self.aligned)
            _ = self.start_pool  # or what is missing of it
        if recipe.negative_prompt is not None and recipe.guidance_scale == 1:
            raise SettingError("negative_prompt: it acts only with a guidance_scale other than 1")

    def numbers(self, rung: Rung) -> tuple[None, float]:
        """No anonymization scale, and the strength of an attempt."""
        return None, self.strength(rung)

    def original_share(self, rung: Rung) -> float:
        """The recipe's and the rung's, at least 0."""
        added = rung.original_share if isinstance(rung, LightRung) else 0.0
        return max(self.recipe.original_share + added, 0.0)

    def _drawn(self, batch: Sequence[Subject], key: str, attempt: int) -> list[NDArray[np.uint8]]:
        faces, swapped = self._swapped_batch(batch, key, attempt)
        names = [subject.name for subject in batch]
        return self._run([subject.pixels for subject in batch], faces, swapped, names, key, attempt)

    def _swapped_batch(
        self, batch: Sequence[Subject], key: str, attempt: int
    ) -> tuple[list[list[LightFace]], list[NDArray[np.uint8]]]:
        """The faces of each crop, and the crops with their faces swapped."""
        fakes = self.fakes(batch, key, attempt)
        faces = [
            self._faces(subject, key, attempt, fake)
            for subject, fake in zip(batch, fakes, strict=True)
        ]
        pool = self.start_pool
        if pool is None:
            return faces, self._swapped([subject.pixels for subject in batch], faces, attempt)
        return faces, [
            pool.start(subject, some[0].shape.points_xy, fake)
            for subject, some, fake in zip(batch, faces, fakes, strict=True)
            if fake is not None
        ]

    @property
    def start_pool(self) -> Starts | None:
        """Of the pipeline's pool as it is now; None where the swap itself chooses."""
        if self.recipe.swap_blend != "whole":
            return None
        from camouflage.pipelines.starts import Starts

        pipeline = self.pipeline
        assert pipeline.pool is not None  # noqa: S101  was checked
        if not self._starts_of_pool or self._starts_of_pool[0].pool is not pipeline.pool:
            self._starts_of_pool[:] = [
                Starts.of(
                    pipeline.pool,
                    pipeline.image_encoder,
                    pipeline.attribute_net,
                    threshold=self.recipe.swap_threshold,
                )
            ]
        return self._starts_of_pool[0]

    def _drawn_frame(
        self,
        view: NDArray[np.uint8],
        faces: Sequence[Face],
        name: str,
        key: str,
        attempt: int,
    ) -> NDArray[np.uint8]:
        everybody = [self._known_and_found(view, faces)]
        swapped = self._swapped([view], everybody, attempt)
        return self._run([view], everybody, swapped, [name], key, attempt)[0]

    def shown(self, subject: Subject, key: str) -> list[NDArray[np.uint8]]:
        """Its crop, and with the face of the first attempt in it."""
        return [subject.pixels, *self._swapped_batch([subject], key, 0)[1]]

    def _frame_steering(
        self, view: NDArray[np.uint8], faces: Sequence[Face]
    ) -> list[NDArray[np.uint8]]:
        """The picture with the first attempt's faces."""
        return self._swapped([view], [self._known_and_found(view, faces)], 0)

    @property
    def _swap(self) -> SwapSettings:
        from camouflage.swap import SwapSettings

        assert self.recipe.swap_blend != "whole"  # noqa: S101  has a start of its own
        return SwapSettings(
            side=self.pipeline.config["default_swap_side"],
            alignment=self.recipe.swap_alignment,
            blend=self.recipe.swap_blend,
        )

    def _swapped(
        self, pictures: list[NDArray[np.uint8]], faces: list[list[LightFace]], attempt: int
    ) -> list[NDArray[np.uint8]]:
        return self.pipeline.swapped(
            pictures,
            faces,
            settings=self._swap,
            threshold=self.recipe.swap_threshold,
            rank=attempt,
        )

    def _faces(
        self, subject: Subject, key: str, attempt: int, fake: PoolFace | None
    ) -> list[LightFace]:
        """Every face of the crop, in its pixels: those that are known, and others found in it."""
        if subject.points_xy is None:
            return self._known_and_found(subject.pixels, subject.faces)
        from camouflage.pipelines.light_faces import face_of_crop

        shape_xy = self.shapes([subject], key, attempt, [fake])[0]
        return [face_of_crop(subject.points_xy, shape_xy)]

    def _known_and_found(self, pixels: NDArray[np.uint8], known: Sequence[Face]) -> list[LightFace]:
        """What Anonymizer knows or was told comes first; nobody is left to a second detector."""
        from camouflage.pipelines.light_faces import light_faces

        found = self.pipeline.detected(pixels)
        others = [
            face
            for face in found
            if all(overlap(face.box_xyxy, one.box_xyxy) <= SAME_PLACE for one in known)
        ]
        return light_faces(pixels, [*known, *others], self.pipeline.landmarker)

    def _run(
        self,
        pictures: list[NDArray[np.uint8]],
        faces: list[list[LightFace]],
        swapped: list[NDArray[np.uint8]],
        names: list[str],
        key: str,
        attempt: int,
    ) -> list[NDArray[np.uint8]]:
        from camouflage.denoise.seeds import generator_for

        recipe, rung = self.recipe, self.recipe.ladder[attempt]
        output: Any = self.pipeline(
            pictures,
            faces=faces,
            swapped_images=swapped,
            prompt=recipe.prompt,
            negative_prompt=recipe.negative_prompt,
            guidance_scale=recipe.guidance_scale,
            image_prompt_scale=recipe.image_prompt_scale,
            adapter_scale=recipe.adapter_scale,
            adapter_steps=recipe.adapter_steps,
            original_share=self.original_share(rung),
            attributes_of=recipe.attributes_of,
            strength=self.strength(rung),
            num_inference_steps=recipe.steps,
            generator=[generator_for(key, name, attempt) for name in names],
            output_type="pil",
        )
        return [np.asarray(image) for image in output.images]


def _require_whole(recipe: LightRecipe, *, aligned: bool) -> None:
    if not aligned:
        raise SettingError(
            f"swap_blend whole: {recipe.model} draws scenes; it is for models of aligned faces, "
            "others take seamless or alpha"
        )
    if recipe.swap_alignment != "mesh":
        raise SettingError(
            "swap_blend whole pulls the fake onto the landmarks: set swap_alignment to mesh"
        )
