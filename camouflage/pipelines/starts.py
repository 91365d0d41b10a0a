"""What the noise of CAMOUFLaGE-Base may be laid over: a crop with a face of nobody in it. Ours."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from camouflage import weights
from camouflage.annotators.image_encoder import ImageEncoder, embed_pictures, load_image_encoder
from camouflage.annotators.landmarks import MIRROR, five_points
from camouflage.pipelines.light_encoder import require_own_pool, sha256_of
from camouflage.pipelines.light_faces import face_of_crop, pixels_in_box
from camouflage.swap import FacePool
from camouflage.swap.whole import whole_face

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
            SettingError: a pool of another encoder, or a damaged one.
            WeightsError: what is missing or does not pass its list of hashes.
        """
        folder = weights.start_pool_folder(name_or_path)
        pool, encoder = FacePool.load(folder / "pool"), load_image_encoder(folder / "image_encoder")
        require_own_pool(pool, encoder, sha256=sha256_of(folder / "image_encoder"))
        return cls(pool=pool, encoder=encoder)

    def start(
        self,
        pixels: NDArray[np.uint8],
        region: NDArray[np.bool_],
        points_xy: NDArray[np.float64],
        shape_xy: NDArray[np.float64],
        *,
        attempt: int,
        generator: torch.Generator,
    ) -> NDArray[np.uint8]:
        """The aligned crop ``pixels`` (side, side, 3) with a fake in its ``region``.

        ``points_xy`` (P, 2) are the face's landmarks, ``shape_xy`` those that the fake gets. Each
        ``attempt`` has candidates of its own, as long as the pool has enough.
        """
        face = face_of_crop(points_xy, shape_xy)
        seen = pixels_in_box(pixels, face.box_xyxy)
        alike = self._alike(embed_pictures(self.encoder, [seen])[0])
        order = alike[np.argsort(self._differences(shape_xy)[alike], kind="stable")]
        lot = int(torch.randint(CANDIDATES, (), generator=generator))
        fake = self.pool.face(int(order[(attempt * CANDIDATES + lot) % len(order)]))
        return whole_face(pixels, region, shape_xy, fake)

    def _alike(self, embedding: NDArray[np.float32]) -> NDArray[np.int64]:
        """Faces that look like that and are somebody else."""
        order, distances = self.pool.nearest(embedding, len(self.pool))
        others = order[distances > THRESHOLD]
        return others[:ALIKE] if len(others) else order[-ALIKE:]

    def _differences(self, points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,), how far the landmarks (P, 2) are from those of each face of the pool, or of its
        mirror image if that is nearer, in eye distances.
        """
        shape, mirrored = _shape(points_xy), _shape(points_xy[MIRROR] * [-1, 1])
        both = [np.linalg.norm(self._shapes - one, axis=-1).mean(-1) for one in (shape, mirrored)]
        return np.minimum(*both)

    @functools.cached_property
    def _shapes(self) -> NDArray[np.float64]:
        return np.stack([_shape(points) for points in self.pool.points_xy.astype(np.float64)])


def _shape(points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, 2), upright, with the eyes' middle at 0 and 1 between the eyes."""
    right, left = five_points(points_xy)[:2]
    x, y = left - right
    across = np.array([[x, -y], [y, x]]) / max(x * x + y * y, 1e-6)
    return (points_xy - (right + left) / 2) @ across
