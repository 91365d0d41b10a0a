"""Everything this package raises on purpose.

::

    CamouflageError
    ├── SettingError          a value of a recipe, an option or an argument (also a ValueError)
    ├── PictureError          an input that cannot be read, or must not be
    │   └── PictureTooLarge   more pixels than the cap: a decompression bomb, or a cap set too low
    ├── MissingExtra          an optional part is not installed (also an ImportError)
    ├── WeightsError          weights that are missing, damaged or of another architecture
    ├── NobodyFound           no person in the picture, and the policy is to write nothing
    ├── NonFiniteResult       the model returned NaN or infinity
    ├── OutOfMemory           one face alone does not fit into memory (also a MemoryError)
    ├── AuditRefused          the audit did not pass; the result stays locked
    ├── ControlFailed         of `camouflage.evaluate`: its figures would mean nothing
    └── OutputError           a result that cannot be written where it was asked for
        └── OutputLost        nothing can be written there any more: it ends a run

A message says what was expected, what came, and what to do next. It never holds more of a path
than the file's name.
"""

from __future__ import annotations


class CamouflageError(Exception):
    """The root: ``except CamouflageError`` catches all that this package raises on purpose."""


class SettingError(CamouflageError, ValueError):
    """A setting has a value it cannot have."""


class PictureError(CamouflageError):
    """An input is not a picture that can be read safely."""


class PictureTooLarge(PictureError):
    """An input has more pixels than the cap allows."""


class MissingExtra(CamouflageError, ImportError):
    """An optional dependency is missing; the message names the extra that brings it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is needed here and is not installed: "
            f"pip install 'camouflage-anonymizer[{extra}]'"
        )


class WeightsError(CamouflageError):
    """Weights are missing, damaged, or belong to another architecture."""


class NobodyFound(CamouflageError):
    """No person was found, and the recipe's policy is to write nothing then."""


class NonFiniteResult(CamouflageError):
    """The model returned values that are not finite."""


class OutOfMemory(CamouflageError, MemoryError):
    """The model has no memory for a batch of one."""


class AuditRefused(CamouflageError):
    """The audit did not pass after every attempt, so the result is not handed out."""


class OutputError(CamouflageError):
    """A result cannot be written where it was asked for."""


class OutputLost(OutputError):
    """The output as a whole is gone: the disk is full, read-only or failing, the folder removed."""
