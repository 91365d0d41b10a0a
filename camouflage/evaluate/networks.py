"""Any ONNX face network by its path: how a face is cut for it, and what its numbers mean.

A network is described by a YAML file beside it, or by the name of a family and a path
(``arcface=w600k_r50.onnx``). What is read of the picture is said by ``alignment``: the five points
on ArcFace's template (Deng et al. 2019, arXiv 1801.07698), or the detector's box.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from camouflage.errors import SettingError, WeightsError
from camouflage.subjects.crops import AlignedCrop, similarity
from camouflage.subjects.faces import Face

ARCFACE_XY = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655],
     [70.7299, 92.2041]]
) / 112  # fmt: skip
"""Where the five points go, as fractions of the side: the template of ArcFace's chips."""


class Reading(BaseModel):
    """One number or label that a network says of a face.

    ``probability``: of "yes", compared at 0.5. ``expectation``: the mean of a distribution over
    0, 1, 2, ..., compared by its difference. ``label``: the largest of several, compared as equal.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    output: str
    kind: Literal["probability", "expectation", "label"]


class NetworkSettings(BaseModel):
    """How a face is put into a network. All pixel values are those of 0 to 255."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Annotated[str, Field(min_length=1)]
    model: Path
    input_px: Annotated[int, Field(ge=16, le=1024)]
    alignment: Literal["arcface", "box"]
    margin: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Of a box: added on each side, as a fraction of its longer side."""
    channels: Literal["rgb", "bgr", "grey"] = "rgb"
    mean: float = 127.5
    std: Annotated[float, Field(gt=0)] = 127.5
    normalise: bool = True
    """Embeddings are brought to length one, so that Euclidean distance ranks as cosine does."""
    output: str | None = None
    """Of the embedding; None is the first output."""
    readings: dict[str, Reading] = {}
    """What it says of a face, if it is no recogniser."""
    sha256: str | None = None
    """If given, another file is refused."""
    note: str = ""
    """Training data and licence, for the report."""


FAMILIES: dict[str, dict[str, Any]] = {
    "arcface": {"input_px": 112, "alignment": "arcface", "mean": 127.5, "std": 127.5},
    "adaface": {
        "input_px": 112, "alignment": "arcface", "channels": "bgr", "mean": 127.5, "std": 127.5,
    },
    "mobilefacenet": {"input_px": 112, "alignment": "arcface", "mean": 127.5, "std": 128.0},
    "facenet": {"input_px": 160, "alignment": "box", "mean": 127.5, "std": 127.5},
}  # fmt: skip
"""The usual preparation of well-known families. ``facenet`` is facenet-pytorch's
InceptionResnetV1 (VGGFace2 or CASIA-WebFace), exported with ``torch.onnx.export``; CAMOUFLaGE's
evaluation cuts its crops by MTCNN with margin 0."""


class FaceNetwork:
    """An ONNX network on cut faces, on the CPU.

    ``settings`` are checked against the file: its input must be (N, 3 or 1, side, side) or
    (N, side, side, 3 or 1). Raises `WeightsError` for a file that is missing, damaged or other than
    ``sha256``.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        import onnxruntime

        self.settings = settings
        self.name = settings.name
        try:
            data = settings.model.read_bytes()
        except OSError as error:
            raise WeightsError(f"{settings.model.name}: cannot be read") from error
        self.sha256 = hashlib.sha256(data).hexdigest()
        if settings.sha256 not in (None, self.sha256):
            raise WeightsError(
                f"{settings.model.name}: expected sha256 {settings.sha256}, got {self.sha256}"
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a dozen types of its own
            raise WeightsError(f"{settings.model.name}: is no ONNX file that can be run") from error
        given = self._session.get_inputs()[0]
        self._input, shape = given.name, list(given.shape)
        depth, side = 1 if settings.channels == "grey" else 3, settings.input_px
        fits = [
            len(shape) == 4
            and all(s == w or not isinstance(s, int) for s, w in zip(shape[1:], as_, strict=True))
            for as_ in ((depth, side, side), (side, side, depth))
        ]
        if not any(fits):
            raise WeightsError(
                f"{settings.model.name}: expected an input of {side} px and {depth} channels, "
                f"got {shape}"
            )
        self._channels_first = fits[0]
        self._one_by_one = isinstance(shape[0], int)
        self._outputs = [output.name for output in self._session.get_outputs()]
        for name in [settings.output, *(r.output for r in settings.readings.values())]:
            if name is not None and name not in self._outputs:
                raise WeightsError(
                    f"{settings.model.name}: has no output {name}, but {', '.join(self._outputs)}"
                )

    def embed(self, pixels: NDArray[np.uint8], faces: Sequence[Face]) -> NDArray[np.float64]:
        """(N, D) of faces of one RGB picture, uint8 (H, W, 3)."""
        if not faces:
            return np.zeros((0, 0))
        name = self.settings.output or self._outputs[0]
        rows = self._run(pixels, faces, [name])[0].reshape(len(faces), -1)
        if self.settings.normalise:
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return rows

    def read(self, pixels: NDArray[np.uint8], face: Face) -> dict[str, float]:
        """What the network says of a face, by the names of ``readings``."""
        readings = self.settings.readings
        outputs = self._run(pixels, [face], [r.output for r in readings.values()])
        return {
            name: _said(reading.kind, output.reshape(-1))
            for (name, reading), output in zip(readings.items(), outputs, strict=True)
        }

    def _run(
        self, pixels: NDArray[np.uint8], faces: Sequence[Face], names: list[str]
    ) -> list[NDArray[np.float64]]:
        batch = np.stack([self.prepare(pixels, face) for face in faces])
        parts = [batch[i : i + 1] for i in range(len(batch))] if self._one_by_one else [batch]
        runs = [self._session.run(names, {self._input: part}) for part in parts]
        return [np.concatenate(outputs).astype(np.float64) for outputs in zip(*runs, strict=True)]

    def prepare(self, pixels: NDArray[np.uint8], face: Face) -> NDArray[np.float32]:
        """The network's input of one face, without the batch's dimension."""
        settings = self.settings
        cut = chip(pixels, face, settings).astype(np.float32)
        if settings.channels == "bgr":
            cut = cut[..., ::-1]
        elif settings.channels == "grey":
            cut = (cut @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
        cut = (cut - settings.mean) / settings.std
        return np.ascontiguousarray(
            cut.transpose(2, 0, 1) if self._channels_first else cut, dtype=np.float32
        )


def chip(pixels: NDArray[np.uint8], face: Face, settings: NetworkSettings) -> NDArray[np.uint8]:
    """(side, side, 3) RGB uint8: the face as the network wants it, shrunk without aliasing."""
    side = settings.input_px
    if settings.alignment == "arcface":
        matrix = similarity(face.points_xy.astype(np.float64), ARCFACE_XY * side)
    else:
        x0, y0, x1, y1 = face.box_xyxy
        half = max(x1 - x0, y1 - y0) * (0.5 + settings.margin)
        scale = side / (2 * half)
        corner = (x0 + x1) / 2 - half, (y0 + y1) / 2 - half
        matrix = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]])
    return AlignedCrop(matrix=matrix, side=side).cut(pixels)


def load_network(text: str) -> FaceNetwork:
    """From ``FILE.yaml``, ``FILE.yaml=FILE.onnx``, or ``FAMILY=FILE.onnx`` of `FAMILIES`.

    A YAML's ``model`` is a path beside it; the second form says another one.

    Raises:
        SettingError: the text is neither, or the YAML has unknown, missing or wrong settings.
        WeightsError: the network cannot be used.
    """
    family, equals, path = text.partition("=")
    if equals and family in FAMILIES:
        settings: dict[str, Any] = {"name": Path(path).stem, "model": path, **FAMILIES[family]}
        return FaceNetwork(NetworkSettings(**settings))
    file = Path(family if equals else text)
    if file.suffix.lower() not in (".yaml", ".yml"):
        raise SettingError(
            f"{text}: expected FILE.yaml or FAMILY=FILE.onnx with one of {', '.join(FAMILIES)}"
        )
    try:
        stored = yaml.safe_load(file.read_text(encoding="utf-8"))
        found = NetworkSettings.model_validate(stored)
    except OSError as error:
        raise SettingError(f"{file.name}: cannot be read") from error
    except (yaml.YAMLError, ValidationError) as error:
        raise SettingError(f"{file.name}: {error}") from error
    model = Path(path) if equals else file.parent / found.model
    return FaceNetwork(found.model_copy(update={"model": model}))


def _said(kind: str, values: NDArray[np.float64]) -> float:
    if kind == "probability":
        return float(values[0])
    if kind == "expectation":
        return float(values @ np.arange(len(values)) / values.sum())
    return float(values.argmax())
