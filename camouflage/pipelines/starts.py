"""What the noise of CAMOUFLaGE-Base may be laid over: a crop with a face of nobody in it. Ours."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from camouflage import weights
from camouflage.annotators.attributes import predict_attributes
from camouflage.annotators.attributes.network import AttributeReader
from camouflage.annotators.colour import skin_colour
from camouflage.annotators.image_encoder import ImageEncoder, embed_pictures, load_image_encoder
from camouflage.annotators.landmarks import MIRROR, five_points, inner_box
from camouflage.errors import SettingError
from camouflage.mini.attributes import SmallAttributeNet
from camouflage.pipelines.light_encoder import require_own_pool, sha256_of
from camouflage.pipelines.light_faces import pixels_in_box
from camouflage.pipelines.traits import MIRRORED, Traits, read_traits, tones
from camouflage.subjects.crops import template
from camouflage.swap import FacePool
from camouflage.swap.swap import looks_left
from camouflage.swap.whole import oval, whole_face

if TYPE_CHECKING:
    from camouflage.attempts import Subject

THRESHOLD = 0.8
"""Angular distance that a fake's embedding must exceed. The rule is CAMOUFLaGE-Light's, whose
number is 1.0: with mini-light's encoder that leaves out most who have the person's skin. A face of
the pool, photographed, is nearer than 0.7 to itself in 19 of 20. Our choice."""
FOREHEAD = 0.35
"""By so much of its height a box from the brows to the chin grows, where no detector's is known."""
LEAST_OTHERS = 64
"""If fewer than `CANDIDATES` do, at most so many of the farthest are taken for others. Our
choice."""
CANDIDATES = 8
"""So many of the others that are most like the person. One of them is drawn by lot: were it always
the first, it would tell who it is in the place of. Our choice."""

TONE_WEIGHTS = np.array([0.25, 1.0, 1.0], np.float32)
"""Of L*, a* and b* where tones are compared: the fake is brought to the person's light anyway, and
dim light is no dark skin. Our choice."""

ATTRIBUTES, TONE, SHAPE, LOOK = 0.35, 3.0, 0.08, 0.67
"""Differences that count as much as each other when a person and a fake are compared: of the
probabilities of attributes, summed; of tones, in the units of `TONE_WEIGHTS`; of landmarks, in eye
distances; of embeddings, in angular distance. Our choice, by eye, for a network that knows five
attributes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Starts:
    """Faces of ``pool`` with their ``traits``, chosen to be like somebody and to be somebody else.

    ``encoder`` says who is somebody else, farther than ``threshold``, and ``attribute_net`` what
    attributes a person has.
    """

    pool: FacePool
    traits: Traits
    encoder: ImageEncoder
    attribute_net: AttributeReader
    threshold: float = THRESHOLD

    @classmethod
    def load(cls, name_or_path: str) -> Starts:
        """What a recipe's ``start_pool`` names.

        Raises:
            SettingError: a pool of another encoder, or one that is damaged or too small.
            WeightsError: what is missing or does not pass its list of hashes.
        """
        folder = weights.start_pool_folder(name_or_path)
        pool, encoder = FacePool.load(folder / "pool"), load_image_encoder(folder / "image_encoder")
        require_own_pool(pool, encoder, sha256=sha256_of(folder / "image_encoder"))
        net = weights.load_model(SmallAttributeNet, folder / "attribute_net", dtype=torch.float32)
        return cls.of(pool, encoder, net)

    @classmethod
    def of(
        cls,
        pool: FacePool,
        encoder: ImageEncoder,
        attribute_net: AttributeReader,
        *,
        threshold: float = THRESHOLD,
    ) -> Starts:
        """Of parts that belong together; the traits are those beside the pool, or measured.

        Raises `SettingError` for a pool that is too small.
        """
        if len(pool) < CANDIDATES:
            raise SettingError(
                f"pool: expected at least {CANDIDATES} faces, so that nobody's start is "
                f"known beforehand, got {len(pool)}; `camouflage pool build` makes larger ones"
            )
        traits = read_traits(pool.folder.parent, pool, attribute_net)
        return cls(
            pool=pool,
            traits=traits,
            encoder=encoder,
            attribute_net=attribute_net,
            threshold=threshold,
        )

    def start(
        self,
        subject: Subject,
        shape_xy: NDArray[np.float64],
        *,
        attempt: int,
        generator: torch.Generator,
    ) -> NDArray[np.uint8]:
        """The aligned crop of ``subject`` (side, side, 3) with a fake in its region.

        ``shape_xy`` (P, 2) are the landmarks that the fake gets, and its colours those of the
        person's skin, as coarse as `COARSENESS`. Each of the first attempts has candidates of its
        own; where all others were candidates they come again. Two people of one picture who are
        alike may get the same one: no face's result depends on the others'.
        """
        colours = self._colours(subject)
        order = self._likest(subject, colours)
        lot = int(torch.randint(CANDIDATES, (), generator=generator))
        fake = self.pool.face(int(order[(attempt * CANDIDATES + lot) % len(order)]))
        return whole_face(
            subject.pixels, subject.region, colours, shape_xy, fake, visible=subject.visible
        )

    def _colours(self, subject: Subject) -> NDArray[np.float32]:
        """Of the skin, measured in the face alone: a given region may hold hair or clothes."""
        assert subject.points_xy is not None  # noqa: S101  an aligned face has landmarks
        face = subject.region & oval(subject.points_xy, subject.region.shape[0])
        return skin_colour(subject.pixels, face if face.any() else subject.region)

    def _likest(self, subject: Subject, colours: NDArray[np.float32]) -> NDArray[np.int64]:
        """Who is somebody else, those first who are most like the person.

        The person's own landmarks are compared, not those of an attempt: so no attempt has a
        candidate of another one.
        """
        points_xy = subject.points_xy
        assert points_xy is not None  # noqa: S101  an aligned face has landmarks
        seen = pixels_in_box(subject.pixels, _box(subject))
        attributes = self._attributes(subject)
        others, distances = self._others(embed_pictures(self.encoder, [seen])[0])
        mirrored = self._left != looks_left(points_xy)
        shown = tones(colours, points_xy)
        unlike = (
            np.abs(self.traits.attributes - attributes).sum(1) / ATTRIBUTES
            + self._tone_differences(shown, mirrored=mirrored) / TONE
            + self._differences(points_xy) / SHAPE
        )[others] + distances / LOOK
        return others[np.argsort(unlike, kind="stable")]

    def _attributes(self, subject: Subject) -> NDArray[np.float32]:
        """(40,) of the person; where the landmarks make no face, of the middle of the crop."""
        assert subject.points_xy is not None  # noqa: S101  an aligned face has landmarks
        try:
            five = five_points(subject.points_xy)
            return predict_attributes(self.attribute_net, [subject.pixels], [five])[0]
        except SettingError:
            five = template(subject.pixels.shape[0])
            return predict_attributes(self.attribute_net, [subject.pixels], [five])[0]

    def _others(
        self, embedding: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Faces of somebody else, and how far each is: if hardly anybody is far enough, the
        farthest half, at most `LEAST_OTHERS`, without a distance, as none of them is to be near.
        """
        order, distances = self.pool.nearest(embedding, len(self.pool))
        far = distances > self.threshold
        if far.sum() >= CANDIDATES:
            return order[far], distances[far]
        count = min(LEAST_OTHERS, max(CANDIDATES, len(order) // 2))
        return order[-count:], np.zeros(count)

    def _tone_differences(
        self, shown: NDArray[np.float32], *, mirrored: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """(N,), mean difference of tones (5, 3) to those of each face, ``mirrored`` (N,) or not."""
        own = self.traits.tones
        own = np.where(mirrored[:, None, None], own[:, MIRRORED], own)
        return np.linalg.norm((own - shown) * TONE_WEIGHTS, axis=-1).mean(-1)

    def _differences(self, points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,), how far the landmarks (P, 2) are from those of each face of the pool, mirrored as
        `whole_face` mirrors it, in eye distances.
        """
        plain, mirrored = _shape(points_xy), _shape(points_xy[MIRROR] * [-1, 1])
        targets = np.where((self._left != looks_left(points_xy))[:, None, None], mirrored, plain)
        return np.linalg.norm(self._shapes - targets, axis=-1).mean(-1)

    @functools.cached_property
    def _left(self) -> NDArray[np.bool_]:
        return np.array([looks_left(points) for points in self.pool.points_xy])

    @functools.cached_property
    def _shapes(self) -> NDArray[np.float64]:
        return np.stack([_shape(points) for points in self.pool.points_xy.astype(np.float64)])


def _box(subject: Subject) -> tuple[float, float, float, float]:
    """xyxy as a detector boxes the face, with its forehead: so the pool was embedded."""
    if subject.faces:
        return subject.faces[0].box_xyxy
    assert subject.points_xy is not None  # noqa: S101  an aligned face has landmarks
    x0, y0, x1, y1 = (float(v) for v in inner_box(subject.points_xy))
    return x0, y0 - FOREHEAD * (y1 - y0), x1, y1


def _shape(points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, 2), upright, with the eyes' middle at 0 and 1 between the eyes."""
    right, left = five_points(points_xy)[:2]
    x, y = left - right
    across = np.array([[x, -y], [y, x]]) / max(x * x + y * y, 1e-6)
    return (points_xy - (right + left) / 2) @ across
