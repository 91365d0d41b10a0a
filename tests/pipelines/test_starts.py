"""Which face of the pool the noise is laid over."""

import pickle
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from camouflage import Anonymizer
from camouflage.annotators.landmarks import CONTOURS, MIRROR, face_region, five_points
from camouflage.annotators.readout import Readout
from camouflage.annotators.skin import inner_face
from camouflage.attempts import Subject
from camouflage.errors import SettingError
from camouflage.mini.attributes import SmallAttributeNet
from camouflage.picture import Picture
from camouflage.pipelines.starts import (
    CANDIDATES,
    FOLDED,
    LEAST_OTHERS,
    LIGHT,
    LOWER,
    OF_UPPER,
    OWN_SHAPE,
    RECOGNISED,
    THRESHOLD,
    UPPER,
    Starts,
    towards,
)
from camouflage.pipelines.traits import MALE, MIRRORED, read_traits, tones, traits_of, write_traits
from camouflage.subjects.crops import align, template
from camouflage.swap import FacePool
from camouflage.swap.mesh import turned_over
from camouflage.swap.pool_writer import EmbeddedFace, write_pool
from camouflage.swap.swap import looks_left
from camouflage.weights import load_model, mini_light_folder

SIDE = 128


@pytest.fixture(scope="module")
def starts() -> Starts:
    return Starts.load("mini-light")


@pytest.fixture(scope="module")
def points(starts) -> np.ndarray:
    return starts.pool.points_xy[7].astype(np.float64)


def drawn(starts, points, *, of=None, attempt=0, seed=0) -> np.ndarray:
    """Made of a face of the pool itself, so that a person is near who is too near."""
    subject = subject_of(starts.pool._read(7).pixels, points if of is None else of)
    return start_of(starts, subject, points, attempt=attempt, seed=seed)


def start_of(starts, subject, shape_xy, *, attempt=0, seed=0) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    return starts.start(
        subject, shape_xy, starts.fake(subject, attempt=attempt, generator=generator)
    )


def likest(starts, pixels, points, *, half=0) -> np.ndarray:
    """By the upper half of the face, or by the lower one (1)."""
    person = subject_of(pixels, points)
    return starts._likest(person, starts._colours(person))[half]


def pool_of(folder, pool, numbers) -> FacePool:
    """Some faces of a pool."""
    write_pool(
        folder,
        [EmbeddedFace(face=pool.face(i), embedding=pool.embeddings[i]) for i in numbers],
        side=pool.side,
        encoder_name=pool.encoder_name,
        encoder_sha256=pool.encoder_sha256,
        suffix=".png",
        overwrite=True,
    )
    return FacePool.load(folder)


def subject_of(pixels, points) -> Subject:
    return Subject(
        name="face",
        crop=align(template(SIDE), side=SIDE),
        pixels=pixels,
        region=face_region(points, SIDE),
        points_xy=points,
    )


def test_who_is_too_like_is_not_taken(starts):
    embedding = starts.pool.embeddings[7]
    others = starts._others(embedding)
    assert 7 not in others
    assert len(others) >= CANDIDATES
    distances = np.linalg.norm(starts.pool.embeddings[others] - embedding, axis=1)
    assert distances.min() > THRESHOLD - 1e-3


def test_where_nobody_is_different_enough_the_farthest_are_taken(starts):
    embedding = starts.pool.embeddings[7]
    distances = np.linalg.norm(starts.pool.embeddings - embedding, axis=1)
    others = replace(starts, threshold=2.0)._others(embedding)
    assert set(others) == set(np.argsort(distances)[-LEAST_OTHERS:])


def test_few_who_are_different_are_not_the_only_ones(starts):
    """Or the lot would have nothing to decide."""
    embedding = starts.pool.embeddings[7]
    distances = np.sort(np.linalg.norm(starts.pool.embeddings - embedding, axis=1))
    few = replace(starts, threshold=distances[-CANDIDATES // 2])
    assert len(few._others(embedding)) == LEAST_OTHERS


@pytest.mark.parametrize("count", [8, 12, 24])
def test_in_a_small_pool_the_nearest_are_not_preferred(tmp_path, starts, count):
    """Hardly anybody is different enough: then the farther half is taken, not the nearest."""
    embedding = starts.pool.embeddings[7]
    small = pool_of(tmp_path / "pool", starts.pool, range(count))
    made = replace(starts, pool=small, threshold=2.0)
    others = made._others(embedding)
    assert len(others) == max(CANDIDATES, count // 2)
    order, _ = small.nearest(embedding, count)
    assert set(others) == set(order[-len(others) :])


def test_nobody_gets_their_own_face(starts):
    """Photographs of faces of the pool, by the way of every photograph: detector, crop, encoder."""
    anonymizer = Anonymizer.from_recipe("mini")
    own = []
    for index in range(0, len(starts.pool), 23):
        picture = Picture.from_image(starts.pool.face(index).pixels)
        found = anonymizer.detector.detect(picture.pixels)
        for subject in anonymizer.subjects(picture, found[:1]):
            halves = starts._likest(subject, starts._colours(subject))
            own.append(any(index in order for order in halves))
    assert len(own) >= 10
    assert np.mean(own) <= 0.1


def test_a_darker_face_gets_somebody_darker(starts, points):
    """By its colour: what is dim alone is brought to the person's light anyway."""
    by_tone = starts.traits.tones[:, :, 0].mean(1)
    brown, pale = by_tone.argsort()[[20, -20]]
    light = []
    for index in (brown, pale):
        face = starts.pool.face(int(index))
        taken = likest(starts, face.pixels, face.points_xy)[:CANDIDATES]
        light.append(by_tone[taken].mean())
    assert light[0] < light[1] - 5


def test_tones_of_a_mirror_are_those_of_the_other_cheek(starts, points):
    shade = np.linspace(250, 50, SIDE, dtype=np.float32)
    colours = np.broadcast_to(shade[None, :, None], (SIDE, SIDE, 3)).copy()
    mirrored = points[MIRROR] * [-1, 1] + [SIDE - 1, 0]
    one, other = tones(colours, points), tones(colours[:, ::-1].copy(), mirrored)
    assert np.allclose(one, other[MIRRORED], atol=1)
    assert one[0, 0] > one[1, 0] + 20, "the right cheek is on the left"


def test_traits_are_kept_and_measured_anew_for_other_faces_and_nets(tmp_path):
    folder = shutil.copytree(mini_light_folder(), tmp_path / "ours")
    whole = FacePool.load(folder / "pool")
    net = load_model(SmallAttributeNet, folder / "attribute_net", dtype=torch.float32)
    readout = Readout.load()
    kept = read_traits(folder, whole, net, readout)
    assert (folder / "starts.safetensors").is_file()
    pool = pool_of(folder / "pool", whole, range(9))
    measured = read_traits(folder, pool, net, readout)
    for name, tolerance in TOLERANCES.items():
        one, other = (getattr(traits, name) for traits in (kept, measured))
        assert np.allclose(one[:9], other, atol=tolerance), name
    (folder / "starts.safetensors").write_bytes(b"damaged")
    assert read_traits(folder, pool, net, readout).tones.shape == (9, 5, 3)
    write_traits(folder, pool, net, readout)
    stamp = (folder / "starts.safetensors").read_bytes()
    again, measured = read_traits(folder, pool, net, readout), traits_of(pool, net, readout)
    for name, array in again.arrays().items():
        assert np.array_equal(array, measured.arrays()[name]), name
    assert (folder / "starts.safetensors").read_bytes() == stamp
    older = replace(readout, bias=readout.bias + np.float32([0, 9, 0, 0, 0, 0]))
    assert np.allclose(read_traits(folder, pool, net, older).ages, again.ages + 9, atol=1e-3)
    with torch.no_grad():
        net.head.bias += 1
    assert (
        read_traits(folder, pool, net, readout).attributes.mean() > again.attributes.mean() + 1e-3
    )


TOLERANCES = {
    "tones": 1,
    "attributes": 1e-3,
    "ages": 0.1,
    "children": 0.01,
    "hair": 0.01,
    "recognised": 1e-3,
}
"""The shipped ones were measured on the same WebP files, on another processor."""


def test_the_recogniser_says_who_is_somebody_else(starts, points):
    """What it takes for nearly the same face is not taken, whatever the encoder says."""
    traits, embeddings = starts.traits, starts.pool.embeddings
    encoder_says = np.linalg.norm(embeddings - embeddings[7], axis=1) > THRESHOLD + 1e-3
    left_out = []
    for index in (9, 240, 700):
        recognised = traits.recognised[index].astype(np.float64)
        person = replace(subject_of(starts.pool.face(7).pixels, points), embedding=recognised)
        order, lower = starts._likest(person, starts._colours(person))
        apart = np.linalg.norm(traits.recognised - recognised, axis=1)
        assert set(order) < set(lower), "eyes say more of who somebody is"
        assert index not in lower
        assert apart[lower].min() > RECOGNISED
        assert len(order) >= CANDIDATES
        others = starts._others(embeddings[7], recognised)
        assert set(np.flatnonzero(encoder_says & (apart > OF_UPPER[1]))) <= set(others)
        left_out.append((encoder_says & (apart <= RECOGNISED)).sum())
    assert max(left_out) > 20, "the encoder alone would have taken them"


@pytest.mark.parametrize("look", ["east_asian", "children"])
def test_who_is_near_to_all_alike_gets_somebody_alike_all_the_same(starts, look):
    """The recogniser has all of them near each other: one limit would leave them strangers."""
    has = getattr(starts.traits, look) > 0.8
    recognised = starts.traits.recognised.astype(np.float64)
    alike = []
    for index in np.flatnonzero(has)[::20]:
        apart = np.linalg.norm(recognised - recognised[index], axis=1)
        assert (apart[has] > OF_UPPER[1]).mean() < 0.05
        others = starts._others(starts.pool.embeddings[index], recognised[index])
        assert apart[others].min() > RECOGNISED
        alike.append(has[others].sum())
    assert np.mean(np.array(alike) >= 2 * CANDIDATES) > 0.8


def test_where_nobody_is_far_enough_those_nearest_to_the_recogniser_are_not_taken(starts):
    """And an embedding is in no message."""
    recognised = starts.traits.recognised[9].astype(np.float64)
    apart = np.linalg.norm(starts.traits.recognised - recognised, axis=1)
    others = replace(starts, threshold=2.0)._others(starts.pool.embeddings[7], recognised)
    assert set(others) == set(np.argsort(apart)[-LEAST_OTHERS:])
    points = starts.pool.points_xy[7].astype(np.float64)
    person = replace(subject_of(starts.pool.face(7).pixels, points), embedding=recognised)
    assert f"{recognised[0]:.4f}" not in repr(person)


def test_the_recogniser_reads_sex_and_age(starts, points, monkeypatch):
    """A person's own face with the embedding of a woman, a man, somebody young and somebody old."""
    monkeypatch.setattr(Starts, "_others", lambda *_: np.arange(len(starts.pool)))
    traits = starts.traits
    male, ages = traits.attributes[:, MALE], traits.ages
    subject = subject_of(starts.pool.face(7).pixels, points)

    def taken(index) -> np.ndarray:
        person = replace(subject, embedding=traits.recognised[index].astype(np.float64))
        return starts._likest(person, starts._colours(person))[0][:CANDIDATES]

    woman, man = (taken(int(index)) for index in (male.argmin(), male.argmax()))
    assert male[woman].mean() < 0.3
    assert male[man].mean() > 0.7
    men = np.flatnonzero(male > 0.9)
    young, old = (taken(int(index)) for index in men[ages[men].argsort()[[5, -5]]])
    assert ages[young].mean() < ages[old].mean() - 3


@pytest.mark.parametrize("look", ["skins", "east_asian", "beards"])
def test_the_recogniser_reads_looks(starts, points, look, monkeypatch):
    """All else equal, men with the embedding of one who has the look, and of one who has not."""
    traits = starts.traits
    average = traits.attributes.mean(0)
    nothing = np.zeros(len(starts.pool))
    monkeypatch.setattr(Starts, "_attributes", lambda *_: average)
    monkeypatch.setattr(Starts, "_tone_differences", lambda *_, **__: nothing)
    monkeypatch.setattr(Starts, "_differences", lambda *_: nothing)
    has = getattr(traits, look)
    men = np.flatnonzero((traits.attributes[:, MALE] > 0.9) & (traits.children < 0.1))
    subject = subject_of(starts.pool.face(7).pixels, points)
    taken = []
    for index in men[has[men].argsort()[[-3, 3]]]:
        person = replace(subject, embedding=traits.recognised[index].astype(np.float64))
        taken.append(starts._likest(person, starts._colours(person))[0][:CANDIDATES])
    assert has[taken[0]].mean() > has[taken[1]].mean() + 0.2 * np.ptp(has[men])


def test_a_fake_keeps_a_part_of_its_shape_and_the_oval_is_the_persons(starts, points):
    fake = starts.pool.face(11)
    angle, size = 0.3, 1.4
    turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = towards(points, fake)
    assert np.array_equal(moved[CONTOURS["oval"]], points[CONTOURS["oval"]])
    assert 0.5 < np.abs(moved - points).max() < 10
    assert np.allclose(towards(points @ turn.T + 5, fake), moved @ turn.T + 5), "whatever its place"
    assert np.allclose(towards(points, starts.pool.face(7)), points, atol=1e-6), "its own face"


def test_a_head_turned_too_far_for_the_fake_gets_a_whole_face(starts, points):
    """Its far side lies within half of the near one's reach: a nose that is pulled there folds."""
    frontal = min(range(40), key=lambda i: abs(starts.pool.points_xy[i][:, 0].mean() - 63.5))
    fake = starts.pool.face(frontal)
    person = points.copy()
    middle = points[:, 0].mean()
    far = person[:, 0] > middle
    person[far, 0] = middle + 0.2 * (person[far, 0] - middle)
    nose = CONTOURS["bridge"]
    person[nose, 0] = middle + 0.35 * np.ptp(points[:, 0])
    pulled = person + OWN_SHAPE * (fake.points_xy - person)
    assert turned_over(fake.points_xy, pulled) > FOLDED, "what is tested here"
    made = towards(person, fake)
    assert turned_over(fake.points_xy, made) < 1e-6
    rims = [np.ptp(xy[CONTOURS["oval"]], axis=0) for xy in (made, person)]
    assert np.allclose(*rims, rtol=0.15), "as wide and as high as the person's"


def test_turned_heads_get_turned_ones_in_either_direction(starts, points, monkeypatch):
    """All else equal: nothing but turn and shape speaks for anybody."""
    turns = starts._turns
    assert 0 <= turns.min() < 0.1
    assert turns.max() > 0.4
    nothing = np.zeros(len(starts.pool))
    monkeypatch.setattr(Starts, "_tone_differences", lambda *_, **__: nothing)
    monkeypatch.setattr(Starts, "_attribute_differences", lambda *_: nothing)
    monkeypatch.setattr(Starts, "_looks_apart", lambda *_: nothing)
    monkeypatch.setattr(Starts, "_differences", lambda *_: nothing)
    turned = starts.pool.points_xy[int(np.argsort(turns)[-10])].astype(np.float64)
    grey = np.full((SIDE, SIDE, 3), 120, np.uint8)
    for shape_xy in (turned, turned[MIRROR] * [-1, 1] + [SIDE - 1, 0]):
        assert turns[likest(starts, grey, shape_xy)[:CANDIDATES]].mean() > 0.3
    assert turns[likest(starts, grey, points)[:CANDIDATES]].mean() < turns[7] + 0.1


def test_light_from_one_side_counts_beside_the_tone(starts):
    """Against each face of the pool as it is, and as it would be lit from its other side."""
    own = starts.traits.tones
    lit = int(np.abs(own[:, 0, 0] - own[:, 1, 0]).argmax())
    straight = starts._tone_differences(own[lit], mirrored=np.zeros(len(own), bool))
    turned = starts._tone_differences(own[lit], mirrored=np.ones(len(own), bool))
    aside = abs(own[lit, 0, 0] - own[lit, 1, 0])
    assert straight[lit] == 0
    assert turned[lit] > 2 * aside / LIGHT - 1e-3


def test_of_the_person_the_start_has_coarse_colours_alone(starts, points, monkeypatch):
    """Two persons, alike around the face and in its coarse colours, with other features.

    What is finer than a blur differs between them, and not between their starts.
    """
    monkeypatch.setattr(Starts, "_likest", lambda *_: [np.arange(CANDIDATES)] * 2)
    region = face_region(points, SIDE)
    inside = cv2.erode(region.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    flat = np.full((SIDE, SIDE, 3), (170, 130, 110), np.uint8)
    features = np.random.default_rng(0).normal(0, 25, (16, 16, 1)).astype(np.float32)
    features = cv2.resize(features, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)[..., None]
    features -= cv2.GaussianBlur(features, (0, 0), 12)[..., None]
    other = np.where(inside[..., None], flat + features, flat).clip(0, 255).astype(np.uint8)
    drawn = [start_of(starts, subject_of(p, points), points) for p in (flat, other)]
    fine = [
        np.abs(finer_than(one, 8) - finer_than(two, 8))[inside].mean()
        for one, two in ((flat, other), drawn)
    ]
    assert fine[0] > 5
    assert fine[1] < 0.1 * fine[0]


def test_of_the_persons_hair_the_start_has_coarse_colours_alone(starts, points, monkeypatch):
    """A fringe in strands, over brows and eyes of other persons: no strand and no feature is left,
    and the fringe is.
    """
    monkeypatch.setattr(Starts, "_likest", lambda *_: [np.arange(CANDIDATES)] * 2)
    region, features = face_region(points, SIDE), inner_face(points, SIDE)
    skin, hair = np.array((190, 150, 130)), np.array((50, 38, 30))
    right, left = five_points(points)[:2]
    line = (right[1] + left[1]) / 2 - 0.45 * (left[0] - right[0])
    fringe = (np.arange(SIDE) < line)[:, None, None] * np.ones((SIDE, SIDE, 1), bool)
    bald = start_of(starts, subject_of(np.full((SIDE, SIDE, 3), skin, np.uint8), points), points)
    given, made = [], []
    for seed in (0, 1):
        random = np.random.default_rng(seed)
        person = np.where(fringe, hair + random.normal(0, 10, (1, SIDE, 1)), skin)
        person = person + random.normal(0, 40, person.shape) * features[..., None]
        person = person.clip(0, 255).astype(np.uint8)
        given.append(person)
        made.append(start_of(starts, subject_of(person, points), points))
    where = region & fringe[..., 0] & ~features
    where &= np.arange(SIDE)[:, None] < line - 4
    apart = np.abs(bald.astype(int) - made[0])[where].mean()
    assert apart > 40, "the fringe is there"
    for inside in (where, features):
        fine = [
            np.abs(finer_than(one, 6) - finer_than(two, 6))[inside].mean()
            for one, two in (given, made)
        ]
        assert fine[0] > 5
        assert fine[1] < 0.15 * fine[0]


def finer_than(picture, sigma) -> np.ndarray:
    values = picture.astype(np.float32)
    return values - cv2.GaussianBlur(values, (0, 0), sigma)


def test_somebody_of_the_same_attributes_comes_first(starts, points):
    """Sex, age and expression are kept, as far as they can be read."""
    order = likest(starts, starts.pool.face(7).pixels, points)
    unlike = np.abs(starts.traits.attributes[order] - starts.traits.attributes[7]).sum(1)
    assert unlike[:CANDIDATES].mean() < 0.75 * unlike.mean()


def test_a_pool_of_too_few_is_refused(starts, tmp_path, monkeypatch):
    monkeypatch.setattr("camouflage.pipelines.starts.LEAST_FACES", len(starts.pool) + 1)
    count = len(starts.pool)
    with pytest.raises(SettingError, match=rf"at least {count + 1} faces.*got {count}"):
        Starts.load("mini-light")


def test_another_process_can_have_it(starts, points):
    other = pickle.loads(pickle.dumps(starts))
    assert np.array_equal(drawn(other, points), drawn(starts, points))


@pytest.mark.parametrize("which", [UPPER, LOWER])
def test_shapes_are_compared_whatever_their_place_size_turn_and_side(starts, points, which):
    own = starts._differences(points, which)
    assert own[7] == pytest.approx(0, abs=1e-6)
    angle = np.deg2rad(25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mirrored = points[MIRROR] * [-1, 1] + [SIDE - 1, 0]
    for other in (1.7 * points + [30, -8], mirrored):
        assert np.allclose(starts._differences(other, which), own, atol=1e-6)
    turned = points @ turn.T
    assert starts._differences(turned, which)[7] < 1e-6 or looks_left(points) != looks_left(turned)


def test_a_mouth_is_chosen_by_the_mouth_and_eyes_by_the_eyes(starts, points, monkeypatch):
    """The same person with a shut mouth gets other lower halves, with shut mouths, and the same
    upper ones.
    """
    nothing = np.zeros(len(starts.pool))
    monkeypatch.setattr(Starts, "_attribute_differences", lambda *_: nothing)  # read from pixels
    pixels, inner = starts.pool.face(7).pixels, CONTOURS["mouth"]
    opened = np.ptp(starts._shapes[:, inner, 1], axis=-1)
    assert opened[7] > 0.15, "a laugh"
    shut = points.copy()
    lips = np.concatenate([np.arange(len(shut))[CONTOURS[name]] for name in ("lips", "mouth")])
    middle = shut[inner, 1].mean()
    shut[lips, 1] = middle + 0.3 * (shut[lips, 1] - middle)
    of_laugh, of_shut = (likest(starts, pixels, p, half=1)[:8] for p in (points, shut))
    assert opened[of_laugh].mean() > opened[of_shut].mean() + 0.05
    of_laugh, of_shut = (likest(starts, pixels, p)[:8] for p in (points, shut))
    assert len(set(of_laugh) & set(of_shut)) >= 6


def test_the_lot_decides_and_another_attempt_has_other_faces(starts, points):
    first = {drawn(starts, points, seed=seed).tobytes() for seed in range(30)}
    second = {drawn(starts, points, seed=seed, attempt=1).tobytes() for seed in range(30)}
    assert CANDIDATES < len(first) <= CANDIDATES**2
    assert CANDIDATES < len(second) <= CANDIDATES**2
    assert not first & second
    assert drawn(starts, points, seed=3).tobytes() in first


def test_another_attempt_has_other_faces_though_its_shape_is_another(starts, points):
    """The order is the person's, not that of an attempt's landmarks."""
    chosen = []
    watched = replace(starts, pool=Watched(starts.pool, chosen))
    for seed in range(12):
        for attempt in range(3):
            moved = points + np.random.default_rng(seed + attempt).normal(0, 3, points.shape)
            drawn(watched, moved, of=points, attempt=attempt, seed=seed)
    for half in (chosen[::2], chosen[1::2]):  # upper, lower, upper, ...
        rounds = [set(half[attempt::3]) for attempt in range(3)]
        assert all(len(one) >= 3 for one in rounds)
        assert len(set.union(*rounds)) == sum(map(len, rounds)), "none in two attempts"


class Watched:
    """A pool that tells whom it was asked for."""

    def __init__(self, pool, asked) -> None:
        self._pool, self._asked = pool, asked

    def __getattr__(self, name):
        return getattr(self._pool, name)

    def __len__(self) -> int:
        return len(self._pool)

    def face(self, index):
        self._asked.append(index)
        return self._pool.face(index)


def test_candidates_come_again_after_the_last(starts, points):
    rounds = len(likest(starts, starts.pool.face(7).pixels, points))
    assert np.array_equal(drawn(starts, points, attempt=rounds), drawn(starts, points))


def test_landmarks_that_make_no_face_still_have_a_start(starts, points):
    """A network that is wrong puts them all into one place."""
    nowhere = np.full(points.shape, 40.0)
    subject = replace(subject_of(starts.pool.face(7).pixels, points), points_xy=nowhere)
    start = start_of(starts, subject, nowhere)
    assert start.shape == subject.pixels.shape
    assert np.abs(start.astype(int) - subject.pixels)[subject.region].mean() > 5
