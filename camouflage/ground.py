"""What lies under the faces: the picture as it is, with its people redrawn, or redrawn as a whole.

Faces that are large enough in it are new already; the others are redrawn as crops on top of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camouflage.attempts import Subject
from camouflage.compose import compose
from camouflage.picture import Picture
from camouflage.redraw import Redrawer
from camouflage.subjects.cover import ellipse
from camouflage.subjects.faces import Face
from camouflage.subjects.given import GivenFace
from camouflage.subjects.moved import faces_in
from camouflage.subjects.persons import Body, FacelessBody


@dataclass(frozen=True, kw_only=True, eq=False)
class Ground:
    """``pixels`` uint8 (H, W, 3); ``changed`` bool (H, W), where they are new; ``hidden``: the
    numbers of the faces that are redrawn in it; ``whole``: all of it is new; ``bodies``: those are.
    """

    pixels: NDArray[np.uint8]
    changed: NDArray[np.bool_]
    hidden: frozenset[int] = frozenset()
    whole: bool = False
    bodies: tuple[Body, ...] = ()

    @property
    def is_drawn(self) -> bool:
        """Whether any of it is new, so that another attempt may mend it."""
        return self.whole or bool(self.bodies)


def untouched(picture: Picture) -> Ground:
    """The picture as it is: every face is still to be redrawn."""
    return Ground(pixels=picture.pixels, changed=np.zeros(picture.size_hw, bool))


def scene(
    redrawer: Redrawer, picture: Picture, faces: Sequence[Face], *, key: str, attempt: int
) -> Ground:
    """The whole picture anew: nobody is left whom no detector saw."""
    name = f"{picture.sha256}:scene"
    pixels = redrawer.frame(picture.pixels, name, key, attempt, faces=faces)
    scale = min(np.divide(redrawer.frame_size_hw(picture.size_hw), picture.size_hw))
    hidden = {i for i, face in enumerate(faces) if _is_large(face, float(scale), redrawer)}
    return Ground(
        pixels=pixels,
        changed=np.ones(picture.size_hw, bool),
        hidden=frozenset(hidden),
        whole=True,
    )


def people(
    redrawer: Redrawer,
    picture: Picture,
    faces: Sequence[Face],
    bodies: Sequence[Body],
    *,
    key: str,
    attempt: int,
) -> Ground:
    """Every body anew, each as a crop around it, the largest first."""
    ordered = sorted(bodies, key=lambda body: -body.size_px)
    subjects = body_subjects(redrawer, picture, ordered, faces)
    drawn = redrawer.crops(subjects, key, attempt)
    patches = [subject.patch(new) for subject, new in zip(subjects, drawn, strict=True)]
    pixels, changed = compose(picture.pixels, patches)
    opaque = np.zeros(picture.size_hw, bool)
    for body in ordered:
        x0, y0, x1, y1 = body.box_xyxy
        opaque[y0:y1, x0:x1] |= body.mask
    hidden = set()
    for i, face in enumerate(faces):
        scales = [s.crop.scale for b, s in zip(ordered, subjects, strict=True) if b.holds(face)]
        large = bool(scales) and _is_large(face, min(scales), redrawer)
        if large and _is_in(face, opaque):
            hidden.add(i)
    return Ground(pixels=pixels, changed=changed, hidden=frozenset(hidden), bodies=tuple(ordered))


def body_subjects(
    redrawer: Redrawer, picture: Picture, bodies: Sequence[Body], faces: Sequence[Face]
) -> list[Subject]:
    """Every body, ready to be redrawn, with those of ``faces`` that its crop shows."""
    crops = [body.crop(redrawer.pipeline.config["size_px"]) for body in bodies]
    return [
        Subject(
            name=f"{picture.sha256}:body:{body.box_xyxy}",
            crop=crop,
            pixels=crop.cut(picture.pixels),
            region=body.region(crop),
            points_xy=None,
            faces=faces_in(crop, faces),
        )
        for body, crop in zip(bodies, crops, strict=True)
    ]


def _is_large(face: Face, scale: float, redrawer: Redrawer) -> bool:
    """Whether the model has enough latents for a face at ``scale`` model to picture pixels."""
    x0, y0, x1, y1 = face.box_xyxy
    return min(x1 - x0, y1 - y0) * scale >= redrawer.recipe.small_face_px


def _is_in(face: Face, opaque: NDArray[np.bool_]) -> bool:
    """Whether all that must be redrawn of a face is; a given place is always redrawn by itself."""
    if isinstance(face, GivenFace):
        return isinstance(face, FacelessBody)
    x0, y0, x1, y1 = face.box_xyxy
    return bool(opaque[y0:y1, x0:x1][ellipse(face.box_xyxy)].all())
