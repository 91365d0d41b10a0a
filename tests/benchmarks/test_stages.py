"""The clock of the benchmarks, and that its pictures have a face."""

import time

import pytest

from benchmarks.stages import (
    large_photo,
    median_seconds,
    model_seconds,
    portrait,
    side_by_side,
    stage_seconds,
    table,
)
from camouflage.anonymizer import Anonymizer
from camouflage.recipe import Recipe


def test_the_first_call_does_not_count():
    waits = iter([0.5, 0.0, 0.02, 0.04])
    assert 0.02 <= median_seconds(lambda: time.sleep(next(waits)), runs=3) < 0.4


def test_the_pictures_have_the_sizes_they_are_named_for():
    assert portrait().shape == (640, 640, 3)
    assert large_photo().shape == (3000, 4000, 3)


@pytest.fixture(scope="module", name="anonymizer")
def _anonymizer():
    recipe = Recipe.load("mini").changed(
        {"model": "tiny", "upscaler": None, "steps": 2, "strength": 1.0}
    )
    return Anonymizer.from_recipe(recipe)


def test_every_figure_is_measured(anonymizer):
    seconds = model_seconds(anonymizer, runs=1)
    assert len(seconds) == 3
    stages = stage_seconds(anonymizer, runs=1)
    total = stages.pop("12 MP, all but the model")
    assert total == pytest.approx(sum(stages.values()))
    assert {name.removeprefix("12 MP, ") for name in stages} == {
        "read",
        "detect",
        "annotate",
        "compose",
        "audit",
        "encode",
    }
    assert all(value > 0 for value in [*seconds.values(), *stages.values()])


def test_two_recipes_side_by_side(anonymizer):
    found = side_by_side(anonymizer, anonymizer, names=("a", "b"), runs=1)
    assert len(found) == 6
    for what in ("one face", "a face of 8 in a batch"):
        assert found[f"b / a, {what}"] == pytest.approx(found[f"b, {what}"] / found[f"a, {what}"])


def test_a_table_has_a_line_a_figure():
    assert table({"a": 1.0, "b": 0.1234}).splitlines()[2:] == ["| a | 1.000 |", "| b | 0.123 |"]
