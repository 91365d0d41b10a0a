"""The shipped mini-light: it is whole, it hides, and its sums and its pool are its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut

from camouflage import Anonymizer, LightPipeline
from camouflage.annotators.attributes import CELEBA_ATTRIBUTES
from camouflage.errors import SettingError, WeightsError
from camouflage.pipelines.light_encoder import sha256_of
from camouflage.pipelines.mini_light import mini_light_pipeline
from camouflage.swap import FacePool
from camouflage.weights import mini_light_folder, weights_of
from training.label_attributes import LIVE


@pytest.fixture(scope="module")
def pipe() -> LightPipeline:
    made = LightPipeline.from_pretrained("mini-light")
    made.set_progress_bar_config(disable=True)
    return made


def test_it_is_small_enough_and_its_pool_is_of_its_encoder(pipe):
    folder = mini_light_folder()
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    assert sum(sizes) < 20e6
    assert max(sizes) < 16e6
    assert pipe.pool.encoder_sha256 == sha256_of(folder / "image_encoder")
    assert len(pipe.pool) == 1202


def test_the_live_attributes_are_those_that_its_card_names(pipe):
    assert set(pipe.attribute_net.config["live"]) == set(LIVE)
    card = (mini_light_folder() / "README.md").read_text(encoding="utf-8")
    named = {name for name in CELEBA_ATTRIBUTES if name in card.split("The others are 0")[0]}
    assert named == set(LIVE)


def test_a_pool_of_another_encoder_is_refused(pipe, tmp_path):
    """Of the same width, but its distances would mean nothing."""
    folder = shutil.copytree(mini_light_folder() / "pool", tmp_path / "pool")
    told = json.loads((folder / "pool.json").read_text())
    told["encoder_sha256"] = "0" * 64
    (folder / "pool.json").write_text(json.dumps(told))
    other, own = FacePool.load(folder), pipe.pool
    with pytest.raises(SettingError, match="another encoder's"):
        pipe.pool = other
    assert pipe.pool is own


def test_a_photograph_comes_out_as_somebody_else():
    result = Anonymizer.from_recipe("mini-light")(astronaut(), seed=7)
    assert result.state == "passed"
    assert result.faces[0].attempts[-1].distance > 0.6
    assert result.faces[0].attempts[-1].anonymization_scale is None
    assert np.array_equal(result.pixels[300:], astronaut()[300:])


def test_a_picture_alone_is_enough(pipe):
    """Faces are found, swapped and redrawn; a crop of the astronaut's head, 128 px."""
    crop = np.ascontiguousarray(astronaut()[30:222:1, 130:322:1])
    crop = crop[::1, ::1][:192, :192]
    image = pipe(crop, output_type="np").images[0]
    assert image.shape == (192, 192, 3)
    assert np.abs(image * 255 - crop).mean() > 3


def test_changed_weights_and_changed_faces_are_refused(tmp_path: Path):
    folder = tmp_path / "light"
    shutil.copytree(mini_light_folder(), folder)
    shutil.copy(folder / "pool/faces/00001.webp", folder / "pool/faces/00000.webp")
    pool = mini_light_pipeline(folder=folder).pool
    assert pool is not None
    with pytest.raises(SettingError, match="not the picture"):
        pool.face(0)
    record = folder / "pool/pool.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "encoder_name": "x"}))
    with pytest.raises(WeightsError, match=r"pool\.json: damaged"):
        mini_light_pipeline(folder=folder)


def test_the_manifest_knows_both_its_parts():
    assert weights_of("mini-light") != weights_of("mini")
    assert len(weights_of("mini-light")) == 64
