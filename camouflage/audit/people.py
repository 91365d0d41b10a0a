"""Who is still on a result: what the recogniser says of the original's people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from camouflage.audit.kept import LOW_SCORE
from camouflage.audit.recogniser import Embeddings, Recogniser
from camouflage.errors import SettingError
from camouflage.subjects.faces import SAME_PLACE, Face, overlap

SAME_POINTS = 0.1  # of the eye distance: CenterFace's own scatter, which the recogniser forgives
LOW_SCORE_LIMIT = 0.5  # dlib: of 52 walls to 52 faces 2 % are nearer than 0.6, none than 0.52


@dataclass(frozen=True, kw_only=True, eq=False)
class People:
    """The original's faces and how the recogniser sees them.

    ``known``: bool (N,), those it can judge by what the detector says of them. ``among[i, j]``: of
    the source faces to each other, NaN if not comparable.
    """

    faces: Sequence[Face]
    source: Embeddings
    known: np.ndarray
    among: np.ndarray
    recogniser: Recogniser

    @classmethod
    def of(cls, source: Embeddings, faces: Sequence[Face], *, recogniser: Recogniser) -> People:
        """``source``: the embeddings of ``faces``."""
        if len(source.rows) != len(faces):
            raise SettingError(f"expected {len(faces)} source embeddings, got {source!r}")
        certain = np.array([face.score >= LOW_SCORE for face in faces], dtype=bool)
        return cls(
            faces=faces,
            source=source,
            known=certain & source.present,
            among=source.distances(source),
            recogniser=recogniser,
        )

    def no_face(self, i: int) -> bool:
        """Does the recogniser see nothing in source face i? Costs an embedding, once a recogniser:
        asked only of a face that would fail."""
        return bool(self.recogniser.sees_nothing(Embeddings(rows=self.source.rows[i : i + 1]))[0])

    def distances(
        self, result: np.ndarray, seen: Sequence[Face], *, threshold: float
    ) -> np.ndarray:
        """``[i, j]``: how near result face i comes to source face j; NaN if not judged by that.

        A face that fails by the original's points is not looked at by its own, those of ``seen`` at
        its place, as well.
        """
        faces, source, embed = self.faces, self.source, self.recogniser.embed
        to_source = np.full((len(faces), len(faces)), np.nan)
        known = np.flatnonzero(self.known).tolist()
        if not known:
            return to_source
        to_source[known] = embed(result, [faces[i] for i in known]).distances(source)
        undecided = [i for i in known if to_source[i, i] > threshold]
        pairs = [(i, s) for i in undecided for s in seen if _at_other_points(faces[i], s)]
        if pairs:
            distances = embed(result, [s for _, s in pairs]).distances(source)
            for (i, _), row in zip(pairs, distances, strict=True):
                to_source[i] = np.fmin(to_source[i], row)
        return to_source

    def someone_else(self, i: int, to_source: np.ndarray, *, threshold: float) -> str:
        """Why result face i is another person of the picture by its distances; empty if not."""
        for j, distance in enumerate(to_source):
            limit = min(threshold, float(np.nan_to_num(self.among[i, j], nan=0.0)))
            if j != i and distance < limit and not self.no_face(j):
                return f"distance {distance:.3f} to face {j + 1}, expected {limit:.3f} or more"
        return ""

    def elsewhere(self, result: np.ndarray, seen: Sequence[Face], *, threshold: float) -> list[str]:
        """Which of them are ``seen`` at a place where nobody was."""
        strangers = [
            s
            for s in seen
            if all(overlap(s.box_xyxy, f.box_xyxy) <= SAME_PLACE for f in self.faces)
        ]
        if not strangers or not self.known.any():
            return []
        reasons = []
        distances = self.recogniser.embed(result, strangers).distances(self.source)
        for stranger, row in zip(strangers, distances, strict=True):
            certain = stranger.score >= LOW_SCORE
            limit = threshold if certain else min(threshold, LOW_SCORE_LIMIT)
            for j in np.flatnonzero(self.known & (row <= limit)):  # NaN: too small to be known
                if not self.no_face(int(j)):
                    reasons.append(
                        f"the person of face {j + 1} is seen at {stranger.box_xyxy}, "
                        f"distance {row[j]:.3f}, expected more than {limit:g}"
                    )
        return reasons


def _at_other_points(face: Face, seen: Face) -> bool:
    """Seen at the face's place, but with other points: worth another look of the recogniser."""
    shift_px = np.linalg.norm(face.points_xy - seen.points_xy, axis=1).mean()
    same_place = overlap(face.box_xyxy, seen.box_xyxy) > SAME_PLACE
    return bool(same_place and shift_px > SAME_POINTS * face.eye_distance_px)
