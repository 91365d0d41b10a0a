"""Replace the people in a photograph by people who do not exist.

`Anonymizer` is the product: a picture in, an audited picture out, or none. `BasePipeline` and
`LightPipeline` are the methods. Names are loaded when they are first used, so that
``import camouflage`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Anonymizer": "camouflage.anonymizer",
    "AuditRefused": "camouflage.errors",
    "BasePipeline": "camouflage.pipelines.base",
    "CamouflageError": "camouflage.errors",
    "FaceDetector": "camouflage.subjects.faces",
    "FacePool": "camouflage.swap",
    "GivenRegion": "camouflage.subjects.given",
    "LightPipeline": "camouflage.pipelines.light",
    "NobodyFound": "camouflage.errors",
    "Picture": "camouflage.picture",
    "Recipe": "camouflage.recipe",
    "Result": "camouflage.result",
    "Verdict": "camouflage.audit",
}

__all__ = [
    "Anonymizer",
    "AuditRefused",
    "BasePipeline",
    "CamouflageError",
    "FaceDetector",
    "FacePool",
    "GivenRegion",
    "LightPipeline",
    "NobodyFound",
    "Picture",
    "Recipe",
    "Result",
    "Verdict",
]

if TYPE_CHECKING:
    from camouflage.anonymizer import Anonymizer
    from camouflage.audit import Verdict
    from camouflage.errors import AuditRefused, CamouflageError, NobodyFound
    from camouflage.picture import Picture
    from camouflage.pipelines.base import BasePipeline
    from camouflage.pipelines.light import LightPipeline
    from camouflage.recipe import Recipe
    from camouflage.result import Result
    from camouflage.subjects.faces import FaceDetector
    from camouflage.subjects.given import GivenRegion
    from camouflage.swap import FacePool


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'camouflage' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
