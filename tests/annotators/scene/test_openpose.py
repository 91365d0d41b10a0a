"""controlnet_aux's OpenPose without unpickling: the same networks, settings and drawing."""

import logging

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from camouflage.annotators.scene import openpose
from camouflage.errors import WeightsError

pytest.importorskip("controlnet_aux")


class Tiny(nn.Module):
    """In the place of a network of 30 to 50 million weights; ``block.conv`` as theirs are named."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.part = part
        channels = {"body": 57, "hand": 22, "face": 71}[part]
        conv = nn.Conv2d(3, channels, 8, stride=8)
        if part == "face":
            self.conv = conv
        else:
            self.block = nn.ModuleDict({"conv": conv})

    def forward(self, x):
        out = (self.conv if self.part == "face" else self.block["conv"])(x)
        if self.part == "body":
            return out[:, :38], out[:, 38:]
        return [out] if self.part == "face" else out


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A folder with weights of `Tiny` networks, which are made instead of the real ones."""
    torch.manual_seed(0)
    nets = {part: Tiny(part) for part in openpose.FILES}
    for part, file in openpose.FILES.items():
        state = {name.removeprefix("block."): v for name, v in nets[part].state_dict().items()}
        save_file(state, tmp_path / file)
    monkeypatch.setattr(openpose, "make_network", Tiny)
    return tmp_path, nets


def test_its_estimators_are_those_of_controlnet_aux(tiny, tmp_path, monkeypatch, photo):
    from controlnet_aux.open_pose import body, face, hand

    folder, nets = tiny
    for part, name in (("body", "bodypose_model"), ("hand", "handpose_model"), ("face", "FaceNet")):
        module = {"body": body, "hand": hand, "face": face}[part]
        monkeypatch.setattr(module, name, lambda part=part: Tiny(part))
        published = {n.removeprefix("block."): v for n, v in nets[part].state_dict().items()}
        torch.save(published, tmp_path / f"{part}.pth")
    theirs = (
        body.Body(tmp_path / "body.pth"),
        hand.Hand(tmp_path / "hand.pth"),
        face.Face(tmp_path / "face.pth"),
    )
    ours = openpose.OpenposeAnnotator.from_folder(folder).detector
    picture = photo(64, 64)
    for part, reference in zip(openpose.FILES, theirs, strict=True):
        estimator = getattr(ours, f"{part}_estimation")
        assert vars(estimator).keys() == vars(reference).keys()
        made, expected = estimator(picture), reference(picture)
        for one, other in zip(made, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_maps_have_the_size_of_their_pictures(tiny, photo):
    annotator = openpose.OpenposeAnnotator.from_folder(tiny[0], detect_px=64)
    pictures = [photo(97, 131), photo(64, 64), photo(97, 131)]
    assert [m.shape for m in annotator(pictures)] == [p.shape for p in pictures]
    annotator.to(device="cpu", dtype=torch.bfloat16)  # its code stays in float32
    assert next(annotator.detector.body_estimation.model.parameters()).dtype == torch.float32
    annotator(pictures[1:2])


def test_the_real_networks_names_are_one_block_deep():
    for part in ("body", "hand"):
        names = list(openpose.make_network(part).state_dict())
        assert len({name.partition(".")[2] for name in names}) == len(names)
        assert "conv1_1.weight" in {name.partition(".")[2] for name in names}
    assert "conv1_1.weight" in openpose.make_network("face").state_dict()


def test_weights_that_miss_a_part_are_refused(tiny):
    save_file({"other": torch.zeros(1)}, tiny[0] / openpose.FILES["hand"])
    with pytest.raises(WeightsError):
        openpose.OpenposeAnnotator.from_folder(tiny[0])


def test_the_licence_is_said_once(tiny, caplog):
    openpose._warn_of_licence.cache_clear()
    with caplog.at_level(logging.WARNING):
        openpose.OpenposeAnnotator.from_folder(tiny[0])
        openpose.OpenposeAnnotator.from_folder(tiny[0])
    assert sum("NON-COMMERCIAL" in record.message for record in caplog.records) == 1
