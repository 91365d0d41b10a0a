"""The table is whole, and says what is not known."""

from __future__ import annotations

import re

import pytest

from camouflage.errors import SettingError
from camouflage.weights import CONTROLS, GROUPS, TABLE, entries_of
from camouflage.weights.architecture import NEEDS

NAMES = {
    "realistic-vision-5.1", "stable-diffusion-1.5", "sd-vae-ft-mse", "controlnet-depth",
    "controlnet-normals", "controlnet-segmentation", "controlnet-pose", "controlnet-lineart",
    "annotator-depth", "annotator-normals", "annotator-segmentation", "annotator-pose",
    "detector-person", "annotator-openpose", "annotator-lineart", "captioner-blip",
    "captioner-blip2", "tokenizer-clip", "farl", "attributes-facer",
}  # fmt: skip


def test_names_on_which_others_rely() -> None:
    assert set(TABLE) == NAMES
    assert all(entry.name == name for name, entry in TABLE.items())


@pytest.mark.parametrize("entry", TABLE.values(), ids=TABLE)
def test_an_entry_is_whole(entry) -> None:
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry.repository)
    assert entry.revision is None or re.fullmatch(r"[0-9a-f]{40}", entry.revision)
    assert entry.needs in NEEDS
    assert entry.licence
    assert entry.use
    assert entry.size_bytes >= sum(file.size_bytes or 0 for file in entry.files if file.required)
    for file in entry.files:
        assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)


def test_every_pickle_has_a_hash_and_becomes_safetensors() -> None:
    """One that is fetched by hand may have none: its hash must be given to convert it."""
    for entry in TABLE.values():
        for file in entry.files:
            is_pickle = file.name.endswith((".pt", ".pth", ".bin", ".ckpt"))
            assert is_pickle == bool(file.becomes)
            assert not is_pickle or file.becomes.endswith(".safetensors")
            assert not is_pickle or file.sha256 or file.address


def test_openpose_is_marked_as_non_commercial() -> None:
    assert TABLE["annotator-openpose"].commercial is False
    assert "NON-COMMERCIAL" in TABLE["annotator-openpose"].use
    assert "annotator-openpose" not in {entry.name for entry in entries_of(GROUPS)}


def test_groups_name_entries() -> None:
    assert {name for names in GROUPS.values() for name in names} <= NAMES
    assert GROUPS["sd15"][2:] == tuple(f"controlnet-{name}" for name in CONTROLS)
    assert [entry.name for entry in entries_of(["sd15", "controlnet-pose"])] == [*GROUPS["sd15"]]
    with pytest.raises(SettingError, match="nonesuch"):
        entries_of(["nonesuch"])


def test_patterns_name_split_weights_and_no_other_variant() -> None:
    patterns = TABLE["realistic-vision-5.1"].patterns
    assert "unet/diffusion_pytorch_model.safetensors.index.json" in patterns
    assert "unet/diffusion_pytorch_model-?????-of-?????.safetensors" in patterns
    assert not any("fp16" in pattern or pattern.endswith(".bin") for pattern in patterns)
