"""What a caller gets of one picture: it gives the pixels only when the audit passed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camouflage.attempts import FaceRecord
from camouflage.audit import Verdict
from camouflage.errors import AuditRefused, NobodyFound
from camouflage.subjects.given import GivenRegion

State = Literal["passed", "copied", "nobody", "refused"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """What became of one picture.

    ``state``: "passed" (redrawn and the audit passed), "copied" (nobody found, a clean copy was
    asked for), "nobody" or "refused"; only the first two have a picture. ``regions``: what was
    treated, found or given, as boxes with points, which a call takes back.
    """

    state: State
    faces: tuple[FaceRecord, ...]
    verdict: Verdict | None
    seconds: dict[str, float]
    size_wh: tuple[int, int]
    regions: tuple[GivenRegion, ...] = ()
    _pixels: NDArray[np.uint8] | None = field(repr=False)
    _changed: NDArray[np.bool_] | None = field(repr=False, default=None)
    _jpeg_quality: int = 95
    _looked_at: bool = True

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """(H, W, 3) RGB uint8. Raises `AuditRefused` or `NobodyFound` if there is none to give."""
        if self.state == "nobody" and not self._looked_at:
            raise NobodyFound(
                "nobody looked: detection was off and no regions were given; give an empty list of "
                "regions to say that nobody is in the picture"
            )
        if self.state == "nobody":
            raise NobodyFound(
                "no person was found and the recipe says to write nothing then; "
                "on_nobody='copy' gives a clean copy"
            )
        if self.state == "refused" or self._pixels is None:
            reasons = "; ".join(self.verdict.reasons) if self.verdict else "no verdict"
            raise AuditRefused(f"the audit did not pass ({reasons}); {self._advice()}")
        return self._pixels

    def _advice(self) -> str:
        verdict = self.verdict
        if verdict and verdict.whole and verdict.beyond_faces:
            return "try another seed, a larger strength or a larger anonymization scale"
        if verdict and all(face.passed for face in verdict.faces):
            return "give the box of that person as a region (--boxes), so that it is redrawn too"
        return (
            "try another seed, a larger anonymization scale, more rungs on the ladder, or "
            "on_refusal='obfuscate'"
        )

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) bool, True where it was painted; elsewhere ``pixels`` are the original's.

        Raises what `pixels` raises.
        """
        pixels = self.pixels
        return np.zeros(pixels.shape[:2], bool) if self._changed is None else self._changed

    @property
    def image(self) -> Image.Image:
        """The picture. Raises `AuditRefused` or `NobodyFound` if there is none to give."""
        return Image.fromarray(self.pixels)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Writes the picture whole or not at all, without metadata; the suffix says the format.

        Raises what `image` raises, and `OutputError` if ``path`` exists or cannot be written.
        """
        from camouflage.write import write_picture

        write_picture(self.pixels, Path(path), overwrite=overwrite, jpeg_quality=self._jpeg_quality)
