"""Recipes: complete, strict, and the same hash for the same settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from camouflage.errors import SettingError
from camouflage.recipe import (
    METHODS,
    BaseRecipe,
    BaseRung,
    LightRecipe,
    LightRung,
    Recipe,
    preset_names,
)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_comes_back(name: str) -> None:
    recipe = Recipe.load(name)
    assert Recipe.parse(recipe.dump()) == recipe
    assert Recipe.parse(recipe.dump()).sha256 == recipe.sha256


@pytest.mark.parametrize("name", ["fused.yaml"])
def test_recipes_of_benchmarks_load(name: str) -> None:
    folder = Path(__file__).parents[1] / "configs/benchmarks"
    assert Recipe.load(folder / name).method == "base"
    recipes = {p.name for p in folder.glob("*.yaml") if "method:" in p.read_text()}
    assert recipes == {"fused.yaml"}, "list all of them here"


def test_mini_is_there() -> None:
    assert "mini" in preset_names()
    assert Recipe.load("mini").model == "mini"


KEYS = [
    *(("mini", key) for key in BaseRecipe.model_fields),
    *(("mini-light", key) for key in LightRecipe.model_fields),
]


@pytest.mark.parametrize(("preset", "key"), KEYS)
def test_a_missing_key_is_an_error(preset: str, key: str) -> None:
    values = yaml.safe_load(Recipe.load(preset).dump())
    del values[key]
    with pytest.raises(SettingError, match=key):
        Recipe.parse(yaml.safe_dump(values))


@pytest.mark.parametrize("preset", ["mini", "mini-light"])
def test_an_unknown_key_is_an_error(preset: str) -> None:
    with pytest.raises(SettingError, match="anonymisation_scale"):
        Recipe.parse(Recipe.load(preset).dump() + "anonymisation_scale: 2\n")


def test_the_method_says_which_settings_there_are() -> None:
    kinds = {"mini": BaseRecipe, "mini-fast": BaseRecipe, "sd15": BaseRecipe}
    kinds |= {"mini-light": LightRecipe, "sd15-light": LightRecipe}
    rungs = {BaseRecipe: BaseRung, LightRecipe: LightRung}
    for name in preset_names():
        recipe = Recipe.load(name)
        assert type(recipe) is kinds[name] is METHODS[recipe.method]
        assert {type(rung) for rung in recipe.ladder} == {rungs[type(recipe)]}


@pytest.mark.parametrize("method", ["Light", "", None, 3, ["light"], {"light": 1}, True])
def test_a_method_that_there_is_not_is_an_error(method: object) -> None:
    values = yaml.safe_load(Recipe.load("mini-light").dump()) | {"method": method}
    with pytest.raises(SettingError, match="method: expected one of base, light"):
        Recipe.parse(yaml.safe_dump(values))


OWN = [
    *(("mini-light", key) for key in set(BaseRecipe.model_fields) - set(LightRecipe.model_fields)),
    *(("mini", key) for key in set(LightRecipe.model_fields) - set(BaseRecipe.model_fields)),
]


@pytest.mark.parametrize(("preset", "key"), sorted(OWN))
def test_a_setting_of_the_other_method_is_an_error(preset: str, key: str) -> None:
    other = Recipe.load("mini" if preset == "mini-light" else "mini-light")
    value = yaml.safe_load(other.dump())[key]
    with pytest.raises(SettingError, match=key):
        Recipe.parse(Recipe.load(preset).dump() + yaml.safe_dump({key: value}))
    with pytest.raises(SettingError, match=key):
        Recipe.load(preset).changed({key: value})


@pytest.mark.parametrize("preset", ["mini", "mini-light"])
def test_another_method_alone_makes_no_recipe_of_it(preset: str) -> None:
    recipe = Recipe.load(preset)
    other = "light" if preset == "mini" else "base"
    with pytest.raises(SettingError, match="method"):
        recipe.changed({"method": other})
    values = yaml.safe_load(recipe.dump()) | {"method": other}
    with pytest.raises(SettingError):
        Recipe.parse(yaml.safe_dump(values))


def test_a_rung_of_the_other_method_is_an_error() -> None:
    with pytest.raises(SettingError, match="ladder"):
        Recipe.load("mini").changed({"ladder": [{"strength": 0.0, "original_share": 0.0}]})
    with pytest.raises(SettingError, match="ladder"):
        Recipe.load("mini-light").changed({"ladder": [{"strength": 0, "anonymization_scale": 0}]})


@pytest.mark.parametrize("preset", ["mini", "mini-light"])
def test_a_change_keeps_the_kind(preset: str) -> None:
    recipe = Recipe.load(preset)
    changed = recipe.changed({"steps": 20})
    assert type(changed) is type(recipe)
    assert [type(rung) for rung in changed.ladder] == [type(rung) for rung in recipe.ladder]
    assert changed.method == recipe.method


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("guidance_scale", -0.1),
        ("guidance_scale", float("inf")),
        ("image_prompt_scale", -1.0),
        ("adapter_scale", float("nan")),
        ("adapter_steps", "last"),
        ("original_share", 1.01),
        ("original_share", -0.01),
        ("attributes_of", "fake"),
        ("swap_alignment", "none"),
        ("swap_blend", "none"),
        ("swap_threshold", 2.1),
        ("shape_jitter", 0.4),
        ("strength", 0.0),
        ("ladder", []),
        ("ladder", [{"strength": 0.0}]),
        ("ladder", [{"strength": 0.0, "original_share": 0.1}]),
        ("ladder", [{"strength": -0.1, "original_share": 0.0}]),
        ("on_refusal", "copy"),
    ],
)
def test_wrong_values_of_light(key: str, value: object) -> None:
    with pytest.raises(SettingError, match=key):
        Recipe.load("mini-light").changed({key: value})


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
        ("control_end", 0.0),
        ("control_every", 0),
        ("fused_controls", 1),
        ("guidance_start", 1.0),
        ("guidance_end", 0.0),
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


def test_an_interval_of_guidance_is_not_empty() -> None:
    recipe = Recipe.load("mini").changed({"guidance_end": 0.5})
    with pytest.raises(SettingError, match="must be below guidance_end"):
        recipe.changed({"guidance_start": 0.5})


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"control_end": 0.06}, "control_end"),
        ({"guidance_start": 0.45, "guidance_end": 0.55}, "guidance_start and guidance_end"),
        ({"control_end": 0.1, "strength": 0.5}, "control_end"),
    ],
)
def test_a_window_without_a_step_is_an_error(changes: dict, key: str) -> None:
    """Every rung of the ladder must have one, or it would escalate in vain."""
    with pytest.raises(SettingError, match=f"{key}: none of"):
        Recipe.load("mini").changed(changes)


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
