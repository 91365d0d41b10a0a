"""Galleries small enough to be worked out by hand."""

import numpy as np
import pytest

from benchmarks.attack import ControlFailed, Gallery, bootstrap, hits, require_controls
from camouflage.errors import SettingError

NAN = float("nan")


def line(**people: list[float]) -> Gallery:
    """A gallery on a line: name to places."""
    rows = [[place] for places in people.values() for place in places]
    names = [name for name, places in people.items() for _ in places]
    return Gallery(rows=np.array(rows), people=np.array(names))


def probes(*places: float) -> np.ndarray:
    return np.array(places, dtype=float)[:, None]


def test_the_nearest_photograph_decides_not_the_nearest_mean():
    gallery = line(ann=[0.0, 10.0], bob=[4.0, 4.5])
    assert list(gallery.nearest(probes(1.0, 5.0, 9.0))) == ["ann", "bob", "ann"]
    assert list(hits(gallery, probes(1.0, 5.0, 9.0), ["ann", "ann", "bob"])) == [True, False, False]


def test_distance_is_over_all_dimensions():
    gallery = Gallery(rows=np.array([[3.0, 4.0], [0.0, 5.5]]), people=np.array(["near", "far"]))
    assert list(gallery.nearest(np.zeros((1, 2)))) == ["near"]


def test_a_probe_without_an_embedding_is_nobody():
    assert list(line(ann=[0.0]).nearest(probes(NAN))) == [""]
    assert not hits(line(ann=[0.0]), probes(NAN), ["ann"])[0]


def test_chance_is_the_share_of_the_gallery():
    gallery = line(ann=[0.0, 1.0, 2.0], bob=[3.0])
    assert gallery.chance(["ann", "bob"]) == pytest.approx((0.75 + 0.25) / 2)
    assert gallery.chance(["ann"]) == pytest.approx(0.75)
    assert gallery.chance(["eve"]) == 0


@pytest.mark.parametrize(
    ("rows", "people"),
    [
        (np.zeros((2, 3)), np.array(["a"])),
        (np.zeros((0, 3)), np.array([])),
        (np.full((1, 3), NAN), np.array(["a"])),
    ],
)
def test_galleries_that_cannot_be_are_refused(rows, people):
    with pytest.raises(SettingError):
        Gallery(rows=rows, people=people)


def test_an_embedding_is_not_printed():
    assert "0.125" not in repr(line(ann=[0.125], bob=[1.0]))


def test_bootstrap_of_equal_values_has_no_width():
    interval = bootstrap(np.ones(6), list("aabbcc"))
    assert (interval.mean, interval.low, interval.high, interval.n) == (1, 1, 1, 6)


def test_bootstrap_draws_people_not_photographs():
    """Ten equal photographs of each of four people are four pieces of evidence."""
    values = np.repeat([1.0, 1.0, 0.0, 0.0], 10)
    by_person = bootstrap(values, np.repeat(list("abcd"), 10))
    by_photo = bootstrap(values, [str(i) for i in range(40)])
    assert by_person.mean == by_photo.mean == 0.5
    assert by_person.high - by_person.low > 2 * (by_photo.high - by_photo.low)


def test_bootstrap_covers_what_the_normal_law_says():
    values = np.random.default_rng(0).random(400) < 0.2
    interval = bootstrap(values, [str(i) for i in range(400)])
    half = 1.96 * np.sqrt(values.mean() * (1 - values.mean()) / 400)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.008)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.008)


def test_bootstrap_leaves_missing_values_out():
    interval = bootstrap(np.array([1.0, NAN, 3.0]), list("abc"))
    assert interval.mean == 2.0
    assert interval.n == 2
    assert bootstrap(np.array([NAN]), ["a"]).n == 0


def people(n: int, photos: int, *, spread: float, seed: int = 0):
    """Names, gallery and one probe a person: clusters in 8 dimensions."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 1, (n, 8))
    names = [f"p{i}" for i in range(n)]
    rows = centres.repeat(photos, 0) + rng.normal(0, spread, (n * photos, 8))
    gallery = Gallery(rows=rows, people=np.repeat(names, photos))
    return gallery, centres + rng.normal(0, spread, (n, 8)), names


def test_controls_pass_where_people_are_apart():
    gallery, rows, names = people(30, 4, spread=0.05)
    rates = require_controls(gallery, rows, names)
    assert rates["unchanged"] == 1
    assert rates["chance"] == pytest.approx(1 / 30)
    assert rates["randomly_paired"] < 0.1


def test_a_recogniser_that_knows_nobody_fails_the_controls():
    gallery, rows, names = people(30, 4, spread=50)
    with pytest.raises(ControlFailed, match="unchanged"):
        require_controls(gallery, rows, names)


def test_names_that_leak_into_the_probes_fail_the_controls():
    """Whoever asks, the answer is his name: the nearest is right for any pairing."""

    class Leaking(Gallery):
        def nearest(self, probes):
            return np.array(names)

    gallery, rows, names = people(30, 4, spread=0.05)
    leaking = Leaking(rows=gallery.rows, people=gallery.people)
    with pytest.raises(ControlFailed, match="random"):
        require_controls(leaking, rows, names)
