"""What the noise of CAMOUFLaGE-Base may be laid over: a crop with a face of nobody in it. Ours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from camouflage import weights
from camouflage.annotators.image_encoder import ImageEncoder, load_image_encoder
from camouflage.pipelines.light_encoder import require_own_pool, sha256_of
from camouflage.pipelines.light_faces import chosen_fakes, face_of_crop
from camouflage.swap import FacePool
from camouflage.swap.whole import whole_face

THRESHOLD = 1.0
"""Angular distance that a fake's embedding must exceed, as in CAMOUFLaGE-Light."""
CANDIDATES = 8
"""Were it always the nearest, it would tell who it is in the place of. Our choice."""


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

        ``points_xy`` (P, 2) are the face's landmarks, ``shape_xy`` those that the fake gets. One of
        the :data:`CANDIDATES` nearest that would do is drawn by lot, those of the attempts before
        left out.
        """
        face = face_of_crop(points_xy, shape_xy)
        rank = attempt * CANDIDATES + int(torch.randint(CANDIDATES, (), generator=generator))
        (fake,) = chosen_fakes(
            self.pool, self.encoder, pixels, [face], threshold=THRESHOLD, rank=rank
        )
        return whole_face(pixels, region, shape_xy, fake)
