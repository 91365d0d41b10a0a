"""The converter against numpy, on a model written by hand in the format."""

import base64
import json

import numpy as np
import onnxruntime
import pytest

from benchmarks.tfjs import convert, read_weights
from camouflage.errors import SettingError


def text(value: str) -> dict:
    return {"s": base64.b64encode(value.encode()).decode()}


def ints(*values: int) -> dict:
    return {"list": {"i": [str(v) for v in values]}}


def node(name, op, *inputs, **attr):
    return {"name": name, "op": op, "input": list(inputs), "attr": attr}


def placeholder(*shape):
    dims = [{"size": str(size)} for size in shape]
    return node("x", "Placeholder", shape={"shape": {"dim": dims}})


def save(folder, nodes, weights):
    manifest, data = [], b""
    for name, values in weights.items():
        manifest.append({"name": name, "shape": list(values.shape), "dtype": str(values.dtype)})
        data += values.tobytes()
        nodes.append(node(name, "Const"))
    stored = {
        "modelTopology": {"node": nodes},
        "weightsManifest": [{"paths": ["w.bin"], "weights": manifest}],
    }
    (folder / "w.bin").write_bytes(data)
    path = folder / "m.json"
    path.write_text(json.dumps(stored))
    return path


def run(path, x):
    session = onnxruntime.InferenceSession(convert(path).SerializeToString())
    return session.run(None, {"x": x})[0]


@pytest.fixture(name="rng")
def _rng():
    return np.random.default_rng(0)


def test_a_convolution_with_bias_and_activation(tmp_path, rng):
    kernel = rng.normal(size=(1, 1, 3, 4)).astype(np.float32)
    bias = rng.normal(size=4).astype(np.float32)
    fused = {"list": {"s": [text("BiasAdd")["s"], text("Relu")["s"]]}}
    conv = node(
        "y", "_FusedConv2D", "x", "k", "b", strides=ints(1, 2, 2, 1), padding=text("VALID"),
        fused_ops=fused,
    )  # fmt: skip
    x = rng.normal(size=(1, 4, 4, 3)).astype(np.float32)
    path = save(tmp_path, [conv, placeholder(-1, 4, 4, 3)], {"k": kernel, "b": bias})
    expected = np.maximum(x[:, ::2, ::2] @ kernel[0, 0] + bias, 0)
    assert run(path, x) == pytest.approx(expected, abs=1e-5)


def test_a_depthwise_convolution_keeps_its_channels_apart(tmp_path, rng):
    kernel = rng.normal(size=(2, 2, 3, 1)).astype(np.float32)
    conv = node(
        "y", "DepthwiseConv2dNative", "x", "k", strides=ints(1, 1, 1, 1), padding=text("VALID")
    )
    x = rng.normal(size=(1, 2, 2, 3)).astype(np.float32)
    path = save(tmp_path, [conv, placeholder(-1, 2, 2, 3)], {"k": kernel})
    assert run(path, x)[0, 0, 0] == pytest.approx((x[0] * kernel[..., 0]).sum((0, 1)), abs=1e-5)


def test_the_end_of_an_embedding(tmp_path, rng):
    """Squeeze, then x / sqrt(max(sum x^2, e)), as MobileFaceNet ends."""
    nodes = [
        node("s", "Squeeze", "x", squeeze_dims=ints(1, 2)),
        node("q", "Square", "s"),
        node("t", "Sum", "q", "axis", keep_dims={"b": True}),
        node("m", "Maximum", "t", "e"),
        node("r", "Rsqrt", "m"),
        node("y", "Mul", "s", "r"),
        placeholder(-1, 1, 1, 5),
    ]
    weights = {"axis": np.array([1], np.int32), "e": np.array(1e-10, np.float32)}
    x = rng.normal(size=(2, 1, 1, 5)).astype(np.float32)
    flat = x.reshape(2, 5)
    expected = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    assert run(save(tmp_path, nodes, weights), x) == pytest.approx(expected, abs=1e-5)


def test_pads_means_and_sums_in_any_order_of_the_nodes(tmp_path, rng):
    nodes = [
        node("y", "AddV2", "mean", "one"),
        node("mean", "Mean", "pad", "axes", keep_dims={"b": False}),
        node("pad", "Pad", "x", "pads"),
        placeholder(-1, 2, 2, 1),
    ]
    weights = {
        "pads": np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32),
        "axes": np.array([1, 2], np.int32),
        "one": np.array(1, np.float32),
    }
    x = rng.normal(size=(1, 2, 2, 1)).astype(np.float32)
    assert run(save(tmp_path, nodes, weights), x).ravel() == pytest.approx(x.sum() / 16 + 1)


def test_stored_in_half_or_eight_bits(tmp_path):
    half = np.array([1.5, -2], np.float16)
    small = np.array([0, 128, 255], np.uint8)
    (tmp_path / "w.bin").write_bytes(half.tobytes() + small.tobytes())
    manifest = [
        {
            "paths": ["w.bin"],
            "weights": [
                {
                    "name": "h", "shape": [2], "dtype": "float32",
                    "quantization": {"dtype": "float16"},
                },
                {
                    "name": "q", "shape": [3], "dtype": "float32",
                    "quantization": {"dtype": "uint8", "scale": 0.5, "min": -10.0},
                },
            ],
        }
    ]  # fmt: skip
    found = read_weights(tmp_path, manifest)
    assert found["h"].tolist() == [1.5, -2]
    assert found["q"].tolist() == [-10.0, 54.0, 117.5]
    (tmp_path / "w.bin").write_bytes(half.tobytes() + small.tobytes() + b"x")
    with pytest.raises(SettingError, match="bytes of weights"):
        read_weights(tmp_path, manifest)


def test_an_unknown_operation_is_an_error(tmp_path):
    with pytest.raises(SettingError, match="LRN"):
        convert(save(tmp_path, [node("y", "LRN", "x"), placeholder(-1, 2, 2, 1)], {}))
