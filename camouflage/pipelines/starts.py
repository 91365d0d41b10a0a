"""What the noise of CAMOUFLaGE-Base may be laid over: a crop with a face of nobody in it. Ours."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from camouflage import weights
from camouflage.annotators.attributes import CELEBA_ATTRIBUTES, predict_attributes
from camouflage.annotators.attributes.network import AttributeReader
from camouflage.annotators.colour import skin_colour
from camouflage.annotators.hair import hair_in
from camouflage.annotators.image_encoder import ImageEncoder, embed_pictures, load_image_encoder
from camouflage.annotators.landmarks import CONTOURS, MIRROR, five_points, inner_box
from camouflage.annotators.readout import Guess, Readout
from camouflage.annotators.skin import cheeks, oval
from camouflage.errors import SettingError
from camouflage.mini.attributes import SmallAttributeNet
from camouflage.pipelines.light_encoder import require_own_pool, sha256_of
from camouflage.pipelines.light_faces import pixels_in_box
from camouflage.pipelines.traits import MALE, MIRRORED, YOUNG, Traits, read_traits, tones
from camouflage.subjects.crops import similarity, template
from camouflage.swap import FacePool
from camouflage.swap.mesh import turned_over
from camouflage.swap.mix import mixed
from camouflage.swap.pool import PoolFace
from camouflage.swap.swap import looks_left
from camouflage.swap.whole import skin_beside, whole_face

if TYPE_CHECKING:
    from camouflage.attempts import Subject

THRESHOLD = 0.8
"""Angular distance that a fake's embedding must exceed. The rule is CAMOUFLaGE-Light's, whose
number is 1.0: with mini-light's encoder that leaves out most who have the person's skin. A face of
the pool, photographed, is nearer than 0.7 to itself in 19 of 20. Our choice."""
RECOGNISED, LIKE = 0.57, 64
OF_UPPER, OF_LOWER = (85, 0.85), (75, 0.8)
"""So far who gives a half must be from the person by the audit's recogniser too: farther than the
first number, in %, of the `LIKE` faces of the pool that look most like the person, at the least
`RECOGNISED`, a little less than what the audit asks of the result, and at the most the second
number, as strangers are mostly at 0.8 and more. That is asked of those who give the halves: on the
person's landmarks and in the person's colours a start is nearer, and the audit judges what comes of
it. Eyes and nose say more of who somebody is than mouth and chin. East Asians, black people and
children are mostly within 0.6 of each other: with one limit for all they would get faces of others.
Our choice."""
FOREHEAD = 0.35
"""By so much of its height a box from the brows to the chin grows, where no detector's is known."""
LEAST_FACES = 8
"""Of a pool. Our choice."""
LEAST_OTHERS = 64
"""If fewer than `CANDIDATES` do, at most so many of the farthest are taken for others. Our
choice."""
CANDIDATES = 4
"""So many of the others that are most like the person. One of them is drawn by lot: were it always
the first, it would tell who it is in the place of. As they are much the same in all pictures of a
person, who sees many of these may guess that they show one. Our choice."""

TONE_WEIGHTS = np.array([0.25, 1.0, 1.0], np.float32)
"""Of L*, a* and b* where tones are compared: the fake is brought to the person's light anyway, and
dim light is no dark skin. Our choice."""

ATTRIBUTES, SEX, AGE, CHILD, TONE, SHAPE = 0.12, 0.1, 3.5, 0.12, 6.0, 0.07
SKIN, EAST_ASIAN, BEARD = 0.17, 0.08, 0.07
HAIR, TURN, LIGHT = 0.07, 0.15, 10.0
"""Differences that count as much as each other when a person and a fake are compared: of the
probabilities of attributes, summed, but of sex; of the probability of male; of ages, in years; of
whether they are children, from 0 to 1; of tones, in the units of `TONE_WEIGHTS`; of landmarks, in
eye distances; of how dark skins are by the recogniser's embedding, from 1 to 3, of whether faces
look East Asian, and of whether they have a beard, from 0 to 1; how much of the fake's face is
hidden by hair; how far a head is turned (`_turn`), as a face that is pulled to another side has a
broken nose; and by how much more light falls on one cheek, in L* of 8 bits. Distances of embeddings
do not count: who is near to a person in what recognisers see is found in the person's place. Our
choice, by eye, by how near smile, mouth and age of the `CANDIDATES` come on photographs, for a
network that knows five attributes, and by `benchmarks.groups`."""

OWN_SHAPE = 0.4
"""So much of its own shape a fake keeps: the rest, with pose and expression, is the person's. By
pulling it all the way, faces are got that nobody has, and that tell whose they were made of. Our
choice."""

FOLDED = 0.02
"""More of a face than that turned over (`turned_over`), mostly the far side of its nose, is seen:
photographs of faces that look ahead hardly come near it. Our choice, by eye."""

LOWER = ("lips", "mouth")
UPPER = tuple(name for name in CONTOURS if name not in LOWER)
"""Contours by which a half of a face is like another's."""

OF_MOUTH = tuple(map(CELEBA_ATTRIBUTES.index, ("Smiling", "Mouth_Slightly_Open")))
OF_EYES = tuple(i for i in range(len(CELEBA_ATTRIBUTES)) if i not in (*OF_MOUTH, MALE, YOUNG))
"""Attributes likewise; `Starts` knows sex and age better."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Starts:
    """Faces of ``pool`` with their ``traits``, chosen to be like somebody and to be somebody else.

    ``encoder`` says who is somebody else, farther than ``threshold``, ``attribute_net`` what
    attributes a person has, and ``readout`` sex, age, skin, origin and beard, by the embedding that
    a subject brings.
    """

    pool: FacePool
    traits: Traits
    encoder: ImageEncoder
    attribute_net: AttributeReader
    readout: Readout
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
        if len(pool) < LEAST_FACES:
            raise SettingError(
                f"pool: expected at least {LEAST_FACES} faces, so that nobody's start is "
                f"known beforehand, got {len(pool)}; `camouflage pool build` makes larger ones"
            )
        readout = Readout.load()
        traits = read_traits(pool.folder.parent, pool, attribute_net, readout)
        return cls(
            pool=pool,
            traits=traits,
            encoder=encoder,
            attribute_net=attribute_net,
            readout=readout,
            threshold=threshold,
        )

    def fake(self, subject: Subject, *, attempt: int, generator: torch.Generator) -> PoolFace:
        """Who takes the place of ``subject``, mirrored if they look to another side.

        Each of the first attempts has candidates of its own; where all others were candidates they
        come again. Two people of one picture who are alike may get the same one: no face's result
        depends on the others'.
        """
        assert subject.points_xy is not None  # noqa: S101  an aligned face has landmarks
        left = looks_left(subject.points_xy)
        halves = []
        for order in self._likest(subject, self._colours(subject)):
            lot = int(torch.randint(CANDIDATES, (), generator=generator))
            face = self.pool.face(int(order[(attempt * CANDIDATES + lot) % len(order)]))
            halves.append(face if looks_left(face.points_xy) == left else face.mirrored())
        return mixed(*halves)

    def start(
        self, subject: Subject, shape_xy: NDArray[np.float64], fake: PoolFace
    ) -> NDArray[np.uint8]:
        """The aligned crop of ``subject`` (side, side, 3) with ``fake`` in its region.

        ``shape_xy`` (P, 2) are the landmarks that the fake gets, its colours those of the person's
        skin, as coarse as `COARSENESS`, its hairline is the person's, as soft as `hair_in` makes
        it, and it is as wide at cheeks and jaw as `skin_beside` says.
        """
        colours = self._colours(subject)
        assert subject.points_xy is not None  # noqa: S101  an aligned face has landmarks
        return whole_face(
            subject.pixels,
            subject.region,
            colours,
            shape_xy,
            fake,
            visible=subject.visible,
            hair=hair_in(
                subject.pixels, subject.region, subject.points_xy, visible=subject.visible
            ),
            beside=skin_beside(subject.pixels, subject.region, colours, visible=subject.visible),
        )

    def _colours(self, subject: Subject) -> NDArray[np.float32]:
        """Of the skin, measured in the face alone: a given region may hold hair or clothes."""
        assert subject.points_xy is not None  # noqa: S101  an aligned face has landmarks
        side = subject.region.shape[0]
        face = subject.region & oval(subject.points_xy, side)
        return skin_colour(
            subject.pixels,
            face if face.any() else subject.region,
            typical=cheeks(subject.points_xy, side),
        )

    def _likest(
        self, subject: Subject, colours: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Who is somebody else, those first who are most like the person, by the upper half of the
        face and by the lower one.

        The person's own landmarks are compared, not those of an attempt: so no attempt has a
        candidate of another one.
        """
        points_xy = subject.points_xy
        assert points_xy is not None  # noqa: S101  an aligned face has landmarks
        seen = pixels_in_box(subject.pixels, _box(subject))
        embedding = embed_pictures(self.encoder, [seen])[0]
        mirrored = self._left != looks_left(points_xy)
        shown = tones(colours, points_xy)
        attributes = self._attributes(subject)
        both = (
            self._looks_apart(attributes, subject.embedding)
            + self._tone_differences(shown, mirrored=mirrored)
            + np.abs(self._turns - abs(_turn(_shape(points_xy)))) / TURN
        )
        upper = (
            self.traits.hair / HAIR
            + self._differences(points_xy, UPPER) / SHAPE
            + self._attribute_differences(attributes, OF_EYES)
        )
        lower = self._differences(points_xy, LOWER) / SHAPE + self._attribute_differences(
            attributes, OF_MOUTH
        )
        first, second = (
            others[np.argsort((both + half)[others], kind="stable")]
            for half, others in (
                (upper, self._others(embedding, subject.embedding, OF_UPPER)),
                (lower, self._others(embedding, subject.embedding, OF_LOWER)),
            )
        )
        return first, second

    def _attributes(self, subject: Subject) -> NDArray[np.float32]:
        """(40,) of the person; where the landmarks make no face, of the middle of the crop."""
        assert subject.points_xy is not None  # noqa: S101  an aligned face has landmarks
        try:
            five = five_points(subject.points_xy)
            return predict_attributes(self.attribute_net, [subject.pixels], [five])[0]
        except SettingError:
            five = template(subject.pixels.shape[0])
            return predict_attributes(self.attribute_net, [subject.pixels], [five])[0]

    def _attribute_differences(
        self, attributes: NDArray[np.float32], which: Sequence[int]
    ) -> NDArray[np.float64]:
        """(N,): to some of the attributes (40,)."""
        apart = np.abs(self.traits.attributes - attributes)[:, list(which)]
        return apart.sum(1) / ATTRIBUTES

    def _looks_apart(
        self, attributes: NDArray[np.float32], embedding: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        """(N,): to sex and age, which the recogniser's ``embedding`` (128,) of the person tells
        better than attributes (40,), as it does skin, origin and beard.
        """
        if embedding is None:
            apart = np.abs(self.traits.attributes - attributes)
            return apart[:, MALE] / SEX + apart[:, YOUNG] / ATTRIBUTES
        guess = self.readout(embedding[None])
        return (
            self._looks(guess)
            + np.abs(self.traits.ages - guess.age) / AGE
            + np.abs(self.traits.beards - guess.beard) / BEARD
        )

    def _looks(self, guess: Guess) -> NDArray[np.float64]:
        """(N,): to one person's sex, skin and origin, and whether they are a child."""
        return (
            np.abs(self.traits.attributes[:, MALE] - guess.male) / SEX
            + np.abs(self.traits.children - guess.child) / CHILD
            + np.abs(self.traits.skins - guess.skin) / SKIN
            + np.abs(self.traits.east_asian - guess.east_asian) / EAST_ASIAN
        )

    def _others(
        self,
        embedding: NDArray[np.float32],
        recognised: NDArray[np.float64] | None = None,
        limits: tuple[float, float] = OF_UPPER,
    ) -> NDArray[np.int64]:
        """Faces of somebody else, by the encoder's ``embedding`` and by the recogniser's (128,), if
        there is one: if hardly anybody is far enough, the farthest half, by the recogniser if it
        knows the person, at most `LEAST_OTHERS`.
        """
        order, distances = self.pool.nearest(embedding, len(self.pool))
        far = distances > self.threshold
        if recognised is not None:
            apart = np.linalg.norm(self.traits.recognised - recognised, axis=1)
            alike = np.argsort(self._looks(self.readout(recognised[None])), kind="stable")[:LIKE]
            limit = np.clip(np.percentile(apart[alike], limits[0]), RECOGNISED, limits[1])
            far &= apart[order] > limit
        if far.sum() >= CANDIDATES:
            return order[far]
        count = min(LEAST_OTHERS, max(CANDIDATES, len(order) // 2))
        if recognised is not None:
            order = np.argsort(apart, kind="stable")
        return order[-count:]

    def _tone_differences(
        self, shown: NDArray[np.float32], *, mirrored: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """(N,), mean difference of tones (5, 3) to those of each face, ``mirrored`` (N,) or not,
        and of the light on one cheek to that on the other, in units of `TONE` and `LIGHT`.
        """
        own = self.traits.tones
        own = np.where(mirrored[:, None, None], own[:, MIRRORED], own)
        apart = np.linalg.norm((own - shown) * TONE_WEIGHTS, axis=-1).mean(-1)
        aside = own[:, 0, 0] - own[:, 1, 0] - (shown[0, 0] - shown[1, 0])
        return apart / TONE + np.abs(aside) / LIGHT

    def _differences(
        self, points_xy: NDArray[np.float64], which: Sequence[str]
    ) -> NDArray[np.float64]:
        """(N,), how far the landmarks (P, 2) of some contours are from those of each face of the
        pool, mirrored as `fake` mirrors it, in eye distances; a mouth, by itself, wherever it is.
        """
        plain, mirrored = _shape(points_xy), _shape(points_xy[MIRROR] * [-1, 1])
        targets = np.where((self._left != looks_left(points_xy))[:, None, None], mirrored, plain)
        rows = np.concatenate([np.arange(len(MIRROR))[CONTOURS[name]] for name in which])
        apart = (self._shapes - targets)[:, rows]
        if which == LOWER:
            apart = apart - apart.mean(1, keepdims=True)
        return np.linalg.norm(apart, axis=-1).mean(-1)

    @functools.cached_property
    def _left(self) -> NDArray[np.bool_]:
        return np.array([looks_left(points) for points in self.pool.points_xy])

    @functools.cached_property
    def _shapes(self) -> NDArray[np.float64]:
        return np.stack([_shape(points) for points in self.pool.points_xy.astype(np.float64)])

    @functools.cached_property
    def _turns(self) -> NDArray[np.float64]:
        """Without a sign: a face that looks to the other side is mirrored."""
        return np.abs([_turn(shape_xy) for shape_xy in self._shapes])


def _box(subject: Subject) -> tuple[float, float, float, float]:
    """xyxy as a detector boxes the face, with its forehead: so the pool was embedded."""
    if subject.faces:
        return subject.faces[0].box_xyxy
    assert subject.points_xy is not None  # noqa: S101  an aligned face has landmarks
    x0, y0, x1, y1 = (float(v) for v in inner_box(subject.points_xy))
    return x0, y0 - FOREHEAD * (y1 - y0), x1, y1


def towards(points_xy: NDArray[np.float64], fake: PoolFace) -> NDArray[np.float64]:
    """The landmarks (P, 2) of a person, `OWN_SHAPE` of the way to those of ``fake``, which are
    turned, sized and moved to lie on them; the oval stays, where the face meets its surroundings.

    Where the fake's surface would fold by more than `FOLDED` it is all the way: a head that is
    turned too far for anybody of the pool gets a face that is a little less turned, made as wide
    and as high as the person's.
    """
    own = fake.points_xy.astype(np.float64)
    matrix = similarity(own, points_xy)
    target = own @ matrix[:, :2].T + matrix[:, 2]
    moved = points_xy + OWN_SHAPE * (target - points_xy)
    moved[CONTOURS["oval"]] = points_xy[CONTOURS["oval"]]
    if turned_over(own, moved) <= FOLDED:
        return moved
    back = cv2.invertAffineTransform(matrix)
    rim, wanted = own[CONTOURS["oval"]], (points_xy @ back[:, :2].T + back[:, 2])[CONTOURS["oval"]]
    size = np.ptp(wanted, axis=0) / np.maximum(np.ptp(rim, axis=0), 1e-6)
    fitted = (own - rim.min(0)) * size + wanted.min(0)
    return fitted @ matrix[:, :2].T + matrix[:, 2]


def _shape(points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, 2), upright, with the eyes' middle at 0 and 1 between the eyes."""
    right, left = five_points(points_xy)[:2]
    x, y = left - right
    across = np.array([[x, -y], [y, x]]) / max(x * x + y * y, 1e-6)
    return (points_xy - (right + left) / 2) @ across


def _turn(shape_xy: NDArray[np.float64]) -> float:
    """How far a face (P, 2) of `_shape` is turned, about [-1, 1]: where the tip of the nose is
    between the sides of the oval, 0 in their middle.
    """
    sides = shape_xy[CONTOURS["oval"], 0]
    half = max(float(np.ptp(sides)) / 2, 1e-6)
    return float((five_points(shape_xy)[2, 0] - sides.min()) / half - 1)
