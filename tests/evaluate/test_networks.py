"""ONNX networks by their path: what they are fed, and what is refused."""

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from camouflage.errors import SettingError, WeightsError
from camouflage.evaluate.networks import ARCFACE_XY, FaceNetwork, NetworkSettings, load_network
from camouflage.evaluate.recognisers import ClipEncoder, DlibEncoder, OnnxEncoder, load_encoders
from camouflage.subjects.faces import Face

SIDE = 16


def mean_colour(path, *, channels_last=False, depth=3, batch="n"):
    """A network whose embedding is the mean of each channel, and a second output of two scores."""
    shape = [batch, SIDE, SIDE, depth] if channels_last else [batch, depth, SIDE, SIDE]
    axes = [1, 2] if channels_last else [2, 3]
    weight = numpy_helper.from_array(np.eye(depth, 2, dtype=np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=axes, keepdims=0),
            helper.make_node("MatMul", ["mean", "w"], ["scores"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("mean", TensorProto.FLOAT, [batch, depth]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 2]),
        ],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    return path


def settings(path, **more) -> NetworkSettings:
    given = {"name": "n", "model": path, "input_px": SIDE, "alignment": "box", "mean": 0.0}
    return NetworkSettings(**{**given, "std": 1.0, "normalise": False, **more})


def face(x0=20, y0=10, side=32) -> Face:
    points = ARCFACE_XY * side + [x0, y0]
    return Face(box_xyxy=(x0, y0, x0 + side, y0 + side), points_xy=points, score=0.9)


@pytest.fixture(name="picture")
def _picture():
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[10:42, 20:52] = (200, 100, 50)
    return pixels


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("batch", ["n", 1])
def test_colours_arrive_in_their_order(tmp_path, picture, channels_last, batch):
    path = mean_colour(tmp_path / "m.onnx", channels_last=channels_last, batch=batch)
    rows = FaceNetwork(settings(path)).embed(picture, [face(), face()])
    assert rows == pytest.approx(np.tile([200.0, 100.0, 50.0], (2, 1)), abs=8)
    turned = FaceNetwork(settings(path, channels="bgr")).embed(picture, [face()])
    assert turned[0] == pytest.approx([50.0, 100.0, 200.0], abs=8)


def test_mean_std_and_length(tmp_path, picture):
    path = mean_colour(tmp_path / "m.onnx")
    row = FaceNetwork(settings(path, mean=100.0, std=50.0)).embed(picture, [face()])[0]
    assert row == pytest.approx([2.0, 0.0, -1.0], abs=0.15)
    unit = FaceNetwork(settings(path, normalise=True)).embed(picture, [face()])[0]
    assert np.linalg.norm(unit) == pytest.approx(1)


def test_grey_networks(tmp_path, picture):
    path = mean_colour(tmp_path / "m.onnx", depth=1)
    row = FaceNetwork(settings(path, channels="grey")).embed(picture, [face()])[0]
    assert row == pytest.approx([0.299 * 200 + 0.587 * 100 + 0.114 * 50], abs=6)
    with pytest.raises(WeightsError, match="expected an input of 16 px and 3 channels"):
        FaceNetwork(settings(path))


def test_a_margin_shows_the_surroundings(tmp_path, picture):
    path = mean_colour(tmp_path / "m.onnx")
    tight = FaceNetwork(settings(path)).embed(picture, [face()])[0][0]
    wide = FaceNetwork(settings(path, margin=0.5)).embed(picture, [face()])[0][0]
    assert wide == pytest.approx(tight / 4, rel=0.15)


def test_arcface_alignment_puts_the_points_on_the_template(tmp_path):
    path = mean_colour(tmp_path / "m.onnx")
    network = FaceNetwork(settings(path, alignment="arcface"))
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[10:42, 20:52] = np.arange(32, dtype=np.uint8)[None, :, None] * 8
    chip = network.prepare(pixels, face())
    across = chip[0].mean(0)
    assert across[2] < across[8] < across[13], "the chip is the box, as its points say"


def test_readings_of_three_kinds(tmp_path, picture):
    path = mean_colour(tmp_path / "m.onnx")
    said = FaceNetwork(
        settings(
            path,
            std=255.0,
            readings={
                "sex": {"output": "mean", "kind": "probability"},
                "age": {"output": "scores", "kind": "expectation"},
                "mood": {"output": "scores", "kind": "label"},
            },
        )
    ).read(picture, face())
    assert said["sex"] == pytest.approx(200 / 255, abs=0.05)
    assert said["age"] == pytest.approx(100 / 300, abs=0.05)
    assert said["mood"] == 0


def test_what_cannot_be_used_is_refused(tmp_path):
    path = mean_colour(tmp_path / "m.onnx")
    with pytest.raises(WeightsError, match="expected sha256"):
        FaceNetwork(settings(path, sha256="0" * 64))
    with pytest.raises(WeightsError, match="no output other, but mean, scores"):
        FaceNetwork(settings(path, output="other"))
    with pytest.raises(WeightsError, match="expected an input of 32 px"):
        FaceNetwork(settings(path, input_px=32))
    with pytest.raises(WeightsError, match="cannot be read"):
        FaceNetwork(settings(tmp_path / "missing.onnx"))
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match="no ONNX file"):
        FaceNetwork(settings(tmp_path / "bad.onnx"))


def test_a_yaml_file_and_a_model_of_its_own(tmp_path):
    mean_colour(tmp_path / "m.onnx")
    values = {"name": "mine", "model": "m.onnx", "input_px": SIDE, "alignment": "box"}
    (tmp_path / "n.yaml").write_text(yaml.safe_dump(values))
    assert load_network(str(tmp_path / "n.yaml")).name == "mine"
    (tmp_path / "elsewhere").mkdir()
    other = mean_colour(tmp_path / "elsewhere" / "o.onnx")
    assert load_network(f"{tmp_path / 'n.yaml'}={other}").settings.model == other
    (tmp_path / "n.yaml").write_text(yaml.safe_dump({**values, "colour": "red"}))
    with pytest.raises(SettingError, match="colour"):
        load_network(str(tmp_path / "n.yaml"))
    for text in ("m.onnx", "nofamily=m.onnx", str(tmp_path / "missing.yaml")):
        with pytest.raises(SettingError):
            load_network(text)


def test_encoders_by_name(tmp_path):
    path = mean_colour(tmp_path / "m.onnx")
    values = {"name": "mine", "model": "m.onnx", "input_px": SIDE, "alignment": "box"}
    (tmp_path / "n.yaml").write_text(yaml.safe_dump(values))
    found = load_encoders(["dlib", f"{tmp_path / 'n.yaml'}={path}"])
    assert isinstance(found[0], DlibEncoder)
    assert isinstance(found[1], OnnxEncoder)
    assert [e.name for e in found] == ["dlib", "mine"]


def test_clip_looks_at_the_whole_picture(tmp_path, picture):
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        image_size=32, patch_size=8, projection_dim=12,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(tmp_path / "clip")
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(tmp_path / "clip")
    clip = ClipEncoder(str(tmp_path / "clip"))
    rows = clip.embed(picture, [face(), face(0, 0)])
    assert rows.shape == (2, 12)
    assert np.array_equal(rows[0], rows[1])
    assert abs(np.linalg.norm(rows[0]) - 1) > 1e-3, "as in the paper's code, not normalised"
    with pytest.raises(WeightsError):
        ClipEncoder(str(tmp_path / "nothing"))


@pytest.mark.parametrize("name", ["mobileface", "hse", "hse_attributes", "emotion"])
def test_the_benchmark_s_settings_are_valid(name):
    from pathlib import Path

    path = Path(__file__).parents[2] / "configs" / "benchmarks" / f"{name}.yaml"
    NetworkSettings.model_validate(yaml.safe_load(path.read_text()))
