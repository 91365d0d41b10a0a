"""Loading when needed, choices, and what is raised."""

import builtins
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from camouflage import weights
from camouflage.annotators.scene import CONTROLS, SceneAnnotators, lineart, openpose
from camouflage.annotators.scene.depth import DepthAnnotator
from camouflage.annotators.scene.lineart import LineartAnnotator
from camouflage.annotators.scene.segmentation import SegmentationAnnotator
from camouflage.errors import MissingExtra, SettingError, WeightsError
from camouflage.weights.table import TABLE

from .conftest import DETECT_PX


class Folders:
    """``folder_of`` that notes what was asked for."""

    def __init__(self, folder):
        self.folder, self.asked = folder, []

    def __call__(self, entry):
        self.asked.append(entry)
        return self.folder / entry


def test_importing_loads_no_optional_package():
    code = (
        "import sys, camouflage.annotators.scene\n"
        "model = 'transformers.models.dpt.modeling_dpt'\n"
        "heavy = ['controlnet_aux', 'torchvision', 'timm', model]\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_what_is_asked_for_is_loaded_and_only_once(folder, photo):
    folders = Folders(folder)
    scene = SceneAnnotators(folders, detect_px=DETECT_PX)
    assert folders.asked == []
    scene([photo(64, 64)], ["depth"])
    scene([photo(64, 64)], ["depth"])
    assert folders.asked == ["annotator-depth"]
    scene.people([photo(64, 64)])
    scene([photo(64, 64)], ["pose"])  # shares the detector
    assert folders.asked[1:] == ["detector-person", "annotator-pose"]
    scene.person_masks([photo(64, 64)])
    scene([photo(64, 64)], ["segmentation"])
    assert folders.asked[3:] == ["annotator-segmentation"]
    scene.unload()
    scene([photo(64, 64)], ["depth"])
    assert folders.asked[4:] == ["annotator-depth"]


def test_without_a_folder_the_table_of_weights_is_asked(folder, photo, monkeypatch):
    folders = Folders(folder)
    monkeypatch.setattr(weights, "find", folders)
    SceneAnnotators()([photo(64, 64)], ["depth"])
    assert folders.asked == ["annotator-depth"]


def test_a_captioner_is_loaded_once(folder, photo):
    folders = Folders(folder)
    scene = SceneAnnotators(folders)
    first = scene.caption([photo(40, 50), photo(50, 40)])
    assert len(first) == 2
    assert scene.caption([photo(40, 50), photo(50, 40)]) == first
    assert folders.asked == ["captioner-blip"]


def test_blip2_is_not_kept(photo):
    scene = SceneAnnotators(captioner="blip2")
    scene._held["caption"] = lambda pictures: ["a man"] * len(pictures)
    assert scene.caption([photo(40, 50)]) == ["a man"]
    assert scene._held == {}


def test_needed_names_the_entries_that_are_then_loaded(folder, photo):
    folders = Folders(folder)
    scene = SceneAnnotators(folders, detect_px=DETECT_PX)
    needed = scene.needed(CONTROLS, caption=True, people=True)
    assert folders.asked == []
    scene([photo(64, 64)], CONTROLS)
    scene.caption([photo(64, 64)])
    assert needed == sorted(folders.asked)
    assert scene.needed(["lineart"]) == ["annotator-lineart"]
    assert scene.needed(people=True) == ["annotator-segmentation", "detector-person"]
    other = SceneAnnotators(folders, pose="openpose", captioner="blip2")
    assert other.needed(["pose"], caption=True) == ["annotator-openpose", "captioner-blip2"]


def test_every_entry_and_file_is_in_the_table_of_weights():
    for pose in ("vitpose", "openpose"):
        for captioner in ("blip", "blip2"):
            scene = SceneAnnotators(pose=pose, captioner=captioner)
            assert TABLE.keys() >= set(scene.needed(CONTROLS, caption=True, people=True))
    for entry, names in (
        ("annotator-openpose", openpose.FILES.values()),
        ("annotator-lineart", lineart.FILES.values()),
        ("annotator-normals", ["model.safetensors"]),
    ):
        assert {file.local_name for file in TABLE[entry].files} >= set(names)


def test_people_and_masks(scene, photo):
    pictures = [photo(97, 131), photo(64, 64)]
    people, masks = scene.people(pictures), scene.person_masks(pictures)
    for picture, found, mask in zip(pictures, people, masks, strict=True):
        assert mask.shape == picture.shape[:2]
        assert mask.dtype == bool
        scores = [person.score for person in found]
        assert scores == sorted(scores, reverse=True)
        for person in found:
            left, top, right, bottom = person.box_xyxy
            assert 0 <= left < right <= picture.shape[1]
            assert 0 <= top < bottom <= picture.shape[0]


def test_annotators_stay_in_float32(folder, photo):
    """Boxes and maps would be others; only the captioner takes the dtype."""
    scene = SceneAnnotators(folder.joinpath, detect_px=DETECT_PX)
    exact = scene([photo(64, 96)], ["depth"])["depth"][0]
    scene.to(dtype=torch.bfloat16)
    scene.caption([photo(40, 50)])
    assert np.array_equal(scene([photo(64, 96)], ["depth"])["depth"][0], exact)
    assert scene._get("depth").dtype == torch.float32
    assert scene._get("caption").dtype == torch.bfloat16


@pytest.mark.parametrize("frugal", [True, False])
def test_the_frugal_keep_nothing(folder, photo, frugal):
    scene = SceneAnnotators(folder.joinpath, detect_px=DETECT_PX, frugal=frugal)
    scene([photo(64, 96)], ["depth"])
    scene.caption([photo(40, 50)])
    assert sorted(scene._held) == ([] if frugal else ["caption", "depth"])


@pytest.mark.parametrize(
    "choice", [{"pose": "dwpose"}, {"lineart": "thin"}, {"captioner": "git"}], ids=str
)
def test_a_choice_that_there_is_not(choice):
    with pytest.raises(SettingError, match=next(iter(choice))):
        SceneAnnotators(**choice)


def test_an_unknown_map_is_named(scene, photo):
    with pytest.raises(SettingError, match="canny"):
        scene([photo(64, 64)], ["depth", "canny"])
    with pytest.raises(SettingError, match="canny"):
        scene.needed(["canny"])


def test_no_captioner_no_caption(photo):
    scene = SceneAnnotators(captioner=None)
    with pytest.raises(SettingError, match="prompt"):
        scene.caption([photo(64, 64)])
    with pytest.raises(SettingError, match="prompt"):
        scene.needed(caption=True)


@pytest.mark.parametrize("missing", ["controlnet_aux", "torchvision"])
def test_a_missing_package_names_the_extra(monkeypatch, folder, photo, missing):
    for name in [n for n in sys.modules if n.partition(".")[0] in ("controlnet_aux", missing)]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {missing!r}")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setitem(sys.modules, missing, None)
    scene = SceneAnnotators(folder.joinpath)
    for name in ("lineart", "normals"):
        with pytest.raises(MissingExtra, match=r"\[sd\]"):
            scene([photo(64, 64)], [name])


def test_another_architecture_is_refused(folder):
    with pytest.raises(WeightsError, match="expected weights of type dpt, got upernet"):
        DepthAnnotator.from_folder(folder / "annotator-segmentation")


def test_missing_weights_are_refused_not_drawn_at_random(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    at = shutil.copytree(folder / "annotator-segmentation", tmp_path / "annotator-segmentation")
    state = load_file(at / "model.safetensors")
    del state["decode_head.classifier.bias"]
    save_file(state, at / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match="1 weights are not in it"):
        SegmentationAnnotator.from_folder(at)


@pytest.mark.parametrize("damage", ["cut", "gone", "pickle"])
def test_damaged_or_missing_files_are_refused(folder, tmp_path, damage):
    for entry, kind in (("depth", DepthAnnotator), ("lineart", LineartAnnotator)):
        at = shutil.copytree(folder / f"annotator-{entry}", tmp_path / f"annotator-{entry}")
        for file in at.glob("*.safetensors"):
            data = file.read_bytes()
            file.unlink()
            if damage == "cut":
                file.write_bytes(data[: len(data) // 2])
            elif damage == "pickle":
                torch.save({"a": torch.zeros(1)}, at / "pytorch_model.bin")
        with pytest.raises(WeightsError, match=at.name):
            kind.from_folder(at)


def test_a_preparation_that_cannot_be_is_refused(folder, tmp_path):
    at = shutil.copytree(folder / "annotator-depth", tmp_path / "annotator-depth")
    (at / "preprocessor_config.json").write_text(json.dumps({"size": "large"}))
    with pytest.raises(WeightsError, match="preprocessor_config"):
        DepthAnnotator.from_folder(at)
