"""How much of a face is still there, by its pixels: what a recogniser cannot be fooled about.

Three shares, each from 0 (nothing is left) to 1. Noise, JPEG, another brightness, a small shift or
a bar over the eyes leave much; a redrawn face, a mosaic of 8 x 8 and a strong blur leave little.

Measured with the ``mini`` model on photographs of LFW (faces of 9 to 100 px) and on false alarms of
the detector: `structure` is 0.97 or more after noise of 10 levels, JPEG 75, half or double the
contrast or inverted colours (most often 0.93 or more for faces of 9 to 48 px, 0.87 at worst), and
0.90 at most in 51 redrawn faces. `details`, for faces of 48 px and more, is 0.35 or more under a
bar over 40 % of the face and 0.54 over 25 %, and 0.25 or less in 22 of 23 redrawn ones. Noise of 20
levels or JPEG 30 hide a face of less than 20 px from all three.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from camouflage.subjects.cover import ellipse
from camouflage.subjects.faces import Face, overlap

CHANGED_LEVELS = 4  # a pixel differs if a channel differs by more; JPEG noise is below
STRUCTURE_PX = 32  # of the box's longer side, for `structure`
SHADE = 0.08  # of the side: coarser shades are taken out, they stay in an honest redrawing
SHIFT = 0.15  # of the box's sides: so far is a shifted face looked for
DETAILS_PX = 64  # of the box's longer side, for `details`
DETAIL_PX = 9  # side of one detail at that size
SAME_DETAIL = 0.9  # correlation, of either sign
FLAT_LEVELS = 3  # a detail with a smaller standard deviation shows nothing

LOW_SCORE = 0.5  # found below this, it may be no face at all
MIN_CHANGED = 0.2  # of the pixels in the ellipse of a face's box; our choice, no paper gives it
MIN_PAINTED = 0.5  # of the same ellipse, if it is known what was painted; our choice
MAX_STRUCTURE = 0.92  # the highest of 50 redrawn faces of all sizes is 0.90
MAX_DETAILS = 0.35  # 22 of 23 redrawn faces are below 0.26
DETAILS_FROM_PX = 48  # of a box: smaller redrawn faces have their coarse details where they were


class Kept:
    """The pixels of the ellipse inside a face's box."""

    def __init__(self, face: Face) -> None:
        self._face = face
        self._inside = ellipse(face.box_xyxy, step=max(1, face.size_px // 128))

    def too_much(
        self,
        original: np.ndarray,
        result: np.ndarray,
        painted: np.ndarray | None,
        *,
        changed: float,
    ) -> str:
        """Why the face is still there, by its pixels; empty if it is not.

        ``painted``: bool ``(H, W)``, where new pixels were painted; None if it is not known.
        ``changed``: what `changed` gives.
        """
        if not changed >= MIN_CHANGED:  # NaN does not pass, here and below
            return f"{changed:.0%} of the pixels changed, expected {MIN_CHANGED:.0%} or more"
        if painted is not None and not (share := self.share(painted)) >= MIN_PAINTED:
            return f"{share:.0%} was painted, expected {MIN_PAINTED:.0%} or more"
        if not (structure := self.structure(original, result)) <= MAX_STRUCTURE:
            return f"its structure is kept to {structure:.0%}, expected {MAX_STRUCTURE:.0%} or less"
        if self._face.size_px < DETAILS_FROM_PX:
            return ""
        if not (details := self.details(original, result)) <= MAX_DETAILS:
            return f"{details:.0%} of its details are as before, expected {MAX_DETAILS:.0%} or less"
        return ""

    def share(self, mask: np.ndarray) -> float:
        """How much of the ellipse is in a bool mask ``(H, W)``."""
        return float(mask[self._window][self._inside].mean())

    def changed(self, original: np.ndarray, result: np.ndarray) -> float:
        """The share of pixels that differ, after one shift of each channel is taken out.

        A mere change of brightness or tint keeps the face, so it does not count.
        """
        before, after = (
            p[self._window][self._inside].astype(np.float32) for p in (original, result)
        )
        difference = after - before
        difference -= np.median(difference, axis=0)
        return float((np.abs(difference).max(axis=1) > CHANGED_LEVELS).mean())

    def structure(self, original: np.ndarray, result: np.ndarray) -> float:
        """The highest correlation, of either sign, of the ellipse with any place near it.

        A mirror image of the ellipse counts as well.
        """
        x0, y0, x1, y1 = self._face.box_xyxy
        scale = min(1.0, STRUCTURE_PX / self._face.size_px)
        margin_x, margin_y = int(np.ceil(SHIFT * (x1 - x0))), int(np.ceil(SHIFT * (y1 - y0)))
        left, top = min(margin_x, x0), min(margin_y, y0)
        window = np.s_[y0 - top : y1 + margin_y, x0 - left : x1 + margin_x]
        before, after = (_fine(_grey(p[window], scale)) for p in (original, result))
        rows, columns = max(1, round((y1 - y0) * scale)), max(1, round((x1 - x0) * scale))
        top, left = round(top * scale), round(left * scale)
        face = before[top : top + rows, left : left + columns]
        mask = ellipse((0, 0, face.shape[1], face.shape[0])).astype(np.float32)
        if face[mask > 0].std() < 1e-3:
            return 0.0
        mirrored = np.ascontiguousarray(face[:, ::-1])
        return max(_best_match(after, one, mask) for one in (face, mirrored))

    def details(self, original: np.ndarray, result: np.ndarray) -> float:
        """The share of small details that stand where they stood; 0 if there are none."""
        x0, y0, x1, y1 = self._face.box_xyxy
        scale = min(1.0, DETAILS_PX / self._face.size_px)
        before, after = (_grey(p[y0:y1, x0:x1], scale) for p in (original, result))
        mean_before, mean_after = _near(before), _near(after)
        spread_before = _near(before * before) - mean_before**2
        spread_after = _near(after * after) - mean_after**2
        common = _near(before * after) - mean_before * mean_after
        shown = (spread_before > FLAT_LEVELS**2) & ellipse((0, 0, *before.shape[::-1]))
        if not shown.any():
            return 0.0
        spread = np.sqrt(np.maximum(spread_before * spread_after, 1e-6))
        return float((np.abs(common) > SAME_DETAIL * spread)[shown].mean())

    @property
    def _window(self) -> tuple[slice, slice]:
        """Of a large face every second, third, ... pixel."""
        x0, y0, x1, y1 = self._face.box_xyxy
        step = max(1, self._face.size_px // 128)
        return slice(y0, y1, step), slice(x0, x1, step)


def leftovers(
    original: np.ndarray, faces: Sequence[Face], result: np.ndarray, seen: Sequence[Face]
) -> list[str]:
    """Who is ``seen`` on the result, was none of the original's ``faces``, and is unchanged."""
    new = [
        face
        for face in seen
        if face.score >= LOW_SCORE
        and not any(overlap(face.box_xyxy, other.box_xyxy) > 0.1 for other in faces)
    ]
    kept = [face for face in new if Kept(face).changed(original, result) < MIN_CHANGED]
    return [f"a person at {face.box_xyxy} was missed and is unchanged" for face in kept]


def _grey(pixels: np.ndarray, scale: float) -> np.ndarray:
    """float32 ``(h, w)`` in levels, shrunk without aliasing."""
    if scale < 1:
        size_wh = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
        pixels = cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY).astype(np.float32)


def _best_match(picture: np.ndarray, part: np.ndarray, mask: np.ndarray) -> float:
    found = cv2.matchTemplate(picture, part, cv2.TM_CCOEFF_NORMED, mask=mask)
    found = found[np.isfinite(found)]  # NaN where the picture is flat
    return min(1.0, float(np.abs(found).max(initial=0.0)))


def _fine(grey: np.ndarray) -> np.ndarray:
    return grey - cv2.GaussianBlur(grey, (0, 0), SHADE * max(grey.shape) / (1 + 2 * SHIFT))


def _near(values: np.ndarray) -> np.ndarray:
    return cv2.blur(values, (DETAIL_PX, DETAIL_PX))
