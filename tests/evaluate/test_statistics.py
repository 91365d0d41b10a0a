"""Intervals and tests against scipy and against what can be worked out."""

import numpy as np
import pytest
from scipy import stats

from camouflage.errors import SettingError
from camouflage.evaluate.statistics import bootstrap, mcnemar, terciles, wilcoxon

NAN = float("nan")


def test_the_interval_of_independent_values_is_scipy_s():
    values = np.random.default_rng(0).normal(5, 2, 200)
    ours = bootstrap(values, [str(i) for i in range(200)], resamples=4000)
    theirs = stats.bootstrap((values,), np.mean, method="percentile").confidence_interval
    assert ours.mean == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.05)
    assert ours.high == pytest.approx(theirs.high, abs=0.05)


def test_photographs_of_one_person_are_not_independent():
    values = np.repeat([0.0, 1.0] * 10, 10)
    alone = bootstrap(values, [str(i) for i in range(200)])
    together = bootstrap(values, [str(i // 10) for i in range(200)])
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_missing_values_are_not_counted():
    assert bootstrap([1, NAN, 0], ["a", "b", "c"]).n == 2
    nothing = bootstrap([NAN], ["a"])
    assert nothing.n == 0
    assert np.isnan(nothing.mean)
    with pytest.raises(SettingError):
        bootstrap([1, 2], ["a"])


def test_mcnemar_is_the_binomial_of_the_pairs_that_differ():
    first = np.array([True] * 9 + [False] * 11)
    second = np.array([True] * 1 + [False] * 19)
    assert mcnemar(first, second) == pytest.approx(2 * 0.5**8)  # 8 of 8 on one side
    assert mcnemar(first, first) == 1
    assert mcnemar(first, second) == mcnemar(second, first)


def test_wilcoxon_leaves_out_what_is_missing():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=30), rng.normal(size=30) + 1
    expected = stats.wilcoxon(a, b).pvalue
    assert wilcoxon(np.r_[a, NAN], np.r_[b, 3.0]) == pytest.approx(expected)
    assert wilcoxon(a, a) == 1
    assert np.isnan(wilcoxon([NAN], [1.0]))


def test_terciles_name_their_bounds():
    labels = terciles(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, NAN]), unit=" px")
    assert labels[0] == "below 2.67 px"
    assert labels[2] == "2.67 to 4.33 px"
    assert labels[5] == "from 4.33 px"
    assert labels[6] == ""
    assert terciles(np.array([NAN])) == [""]
