"""Every definition on galleries small enough to be worked out by hand, and by other libraries."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.neighbors import NearestNeighbors

from camouflage.errors import SettingError
from camouflage.evaluate import reidentify as re
from camouflage.evaluate.reidentify import Attack, ControlFailed

NAN = float("nan")


def attack(probes, gallery, source=None) -> Attack:
    """``probes`` and ``gallery``: (person, place on a line)."""
    places = np.array([[place] for _, place in gallery], dtype=float)
    rows = np.array([[place] for _, place in probes], dtype=float)
    return Attack(
        apart=re.distances(rows, places),
        probe_people=np.array([person for person, _ in probes]),
        gallery_people=np.array([person for person, _ in gallery]),
        source=np.array(source if source is not None else [-1] * len(probes)),
    )


def on_all(probes, gallery, probe_people, gallery_people) -> Attack:
    """Each row of the gallery is the source of a probe, in order."""
    return Attack(
        apart=re.distances(probes, gallery),
        probe_people=probe_people,
        gallery_people=gallery_people,
        source=np.arange(len(probes)),
    )


GALLERY = [("ann", 0.0), ("ann", 1.0), ("bob", 4.0), ("bob", 5.0), ("eve", 9.0)]


def test_the_own_original_is_no_other_photo():
    near_own = attack([("ann", 3.9), ("bob", 4.1)], GALLERY, source=[0, 2])
    assert list(re.nearest_is_other_photo(near_own)) == [0, 1]
    own_only = attack([("ann", 0.1), ("eve", 9.0)], GALLERY, source=[0, 4])
    assert re.nearest_is_other_photo(own_only)[0] == 1
    assert np.isnan(re.nearest_is_other_photo(own_only)[1]), "eve has no other photograph"


def test_closed_looks_among_the_originals_of_the_probes_only():
    # ann's result is nearest to her other photograph, which is nobody's original here.
    found = re.nearest_is_self(attack([("ann", 0.9), ("bob", 4.4)], GALLERY, source=[0, 2]))
    assert list(found) == [True, True]
    swapped = re.nearest_is_self(attack([("ann", 4.0), ("bob", 0.0)], GALLERY, source=[0, 2]))
    assert list(swapped) == [False, False]


def test_chance_is_the_share_of_other_photos_of_the_person():
    one = attack([("ann", 0.0), ("eve", 9.0)], GALLERY, source=[0, 4])
    assert re.chance_of_other_photo(one) == pytest.approx(1 / 4), "eve cannot be found at all"


def test_recall_and_average_precision_as_the_paper_s_code():
    # Order of the gallery from 4.6: 5 (bob), 4 (bob), 1 (ann), 9 (eve), 0 (ann)
    one = attack([("ann", 4.6)], GALLERY)
    assert [bool(re.recall_at(one, k)[0]) for k in (1, 2, 3)] == [False, False, True]
    # ann stands at ranks 3 and 5: (1/3 + 2/5) / 2 photographs of her
    assert re.average_precision_at(one, 50)[0] == pytest.approx((1 / 3 + 2 / 5) / 2)
    # cut at K = 3 the divisor is still all her photographs
    assert re.average_precision_at(one, 3)[0] == pytest.approx((1 / 3) / 2)


def test_a_probe_without_a_row_finds_nobody():
    blind = attack([("ann", NAN)], GALLERY, source=[0])
    assert not re.nearest_is_self(blind)[0]
    assert re.nearest_is_other_photo(blind)[0] == 0
    assert not re.recall_at(blind, 5)[0]
    assert re.average_precision_at(blind)[0] == 0
    assert np.isnan(re.verified(blind, 1.0)[0])


def test_a_gallery_row_that_is_missing_is_never_the_nearest():
    with_hole = attack([("ann", 4.2)], [("bob", NAN), ("ann", 0.0)], source=[-1])
    assert re.recall_at(with_hole, 1)[0]


@pytest.fixture(name="people")
def _people():
    rng = np.random.default_rng(3)
    names = np.repeat([f"p{i}" for i in range(12)], 5)
    middle = rng.normal(size=(12, 8)).repeat(5, 0)
    gallery = middle + 0.5 * rng.normal(size=(60, 8))
    probes = middle + 0.8 * rng.normal(size=(60, 8))
    return gallery, probes, names


def test_ranks_agree_with_scikit_learn(people):
    gallery, probes, names = people
    _, nearest = NearestNeighbors(n_neighbors=10).fit(gallery).kneighbors(probes)
    same = names[nearest] == names[:, None]
    ours = on_all(probes, gallery, names, names)
    for k in (1, 5, 10):
        assert (re.recall_at(ours, k) == same[:, :k].any(1)).all()


def test_the_curve_agrees_with_scikit_learn(people):
    gallery, probes, names = people
    apart = re.distances(probes, gallery)
    same = names[:, None] == names[None]
    ours = re.roc(apart[same], apart[~same], far=(1e-2, 1e-1))
    labels = np.r_[np.ones(same.sum()), np.zeros((~same).sum())]
    scores = -np.r_[apart[same], apart[~same]]
    assert ours.auc == pytest.approx(roc_auc_score(labels, scores))
    far, tar, _ = roc_curve(labels, scores, drop_intermediate=False)
    for rate, value in zip(ours.far, ours.tar, strict=True):
        assert value == pytest.approx(tar[far <= rate][-1], abs=2 / same.sum())


def test_a_rate_that_the_pairs_cannot_tell_is_not_told():
    few = re.roc(np.array([0.1]), np.linspace(0.2, 1, 50), far=(1e-3, 1e-1))
    assert np.isnan(few.tar[0])
    assert few.tar[1] == 1
    with pytest.raises(SettingError, match="1000 pairs"):
        re.threshold_at(np.linspace(0, 1, 50), 1e-3)


def test_the_threshold_lets_in_no_more_than_it_says():
    impostors = np.arange(1000.0)
    limit = re.threshold_at(impostors, 0.01)
    assert (impostors < limit).mean() <= 0.01
    assert (impostors < limit + 1).mean() > 0.01


def test_verification_is_against_the_own_original_alone():
    one = attack([("ann", 0.4), ("bob", 0.1)], GALLERY, source=[0, 2])
    assert list(re.verified(one, 0.5)) == [1, 0]
    assert list(re.verified(one, np.array([0.3, 9.0]))) == [0, 1]


def test_protected_pairs_count_only_what_matched_before():
    names = np.array(["ann", "ann", "bob", "bob", "eve", "eve"])
    before = np.full((6, 6), 2.0)
    after = np.full((6, 6), 2.0)
    before[0, 1] = before[2, 3] = 0.1  # ann and bob matched, eve did not
    after[2, 3] = 0.2  # bob still does
    assert list(re.protected_pairs(before, after, names, 0.6)) == [1, 0, 0]
    after[0, 1] = NAN
    assert list(re.protected_pairs(before, after, names, 0.6)) == [0, 0, 0], "lost is not protected"


def test_controls_pass_on_originals_and_abort_on_nonsense(people):
    gallery, _, names = people
    clean = on_all(gallery, gallery, names, names)
    rates = re.require_controls(clean, recogniser="toy", least=0.7)
    assert rates["closed"] == 1
    assert rates["strangers"] < 0.15
    rng = np.random.default_rng(0)
    blind = rng.normal(size=gallery.shape)
    with pytest.raises(ControlFailed, match="toy: expected 90%"):
        re.require_controls(
            on_all(blind, gallery, names, names),
            recogniser="toy",
        )


def test_strangers_who_are_taken_for_people_abort_the_run(people):
    gallery, _, names = people
    clean = on_all(gallery, gallery, names, names)
    rng = np.random.default_rng(1)
    nobody = rng.normal(size=(200, gallery.shape[1]))
    found = re.require_controls(clean, recogniser="toy", least=0.7, rows=gallery, strangers=nobody)
    assert found["strangers"] < 0.15
    monotone = np.tile(gallery[:1], (10, 1))
    with pytest.raises(ControlFailed, match="strangers"):
        re.require_controls(
            on_all(gallery, gallery, np.array(["p0"] * 60), np.array(["p0"] * 6 + ["p1"] * 54)),
            recogniser="toy", least=0.0, rows=gallery, strangers=monotone,
        )  # fmt: skip


def test_controls_abort_where_one_name_has_nearly_all_photographs():
    rows = np.arange(40.0)[:, None]
    names = np.array(["ann"] * 38 + ["bob"] * 2)
    balanced = np.array(["ann"] * 20 + ["bob"] * 20)
    probes = on_all(rows, rows, balanced, balanced)
    re.require_controls(probes, recogniser="toy")
    wrong = on_all(rows, rows, names, balanced)
    with pytest.raises(ControlFailed):
        re.require_controls(wrong, recogniser="toy")


def test_an_attack_must_fit():
    with pytest.raises(SettingError):
        Attack(
            apart=np.zeros((2, 3)), probe_people=np.array(["a"]),
            gallery_people=np.array(["a"] * 3), source=np.array([0]),
        )  # fmt: skip
    with pytest.raises(SettingError):
        re.distances(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(SettingError):
        re.recall_at(attack([("ann", 0)], GALLERY), 0)
