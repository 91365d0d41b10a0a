"""The pool: whom it chooses, and what it refuses to load or to overwrite."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from camouflage.annotators.landmarks import CONTOURS
from camouflage.errors import OutputError, SettingError
from camouflage.swap import EmbeddedFace, FacePool, PoolFace, write_pool

from .conftest import embedded, fake, noise, shape

SHA = "ab" * 32
# Cosines 1, 0.8, 0.6, 0.28, -1 to (1, 0): angular distances 0, 0.632, 0.894, 1.2, 2.
ROWS = [[0.28, 0.96], [1, 0], [0.6, -0.8], [-1, 0], [0.8, 0.6]]


def write(folder, faces=None, **options):
    faces = faces or [embedded(row, level=40 * i) for i, row in enumerate(ROWS)]
    settings = {"side": 32, "encoder_name": "tests", "encoder_sha256": SHA, "suffix": ".png"}
    return write_pool(folder, faces, **(settings | options))


@pytest.fixture(name="folder")
def _folder(tmp_path):
    write(tmp_path / "pool")
    return tmp_path / "pool"


@pytest.fixture(name="pool")
def _pool(folder):
    return FacePool.load(folder)


def test_nearest_are_in_order_with_annoys_angular_distance(pool):
    indices, distances = pool.nearest(np.array([3.0, 0]))
    assert indices.tolist() == [1, 4, 2, 0, 3]
    expected = [0, np.sqrt(0.4), np.sqrt(0.8), 1.2, 2]
    assert distances == pytest.approx(expected, abs=2e-3)  # 6 decimals of the cosine
    assert pool.nearest(np.array([1.0, 0]), k=2)[0].tolist() == [1, 4]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 0),  # the nearest beyond 1.0
        ({"threshold": 0.8}, 2),
        ({"threshold": 0.0}, 4),
        ({"threshold": 1.5}, 3),
        ({"threshold": 2.0}, 3),  # none is beyond: the farthest
        ({"candidates": 3}, 2),  # none of three is beyond 1.0: the farthest of the three
        ({"candidates": 1}, 1),
        ({"exclude": [0]}, 3),
        ({"candidates": 3, "exclude": {1, 2}}, 0),  # excluded ones take no candidate's place
    ],
)
def test_the_choice_on_embeddings_made_by_hand(pool, options, expected):
    assert pool.choose(np.array([1.0, 0]), **options) == expected


def test_a_distance_equal_to_the_threshold_is_not_beyond_it(tmp_path):
    write(tmp_path / "pool", [embedded([0.5, np.sqrt(0.75)]), embedded([-1, 0])])
    assert FacePool.load(tmp_path / "pool").choose(np.array([1.0, 0]), threshold=1.0) == 1


def test_equal_distances_come_in_the_order_of_the_pool(tmp_path):
    near, far = np.random.default_rng(0).normal(size=(2, 64))
    write(tmp_path / "pool", [embedded((far, near)[i % 2].tolist()) for i in range(75)])
    indices, _ = FacePool.load(tmp_path / "pool").nearest(near, k=75)
    assert indices.tolist() == [*range(1, 75, 2), *range(0, 75, 2)]


@given(st.integers(0, 10_000))
def test_every_attempt_gets_another_face_until_none_is_left(small_pool, seed):
    person = np.random.default_rng(seed).normal(size=2)
    tried = []
    for _ in range(len(small_pool)):
        tried.append(small_pool.choose(person, exclude=tried))
    assert sorted(tried) == list(range(len(small_pool)))
    with pytest.raises(SettingError, match="all 5 faces"):
        small_pool.choose(person, exclude=tried)


@pytest.fixture(name="small_pool", scope="module")
def _small_pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pools") / "pool"
    write(folder)
    return FacePool.load(folder)


@pytest.mark.parametrize("row", [[1.0], [0, 0], [np.nan, 1], [[1, 0]]])
def test_an_embedding_that_cannot_be_compared_is_refused(pool, row):
    with pytest.raises(SettingError, match="expected a finite embedding"):
        pool.choose(np.array(row, dtype=float))


def test_a_pool_comes_back_as_it_was_written(tmp_path):
    face = fake(noise(48, 48))
    count = write(tmp_path / "pool", [EmbeddedFace(face=face, embedding=np.ones(4))], side=48)
    pool = FacePool.load(tmp_path / "pool")
    assert (count, len(pool), pool.side, pool.encoder_sha256) == (1, 1, 48, SHA)
    back = pool.face(0)
    assert np.array_equal(back.pixels, face.pixels)
    assert np.array_equal(back.five_xy, face.five_xy)
    assert np.allclose(back.points_xy, face.points_xy, atol=1e-4)  # float32
    assert "ones" not in repr(pool)
    assert pool.face(0) is back  # it is kept
    with pytest.raises(SettingError, match="from 0 to 0"):
        pool.face(1)


def test_webp_is_nearly_lossless(tmp_path):
    face = fake(noise(64, 64))
    write(tmp_path / "p", [EmbeddedFace(face=face, embedding=np.ones(4))], side=64, suffix=".webp")
    back = FacePool.load(tmp_path / "p").face(0)
    assert np.abs(back.pixels.astype(int) - face.pixels).mean() < 5


def test_nothing_says_where_a_face_came_from(folder):
    assert sorted(p.name for p in folder.iterdir()) == ["faces", "index.safetensors", "pool.json"]
    record = json.loads((folder / "pool.json").read_text())
    assert set(record) == {"side", "count", "encoder_name", "encoder_sha256", "faces"}
    assert set(record["faces"][0]) == {"file", "five_xy", "sha256"}


def test_a_mirrored_face_mirrored_again_is_the_face():
    face = fake(noise(64, 64))
    there = face.mirrored()
    back = there.mirrored()
    assert np.array_equal(there.pixels, face.pixels[:, ::-1])
    assert np.allclose(there.five_xy[0], [63, 0] + [-1, 1] * face.five_xy[1])
    right, left = (CONTOURS[f"{name}_iris"].start for name in ("right", "left"))
    assert there.points_xy[right, 0] == pytest.approx(63 - face.points_xy[left, 0])
    assert np.array_equal(back.pixels, face.pixels)
    assert np.allclose(back.points_xy, face.points_xy)
    assert np.allclose(back.five_xy, face.five_xy)


def edit(folder, **changes):
    path = folder / "pool.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def first_file(folder, name):
    faces = json.loads((folder / "pool.json").read_text())["faces"]
    edit(folder, faces=[faces[0] | {"file": name}, *faces[1:]])


def reindex(folder, **changes):
    index = load_file(folder / "index.safetensors") | changes
    save_file({k: v for k, v in index.items() if v is not None}, folder / "index.safetensors")


def link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


DAMAGE = {
    "no record": (lambda f: (f / "pool.json").unlink(), "pool.json: expected a file"),
    "record linked": (lambda f: link(f / "pool.json"), "pool.json: expected a file"),
    "no json": (lambda f: (f / "pool.json").write_text("{"), "pool.json"),
    "count": (lambda f: edit(f, count=4), "expected 4 faces"),
    "no side": (lambda f: edit(f, side=0), "side"),
    "no hash": (lambda f: edit(f, encoder_sha256="x"), "encoder_sha256"),
    "unknown key": (lambda f: edit(f, origin="web"), "origin"),
    "path upwards": (lambda f: first_file(f, "../00000.png"), "faces.0.file"),
    "absolute path": (lambda f: first_file(f, "/00000.png"), "faces.0.file"),
    "newline": (lambda f: first_file(f, "00000.png\n"), "faces.0.file"),
    "name twice": (lambda f: first_file(f, "00001.png"), "a name twice"),
    "no picture": (lambda f: (f / "faces/00000.png").unlink(), "00000.png: expected a file"),
    "picture linked": (lambda f: link(f / "faces/00000.png"), "00000.png: expected a file"),
    "faces linked": (lambda f: link(f / "faces"), "faces: expected a folder"),
    "no index": (lambda f: (f / "index.safetensors").unlink(), "index.safetensors: expected"),
    "damaged index": (lambda f: (f / "index.safetensors").write_bytes(b"x" * 99), "damaged"),
    "missing array": (lambda f: reindex(f, points_xy=None), "expected embeddings and points_xy"),
    "too few rows": (lambda f: reindex(f, embeddings=np.eye(4, 2, dtype="f")), "embeddings"),
    "one axis": (lambda f: reindex(f, embeddings=np.ones(5, "f")), "embeddings"),
    "doubles": (lambda f: reindex(f, embeddings=np.eye(5)), "float64"),
    "no unit": (lambda f: reindex(f, embeddings=np.full((5, 2), 0.5, "f")), "length 1"),
    "nan": (lambda f: reindex(f, embeddings=np.full((5, 2), np.nan, "f")), "finite"),
    "points": (lambda f: reindex(f, points_xy=np.zeros((5, 106, 2), "f")), "points_xy"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_pool_is_refused_with_the_reason(folder, name):
    damage, reason = DAMAGE[name]
    damage(folder)
    with pytest.raises(SettingError, match=reason) as caught:
        FacePool.load(folder)
    assert str(folder.parent) not in str(caught.value)


def test_a_picture_of_another_side_or_damaged_is_refused_when_it_is_read(folder):
    edit(folder, side=64)
    with pytest.raises(SettingError, match="expected 64 x 64 px"):
        FacePool.load(folder).face(0)
    (folder / "faces/00000.png").write_bytes(b"none")
    with pytest.raises(SettingError, match="not the picture that was put into this pool"):
        FacePool.load(folder).face(0)


def test_a_picture_that_was_exchanged_is_not_swapped_in(folder):
    """A real person's face, put in the place of one that nobody has, would be seen in results."""
    shutil.copy(folder / "faces/00001.png", folder / "faces/00000.png")
    pool = FacePool.load(folder)
    with pytest.raises(SettingError, match="not the picture that was put into this pool"):
        pool.face(0)
    assert pool.face(1).side == pool.side


def test_only_a_pool_is_overwritten_and_only_if_asked_for(folder, tmp_path):
    with pytest.raises(OutputError, match="exists already"):
        write(folder)
    write(folder, [embedded([1, 0])], overwrite=True)
    assert len(FacePool.load(folder)) == 1
    other = tmp_path / "photos"
    other.mkdir()
    (other / "mine.jpg").write_bytes(b"x")
    with pytest.raises(OutputError, match="no pool"):
        write(other, overwrite=True)
    assert (other / "mine.jpg").exists()
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(OutputError, match="no pool"):
        write(tmp_path / "link", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "photos", "pool"]


def test_what_fails_midway_leaves_nothing_and_the_old_pool(folder, tmp_path):
    def broken():
        yield embedded([1, 0])
        raise ValueError("midway")

    for target in (folder, tmp_path / "new"):
        with pytest.raises(ValueError, match="midway"):
            write(target, broken(), overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["pool"]
    assert len(FacePool.load(folder)) == len(ROWS)


@pytest.mark.parametrize(
    ("faces", "reason"),
    [
        (iter(()), "at least one"),
        ([embedded([1, 0], side=48)], "faces of 32 px"),
        ([embedded([1, 0]), embedded([1, 0, 0])], "one length"),
    ],
)
def test_a_pool_that_cannot_be_is_not_written(tmp_path, faces, reason):
    with pytest.raises(SettingError, match=reason):
        write(tmp_path / "pool", faces)
    assert not list(tmp_path.iterdir())


def test_values_that_are_no_face_are_refused():
    one = shape(side=32)
    good = {"five_xy": one.five_xy, "points_xy": one.points_xy}
    with pytest.raises(SettingError, match="uint8"):
        PoolFace(pixels=np.zeros((32, 32, 3)), **good)
    with pytest.raises(SettingError, match="side, side"):
        PoolFace(pixels=np.zeros((32, 31, 3), np.uint8), **good)
    with pytest.raises(SettingError, match=r"\(5, 2\)"):
        PoolFace(pixels=np.zeros((32, 32, 3), np.uint8), **(good | {"five_xy": np.zeros((4, 2))}))
    with pytest.raises(SettingError, match="not all zero"):
        embedded([0, 0])
