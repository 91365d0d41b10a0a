"""What the noise of CAMOUFLaGE-Base may be laid over: a crop with a face of nobody in it. Ours."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from camouflage import weights
from camouflage.annotators.image_encoder import ImageEncoder, embed_pictures, load_image_encoder
from camouflage.annotators.landmarks import MIRROR, five_points
from camouflage.errors import SettingError
from camouflage.pipelines.light_encoder import require_own_pool, sha256_of
from camouflage.pipelines.light_faces import face_of_crop, pixels_in_box
from camouflage.swap import FacePool
from camouflage.swap.swap import looks_left
from camouflage.swap.whole import whole_face

if TYPE_CHECKING:
    from camouflage.attempts import Subject

THRESHOLD = 1.0
"""Angular distance that a fake's embedding must exceed, as in CAMOUFLaGE-Light."""
ALIKE = 64
"""So many of the nearest beyond it count as alike. Our choice."""
CANDIDATES = 8
"""Of those, so many whose landmarks are most like the person's: a closed mouth that is pulled open
is no mouth. One of them is drawn by lot: were it always the first, it would tell who it is in the
place of. Our choice."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Starts:
    """Faces of ``pool``, chosen by what ``encoder`` sees: somebody like that, and somebody else."""

    pool: FacePool
    encoder: ImageEncoder

    @classmethod
    def load(cls, name_or_path: str) -> Starts:
        """What a recipe's ``start_pool`` names.

        Raises:
            SettingError: a pool of another encoder, or one that is damaged or too small.
            WeightsError: what is missing or does not pass its list of hashes.
        """
        folder = weights.start_pool_folder(name_or_path)
        pool, encoder = FacePool.load(folder / "pool"), load_image_encoder(folder / "image_encoder")
        if len(pool) < CANDIDATES:
            raise SettingError(
                f"start_pool: expected at least {CANDIDATES} faces, so that nobody's start is "
                f"known beforehand, got {len(pool)}; `camouflage pool build` makes larger ones"
            )
        require_own_pool(pool, encoder, sha256=sha256_of(folder / "image_encoder"))
        return cls(pool=pool, encoder=encoder)

    def start(
        self,
        subject: Subject,
        shape_xy: NDArray[np.float64],
        *,
        attempt: int,
        generator: torch.Generator,
    ) -> NDArray[np.uint8]:
        """The aligned crop of ``subject`` (side, side, 3) with a fake in its region.

        ``shape_xy`` (P, 2) are the landmarks that the fake gets. Each of the first ``ALIKE /
        CANDIDATES`` attempts has candidates of its own, then they come again. Two people of one
        picture who are alike may get the same one: no face's result depends on the others'.
        """
        assert subject.points_xy is not None  # noqa: S101  an aligned face has landmarks
        face = face_of_crop(subject.points_xy, shape_xy)
        seen = pixels_in_box(subject.pixels, face.box_xyxy)
        alike = self._alike(embed_pictures(self.encoder, [seen])[0])
        order = alike[np.argsort(self._differences(shape_xy)[alike], kind="stable")]
        lot = int(torch.randint(CANDIDATES, (), generator=generator))
        fake = self.pool.face(int(order[(attempt * CANDIDATES + lot) % len(order)]))
        return whole_face(subject.pixels, subject.region, shape_xy, fake, visible=subject.visible)

    def _alike(self, embedding: NDArray[np.float32]) -> NDArray[np.int64]:
        """Faces that look like that and are somebody else."""
        order, distances = self.pool.nearest(embedding, len(self.pool))
        others = order[distances > THRESHOLD]
        return others[:ALIKE] if len(others) >= CANDIDATES else order[-ALIKE:]

    def _differences(self, points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,), how far the landmarks (P, 2) are from those of each face of the pool, mirrored as
        `whole_face` mirrors it, in eye distances.
        """
        plain, mirrored = _shape(points_xy), _shape(points_xy[MIRROR] * [-1, 1])
        targets = np.where((self._left != looks_left(points_xy))[:, None, None], mirrored, plain)
        return np.linalg.norm(self._shapes - targets, axis=-1).mean(-1)

    @functools.cached_property
    def _left(self) -> NDArray[np.bool_]:
        return np.array([looks_left(points) for points in self.pool.points_xy])

    @functools.cached_property
    def _shapes(self) -> NDArray[np.float64]:
        return np.stack([_shape(points) for points in self.pool.points_xy.astype(np.float64)])


def _shape(points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, 2), upright, with the eyes' middle at 0 and 1 between the eyes."""
    right, left = five_points(points_xy)[:2]
    x, y = left - right
    across = np.array([[x, -y], [y, x]]) / max(x * x + y * y, 1e-6)
    return (points_xy - (right + left) / 2) @ across
