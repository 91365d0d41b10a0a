"""Recipes: complete, strict, and the same hash for the same settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from camouflage.errors import SettingError
from camouflage.recipe import Recipe, preset_names


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_comes_back(name: str) -> None:
    recipe = Recipe.load(name)
    assert Recipe.parse(recipe.dump()) == recipe
    assert Recipe.parse(recipe.dump()).sha256 == recipe.sha256


def test_mini_is_there() -> None:
    assert "mini" in preset_names()
    assert Recipe.load("mini").model == "mini"


@pytest.mark.parametrize("key", Recipe.model_fields)
def test_a_missing_key_is_an_error(key: str) -> None:
    values = yaml.safe_load(Recipe.load("mini").dump())
    del values[key]
    with pytest.raises(SettingError, match=key):
        Recipe.parse(yaml.safe_dump(values))


def test_an_unknown_key_is_an_error() -> None:
    with pytest.raises(SettingError, match="anonymisation_scale"):
        Recipe.parse(Recipe.load("mini").dump() + "anonymisation_scale: 2\n")


def test_a_key_given_twice_is_an_error() -> None:
    with pytest.raises(SettingError, match="steps"):
        Recipe.parse(Recipe.load("mini").dump() + "steps: 3\n")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("anonymization_scale", -0.1),
        ("anonymization_scale", float("nan")),
        ("anonymization_scale", "1.0"),
        ("strength", 0.0),
        ("strength", 1.01),
        ("steps", 0),
        ("steps", 2.5),
        ("steps", True),
        ("identity", "none"),
        ("scope", "everything"),
        ("control_weights", {"lineart": -1.0}),
        ("threshold", 0.0),
        ("ladder", []),
        ("ladder", [{"anonymization_scale": 0.5}]),
        ("ladder", [{"anonymization_scale": 0.5, "strength": 0.0, "seed": 3}]),
        ("ladder", [{"anonymization_scale": -0.5, "strength": 0.0}]),
        ("ladder", 4),
        ("on_refusal", "copy"),
        ("obfuscation", "none"),
        ("control_guidance", -1.0),
        ("on_nobody", "ignore"),
        ("detection_score", 0.0),
        ("face_batch", 0),
        ("max_megapixels", 1000.0),
        ("jpeg_quality", 101),
        ("model", ""),
    ],
)
def test_wrong_values(key: str, value: object) -> None:
    with pytest.raises(SettingError, match=key):
        Recipe.load("mini").changed({key: value})


def test_a_recipe_leaves_a_step() -> None:
    recipe = Recipe.load("mini")
    with pytest.raises(SettingError, match="none of 16 steps"):
        recipe.changed({"steps": 16, "strength": 0.05})
    assert recipe.changed({"steps": 20, "strength": 0.05}).strength == 0.05


def test_a_change_changes_the_hash_and_not_the_original() -> None:
    recipe = Recipe.load("mini")
    changed = recipe.changed({"steps": recipe.steps + 1})
    assert changed.steps == recipe.steps + 1
    assert changed.sha256 != recipe.sha256
    assert recipe.changed({}).sha256 == recipe.sha256
    with pytest.raises(ValidationError):
        recipe.steps = 3  # type: ignore[misc]


def test_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("# a comment\n" + Recipe.load("mini").dump(), encoding="utf-8")
    assert Recipe.load(path).sha256 == Recipe.load("mini").sha256
    for text in ("", "- a\n- b\n", "a: [", "just text"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(SettingError):
            Recipe.load(path)
    with pytest.raises(SettingError, match="mini"):
        Recipe.load("no-such-preset")


def test_yaml_makes_no_objects() -> None:
    with pytest.raises(SettingError):
        Recipe.parse("model: !!python/object/apply:os.getcwd []\n")
