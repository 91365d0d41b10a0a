"""The recogniser of the audit: dlib's ResNet, on which nothing that draws was trained.

Whose face a start has is chosen by its embeddings, too (`camouflage.pipelines.starts`).

Davis King, "High Quality Face Recognition with Deep Metric Learning", blog.dlib.net, 2017; the
weights are CC0, inside the package ``face_recognition_models``, found by path and run by PyTorch
(`network.py`). Two faces of one person are usually closer than 0.6 in Euclidean distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from camouflage.audit.network import DlibNetwork
from camouflage.errors import SettingError
from camouflage.subjects.faces import Face
from camouflage.weights import DLIB_RECOGNISER

CHIP_PX = 150  # what the network takes
# Where CenterFace's five points lie in chips that dlib cuts itself with its 5-point predictor:
# the mean over 200 synthetic faces, made symmetric. Spread 3 px.
CHIP_POINTS_XY = np.array([[47.8, 46.6], [102.2, 46.6], [75.0, 77.6], [52.2, 100.1], [97.8, 100.1]])
MIN_EYE_DISTANCE_PX = 8.0
"""Below this a face is too small to be judged by the recogniser.

Measured on 79 x 3 photographs of LFW, shrunk: at 14 px of eye distance it accepts 99 % of the same
people at 1 % of others, at 10 px 91 %, at 8 px 79 %, at 7 px 69 %; and 8 % of the same people are
beyond 0.6 at 8 px.
"""
NO_FACE_DISTANCE = 0.5
"""A chip that is nearer than this to a black one shows nothing that the network knows.

Measured: of 52 detections on walls and textures the median is at 0.42, three of four are below 0.5;
of 52 people of LFW none is below 0.60, of faces half hidden 0.56, of 8 px eye distance 0.58, after
a blur of 0.15 of the eye distance 0.53. Walls are 0.38 to 0.65 from each other, as one person is.
"""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Embeddings:
    """One row a face: ``rows`` (N, 128) float64, NaN for a face that is too small to have one."""

    rows: np.ndarray

    def __post_init__(self) -> None:
        if self.rows.ndim != 2 or self.rows.shape[1] != 128:
            raise SettingError(f"expected embeddings (N, 128), got {self.rows.shape}")

    def __repr__(self) -> str:
        return f"Embeddings(shape={self.rows.shape})"

    @property
    def present(self) -> np.ndarray:
        """bool (N,): the faces that have a row."""
        return np.asarray(np.isfinite(self.rows).all(axis=1))

    def without(self, numbers: Sequence[int]) -> Embeddings:
        """The same, but with no row for these: they are no faces."""
        rows = self.rows.copy()
        rows[list(numbers)] = np.nan
        return Embeddings(rows=rows)

    def distances(self, other: Embeddings) -> np.ndarray:
        """Euclidean (N, M), 0 to 2 in practice; NaN where a row is missing."""
        distances = np.empty((len(self.rows), len(other.rows)))
        for i, row in enumerate(self.rows):  # at once they would be (N, M, 128)
            distances[i] = np.linalg.norm(row - other.rows, axis=-1)
        return distances


class Recogniser:
    """dlib's face recogniser on aligned chips, on the CPU."""

    def __init__(self, *, min_eye_distance_px: float = MIN_EYE_DISTANCE_PX) -> None:
        if not min_eye_distance_px > 0:
            raise SettingError(f"expected min_eye_distance_px > 0, got {min_eye_distance_px}")
        self.min_eye_distance_px = min_eye_distance_px
        self._network = DlibNetwork.load(DLIB_RECOGNISER.path())
        self._black: np.ndarray | None = None

    def embed(self, pixels: np.ndarray, faces: Sequence[Face]) -> Embeddings:
        """Embeddings of faces of one upright RGB picture, uint8 ``(H, W, 3)``, in their order."""
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise SettingError(f"expected uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}")
        rows = np.full((len(faces), 128), np.nan)
        for row, face in zip(rows, faces, strict=True):
            if face.eye_distance_px >= self.min_eye_distance_px:
                row[:] = self.embed_chip(_chip(pixels, face.points_xy))
        return Embeddings(rows=rows)

    def embed_chip(self, chip: np.ndarray) -> np.ndarray:
        """(128,) float64 of an aligned RGB chip, uint8 (150, 150, 3).

        One by one: a face's last bits are the same, whoever else is in its picture.
        """
        if chip.dtype != np.uint8 or chip.shape != (CHIP_PX, CHIP_PX, 3):
            raise SettingError(
                f"expected uint8 ({CHIP_PX}, {CHIP_PX}, 3), got {chip.dtype} {chip.shape}"
            )
        with torch.inference_mode():
            batch = torch.from_numpy(chip).permute(2, 0, 1)[None].float()
            return self._network(batch)[0].double().numpy()

    def sees_nothing(self, embeddings: Embeddings) -> np.ndarray:
        """bool (N,): the network finds no face in these chips, so it cannot tell one from another.

        False for a face without a row.
        """
        if self._black is None:
            self._black = self.embed_chip(np.zeros((CHIP_PX, CHIP_PX, 3), np.uint8))
        return np.linalg.norm(embeddings.rows - self._black, axis=1) < NO_FACE_DISTANCE


def _chip(pixels: np.ndarray, points_xy: np.ndarray) -> np.ndarray:
    """The face upright at a fixed size, uint8 ``(150, 150, 3)``, shrunk without aliasing."""
    matrix = _alignment(points_xy.astype(np.float64))
    # Only the neighbourhood is filtered: a warp alone would alias a face that is much larger.
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0], [CHIP_PX, 0], [CHIP_PX, CHIP_PX], [0, CHIP_PX]], dtype=np.float64)
    corners = corners @ inverse[:, :2].T + inverse[:, 2]
    limit = np.array([pixels.shape[1], pixels.shape[0]])
    x0, y0 = np.clip(np.floor(corners.min(axis=0)) - 2, 0, limit - 1).astype(int)
    x1, y1 = np.clip(np.ceil(corners.max(axis=0)) + 3, [x0 + 1, y0 + 1], limit).astype(int)
    near = pixels[y0:y1, x0:x1]
    matrix[:, 2] += matrix[:, :2] @ (x0, y0)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.5:
        size_wh = [max(1, round(side * scale)) for side in (near.shape[1], near.shape[0])]
        factor = np.array([size_wh[0] / near.shape[1], size_wh[1] / near.shape[0]])
        near = cv2.resize(near, size_wh, interpolation=cv2.INTER_AREA)
        # Pixel centres: small = (large + 0.5) * factor - 0.5
        matrix[:, 2] += matrix[:, :2] @ (0.5 / factor - 0.5)
        matrix[:, :2] = matrix[:, :2] / factor
    return cv2.warpAffine(
        near, matrix, (CHIP_PX, CHIP_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )


def _alignment(points_xy: np.ndarray) -> np.ndarray:
    """The similarity (2, 3) from picture to chip that fits the five points best.

    Least squares (Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", 1991), without reflection, in its closed form for the plane.
    """
    source, target = (
        points_xy - points_xy.mean(axis=0),
        CHIP_POINTS_XY - CHIP_POINTS_XY.mean(axis=0),
    )
    size = max(float((source**2).sum()), 1e-12)
    cosine = float((source * target).sum()) / size
    sine = float((source[:, 0] * target[:, 1] - source[:, 1] * target[:, 0]).sum()) / size
    turn = np.array([[cosine, -sine], [sine, cosine]])
    shift = CHIP_POINTS_XY.mean(axis=0) - turn @ points_xy.mean(axis=0)
    return np.concatenate([turn, shift[:, None]], axis=1)
