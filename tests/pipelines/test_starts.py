"""Which face of the pool the noise is laid over."""

import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from camouflage.annotators.colour import skin_colour
from camouflage.annotators.image_encoder import embed_pictures
from camouflage.annotators.landmarks import MIRROR, face_region
from camouflage.attempts import Subject
from camouflage.errors import SettingError
from camouflage.mini.attributes import SmallAttributeNet
from camouflage.pipelines.light_faces import face_of_crop, pixels_in_box
from camouflage.pipelines.starts import CANDIDATES, LEAST_OTHERS, THRESHOLD, Starts
from camouflage.pipelines.traits import MIRRORED, read_traits, tones, traits_of, write_traits
from camouflage.subjects.crops import align, template
from camouflage.swap import FacePool
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


def drawn(starts, points, *, attempt=0, seed=0) -> np.ndarray:
    """Made of a face of the pool itself, so that a person is near who is too near."""
    subject = subject_of(starts.pool.face(7).pixels, points)
    generator = torch.Generator().manual_seed(seed)
    return starts.start(subject, points, attempt=attempt, generator=generator)


def embedded(starts, points) -> np.ndarray:
    """As the encoder sees the person of `drawn`."""
    box = face_of_crop(points, points).box_xyxy
    return embed_pictures(starts.encoder, [pixels_in_box(starts.pool.face(7).pixels, box)])[0]


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
    others, distances = starts._others(embedding)
    assert 7 not in others
    assert len(others) >= CANDIDATES
    measured = np.linalg.norm(starts.pool.embeddings[others] - embedding, axis=1)
    assert np.allclose(measured, distances, atol=1e-3)
    assert distances.min() > THRESHOLD


def test_where_nobody_is_different_enough_the_farthest_are_taken(starts):
    embedding = starts.pool.embeddings[7]
    distances = np.linalg.norm(starts.pool.embeddings - embedding, axis=1)
    others, _ = replace(starts, threshold=2.0)._others(embedding)
    assert set(others) == set(np.argsort(distances)[-LEAST_OTHERS:])


def test_few_who_are_different_are_not_the_only_ones(starts):
    """Or the lot would have nothing to decide."""
    embedding = starts.pool.embeddings[7]
    distances = np.sort(np.linalg.norm(starts.pool.embeddings - embedding, axis=1))
    few = replace(starts, threshold=distances[-CANDIDATES // 2])
    assert len(few._others(embedding)[0]) == LEAST_OTHERS


def test_a_darker_face_gets_somebody_darker(starts, points):
    pixels = starts.pool.face(7).pixels
    light = []
    for share in (1, 0.55):
        person = subject_of((pixels * share).astype(np.uint8), points)
        shown = tones(skin_colour(person.pixels, person.region), points)
        taken = starts._likest(person, points, shown)[:CANDIDATES]
        light.append(starts.traits.tones[taken, :, 0].mean())
    assert light[1] < light[0] - 5


def test_tones_of_a_mirror_are_those_of_the_other_cheek(starts, points):
    shade = np.linspace(250, 50, SIDE, dtype=np.float32)
    colours = np.broadcast_to(shade[None, :, None], (SIDE, SIDE, 3)).copy()
    mirrored = points[MIRROR] * [-1, 1] + [SIDE - 1, 0]
    one, other = tones(colours, points), tones(colours[:, ::-1].copy(), mirrored)
    assert np.allclose(one, other[MIRRORED], atol=1)
    assert one[0, 0] > one[1, 0] + 20, "the right cheek is on the left"


def test_traits_are_kept_and_measured_anew_for_other_faces(tmp_path):
    folder = shutil.copytree(mini_light_folder(), tmp_path / "ours")
    pool = FacePool.load(folder / "pool")
    net = load_model(SmallAttributeNet, folder / "attribute_net", dtype=torch.float32)
    kept = read_traits(folder, pool, net)
    measured = traits_of(pool, net)
    assert np.array_equal(kept.tones, measured.tones)
    assert np.allclose(kept.attributes, measured.attributes, atol=1e-4)
    write_pool(
        folder / "pool",
        [EmbeddedFace(face=pool.face(i), embedding=pool.embeddings[i]) for i in range(9)],
        side=pool.side,
        encoder_name=pool.encoder_name,
        encoder_sha256=pool.encoder_sha256,
        suffix=".png",
        overwrite=True,
    )
    assert np.array_equal(
        read_traits(folder, FacePool.load(folder / "pool"), net).tones, kept.tones[:9]
    )
    (folder / "starts.safetensors").write_bytes(b"damaged")
    assert read_traits(folder, FacePool.load(folder / "pool"), net).tones.shape == (9, 5, 3)
    write_traits(folder, FacePool.load(folder / "pool"), net)
    assert read_traits(folder, FacePool.load(folder / "pool"), None).tones.shape == (9, 5, 3)


def test_somebody_of_the_same_attributes_comes_first(starts, points):
    """Sex, age and expression are kept, as far as they can be read."""
    person = subject_of(starts.pool.face(7).pixels, points)
    shown = tones(skin_colour(person.pixels, person.region), points)
    order = starts._likest(person, points, shown)
    unlike = np.abs(starts.traits.attributes[order] - starts.traits.attributes[7]).sum(1)
    assert unlike[:CANDIDATES].mean() < 0.6 * unlike.mean()


def test_a_pool_of_too_few_is_refused(starts, tmp_path, monkeypatch):
    monkeypatch.setattr("camouflage.pipelines.starts.CANDIDATES", len(starts.pool) + 1)
    count = len(starts.pool)
    with pytest.raises(SettingError, match=rf"at least {count + 1} faces.*got {count}"):
        Starts.load("mini-light")


def test_another_process_can_have_it(starts, points):
    other = pickle.loads(pickle.dumps(starts))
    assert np.array_equal(drawn(other, points), drawn(starts, points))


def test_shapes_are_compared_whatever_their_place_size_turn_and_side(starts, points):
    assert starts._differences(points)[7] == pytest.approx(0, abs=1e-6)
    angle = np.deg2rad(25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mirrored = points[MIRROR] * [-1, 1] + [SIDE - 1, 0]
    for other in (1.7 * points + [30, -8], mirrored):
        assert np.allclose(starts._differences(other), starts._differences(points), atol=1e-6)
    assert starts._differences(points @ turn.T)[7] < 1e-6 or looks_left(points) != looks_left(
        points @ turn.T
    )


def test_the_lot_decides_and_another_attempt_has_other_faces(starts, points):
    first = {drawn(starts, points, seed=seed).tobytes() for seed in range(30)}
    second = {drawn(starts, points, seed=seed, attempt=1).tobytes() for seed in range(30)}
    assert 3 <= len(first) <= CANDIDATES
    assert 3 <= len(second) <= CANDIDATES
    assert not first & second
    assert drawn(starts, points, seed=3).tobytes() in first


def test_candidates_come_again_after_the_last(starts, points):
    others, _ = starts._others(embedded(starts, points))
    rounds = len(others)  # of candidates: a whole number of times through all of them
    assert np.array_equal(drawn(starts, points, attempt=rounds), drawn(starts, points))
