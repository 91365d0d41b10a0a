"""Who the attacker asks: the recognisers, all behind one method.

dlib's is the gate's own, so that with the gate on its numbers are optimistic: say so, and bring
another one. CLIP looks at the whole picture, as CAMOUFLaGE's evaluation does, and so recognises
clothes and places as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from camouflage.audit.recogniser import Recogniser
from camouflage.errors import WeightsError
from camouflage.evaluate.networks import FaceNetwork, load_network
from camouflage.subjects.faces import Face
from camouflage.weights import DLIB_RECOGNISER


class FaceEncoder(Protocol):
    """Faces to rows that are compared by Euclidean distance.

    ``sha256``: of its weights. ``whole_picture``: the points of the face play no part.
    """

    name: str
    sha256: str
    note: str
    whole_picture: bool

    def embed(self, pixels: NDArray[np.uint8], faces: Sequence[Face]) -> NDArray[np.float64]:
        """(N, D) of faces of one RGB picture (H, W, 3); NaN for one that is too small."""
        ...


class DlibEncoder:
    """dlib's ResNet, offline: the recogniser of the audit."""

    name = "dlib"
    note = "the gate's own recogniser: optimistic with the gate on; CC0"
    whole_picture = False

    def __init__(self) -> None:
        self.sha256 = DLIB_RECOGNISER.sha256
        self._recogniser = Recogniser()

    def embed(self, pixels: NDArray[np.uint8], faces: Sequence[Face]) -> NDArray[np.float64]:
        return self._recogniser.embed(pixels, faces).rows


class OnnxEncoder:
    """Any network of `camouflage.evaluate.networks`."""

    whole_picture = False

    def __init__(self, network: FaceNetwork) -> None:
        self.name, self.sha256, self.note = network.name, network.sha256, network.settings.note
        self._network = network

    def embed(self, pixels: NDArray[np.uint8], faces: Sequence[Face]) -> NDArray[np.float64]:
        return self._network.embed(pixels, faces)


class ClipEncoder:
    """CLIP's picture encoder (Radford et al. 2021, arXiv 2103.00020) on the whole picture.

    Its rows are not brought to length one, as in CAMOUFLaGE's evaluation.

    ``folder``: a local copy of ``openai/clip-vit-base-patch32`` or of another size, or a repository
    of the hub. As CAMOUFLaGE's evaluation (methods: "CLIP ViT-B/32").
    """

    note = "whole picture: clothes and place count too"
    whole_picture = True

    def __init__(self, folder: str) -> None:
        from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

        from camouflage.weights import transformers_folder

        path = transformers_folder(folder)
        try:
            model = CLIPVisionModelWithProjection.from_pretrained(
                path, use_safetensors=True, local_files_only=True
            )
            self._processor = CLIPImageProcessor.from_pretrained(path, local_files_only=True)
        except (OSError, ValueError) as error:
            raise WeightsError(f"{Path(folder).name}: is no CLIP model that can be read") from error
        self._model = model.eval()
        self.name = f"clip {Path(folder).name}"
        digest = hashlib.sha256()
        for file in sorted(path.glob("*.safetensors")):
            digest.update(file.read_bytes())
        self.sha256 = digest.hexdigest()

    def embed(self, pixels: NDArray[np.uint8], faces: Sequence[Face]) -> NDArray[np.float64]:
        import torch

        inputs = self._processor(
            images=pixels, return_tensors="pt", input_data_format="channels_last"
        )
        with torch.no_grad():
            row = self._model(**inputs).image_embeds[0].double().numpy()
        return np.tile(row, (len(faces), 1))


def load_encoders(texts: Sequence[str]) -> list[FaceEncoder]:
    """``dlib``, ``clip=FOLDER``, ``FAMILY=FILE.onnx`` or ``FILE.yaml``, each."""
    encoders: list[FaceEncoder] = []
    for text in texts:
        kind, _, rest = text.partition("=")
        if text == "dlib":
            encoders.append(DlibEncoder())
        elif kind == "clip":
            encoders.append(ClipEncoder(rest or "openai/clip-vit-base-patch32"))
        else:
            encoders.append(OnnxEncoder(load_network(text)))
    return encoders
