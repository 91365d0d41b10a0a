"""The recogniser's network gives what dlib gives."""

import dlib
import numpy as np
import pytest
import torch
from skimage.data import astronaut

from camouflage.audit import Recogniser
from camouflage.audit.network import DlibNetwork
from camouflage.audit.recogniser import CHIP_PX
from camouflage.errors import SettingError, WeightsError
from camouflage.weights import DLIB_RECOGNISER


@pytest.fixture(scope="module")
def chips() -> np.ndarray:
    """A face, the scene around it, noise and black, uint8 (4, 150, 150, 3)."""
    face = astronaut()[30:180, 150:300]
    scene = astronaut()[300:450, 200:350]
    noise = np.random.default_rng(0).integers(0, 256, face.shape).astype(np.uint8)
    return np.stack([face, scene, noise, np.zeros_like(face)])


def test_embeddings_are_those_of_dlib(chips: np.ndarray) -> None:
    theirs = dlib.face_recognition_model_v1(str(DLIB_RECOGNISER.path()))
    expected = np.array(theirs.compute_face_descriptor(list(chips)))
    recogniser = Recogniser()
    ours = np.stack([recogniser.embed_chip(chip) for chip in chips])
    assert np.ptp(expected, axis=0).max() > 0.1
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)


def test_a_chip_of_another_size_or_type_is_refused(chips: np.ndarray) -> None:
    with pytest.raises(SettingError, match=f"expected uint8 \\({CHIP_PX}, {CHIP_PX}, 3\\)"):
        Recogniser().embed_chip(chips[0, ::2])
    with pytest.raises(SettingError, match="got float32"):
        Recogniser().embed_chip(chips[0].astype(np.float32))


@pytest.mark.parametrize("kind", [b"con_4", b"affine_", b"fc_2"])
def test_a_file_of_another_network_is_refused(tmp_path, kind: bytes) -> None:
    content = DLIB_RECOGNISER.path().read_bytes()
    (tmp_path / "other.dat").write_bytes(content.replace(kind, b"x" * len(kind), 1))
    with pytest.raises(WeightsError, match=r"other\.dat: expected 29 convolutions"):
        DlibNetwork.load(tmp_path / "other.dat")


def test_a_file_cut_short_is_refused(tmp_path) -> None:
    content = DLIB_RECOGNISER.path().read_bytes()
    (tmp_path / "short.dat").write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match="expected"):
        DlibNetwork.load(tmp_path / "short.dat")


def test_it_is_not_trained() -> None:
    network = DlibNetwork.load(DLIB_RECOGNISER.path())
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert network(torch.zeros(2, 3, CHIP_PX, CHIP_PX)).shape == (2, 128)


def test_a_file_that_ends_within_a_layer_is_said_to(tmp_path):
    whole = DLIB_RECOGNISER.path().read_bytes()
    at = whole.find(b"con_4") + len(b"con_4")
    for more in (0, 1, 5, 7, 12):
        cut = tmp_path / "cut.dat"
        cut.write_bytes(whole[: at + more])
        with pytest.raises(WeightsError, match=r"ends within a layer|expected"):
            DlibNetwork.load(cut)
