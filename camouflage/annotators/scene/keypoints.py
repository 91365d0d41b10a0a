"""The crop of a person for VitPose, and keypoints from its heatmaps.

Unbiased data processing (Huang et al. 2020, arXiv 1911.07524): pixel centres of the first and the
last column lie on the edges of the box. Sub-pixel places by DARK (Zhang et al. 2020, arXiv
1910.06278): a Newton step on the logarithm of the smoothed heatmap.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from camouflage.annotators.scene.prepare import Picture

MARGIN = 1.25
"""The crop is this much larger than the box, as in training."""

KERNEL_PX, SIGMA_PX = 11, 0.8
"""The smoothing before the step, in pixels of the heatmap; transformers' values."""


def crop_region(
    box_xyxy: tuple[int, int, int, int], input_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """(left, top, width, height) of the crop: the box in the input's aspect, with the margin."""
    left, top, right, bottom = box_xyxy
    aspect = input_hw[1] / input_hw[0]
    width, height = right - left, bottom - top
    width, height = max(width, height * aspect), max(height, width / aspect)
    size = np.array([width, height]) * MARGIN
    centre = np.array([left + right, top + bottom]) / 2
    return np.concatenate([centre - size / 2, size])


def cut(picture: Picture, region: NDArray[np.float64], input_hw: tuple[int, int]) -> Picture:
    """(h, w, 3): the region of the picture in the network's size, black outside the picture."""
    scale = (np.array(input_hw[::-1]) - 1) / region[2:]
    matrix = np.array([[scale[0], 0, -region[0] * scale[0]], [0, scale[1], -region[1] * scale[1]]])
    return cv2.warpAffine(picture, matrix, input_hw[::-1], flags=cv2.INTER_LINEAR)  # type: ignore[return-value]


def keypoints(heatmaps: NDArray[np.float32], regions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, K, 3) x, y in pixels of the picture and score, of (N, K, h, w) and (N, 4) regions."""
    height, width = heatmaps.shape[2:]
    place = heatmaps.reshape(*heatmaps.shape[:2], -1).argmax(2)
    scores = heatmaps.reshape(*heatmaps.shape[:2], -1).max(2)
    peaks = np.stack([place % width, place // width], axis=2)
    at = peaks - _newton_step(heatmaps, peaks)
    places = at * (regions[:, None, 2:] / np.array([width - 1, height - 1])) + regions[:, None, :2]
    return np.concatenate([places, scores[..., None]], axis=2)


def _newton_step(heatmaps: NDArray[np.float32], peaks_xy: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N, K, 2) xy: inverse Hessian times gradient of the log of the smoothed maps at the peaks."""
    kernel = (KERNEL_PX, KERNEL_PX)
    smooth = np.stack(
        [
            cv2.GaussianBlur(
                maps.transpose(1, 2, 0), kernel, SIGMA_PX, borderType=cv2.BORDER_REFLECT
            )
            .reshape(*maps.shape[1:], -1)  # OpenCV drops a single channel
            .transpose(2, 0, 1)
            for maps in heatmaps
        ]
    )
    log = np.log(np.clip(smooth, 0.001, 50)).astype(np.float64)
    log = np.pad(log, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    person, point = np.indices(peaks_xy.shape[:2])

    def near(dx: int, dy: int) -> NDArray[np.float64]:
        return log[person, point, peaks_xy[..., 1] + 1 + dy, peaks_xy[..., 0] + 1 + dx]

    gradient = np.stack([near(1, 0) - near(-1, 0), near(0, 1) - near(0, -1)], axis=2) / 2
    xx = near(1, 0) - 2 * near(0, 0) + near(-1, 0)
    yy = near(0, 1) - 2 * near(0, 0) + near(0, -1)
    xy = near(1, 1) - near(1, 0) - near(0, 1) + 2 * near(0, 0)
    xy = (xy - near(-1, 0) - near(0, -1) + near(-1, -1)) / 2
    hessian = np.stack([xx, xy, xy, yy], axis=2).reshape(*xx.shape, 2, 2)
    hessian = hessian + np.finfo(np.float32).eps * np.eye(2)  # of a flat map it would be singular
    return np.linalg.solve(hessian, gradient[..., None])[..., 0]
