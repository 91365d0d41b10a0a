"""One net for several: its embedding is the sum of theirs from the start."""

import pytest
import torch
from torch import nn

from camouflage.adapters import embed, fused_controlnet
from camouflage.adapters.fused import fused_condition, read_fused_weights, write_fused_weights
from camouflage.errors import WeightsError
from camouflage.pipelines.tiny import tiny_controlnet, tiny_unet


@pytest.fixture
def nets():
    torch.manual_seed(0)
    unet = tiny_unet()
    found = [tiny_controlnet(unet) for _ in range(3)]
    for net in found:
        for layer in net.controlnet_cond_embedding.modules():
            if isinstance(layer, nn.Conv2d):  # biases are nothing at first
                nn.init.normal_(layer.bias, std=0.1)
    return found


@torch.no_grad()
def test_its_embedding_is_the_sum_of_theirs(nets):
    nets[1].register_to_config(controlnet_conditioning_channel_order="bgr")
    maps = [torch.rand(2, 3, 32, 32) for _ in nets]
    each = [
        # as the net itself takes it: `embed` turns the result, which a bgr net turns back
        embed(net, one).flip(1) if index == 1 else embed(net, one)
        for index, (net, one) in enumerate(zip(nets, maps, strict=True))
    ]
    fused = fused_controlnet(nets)
    # 1e-5: another blocking of the convolutions
    torch.testing.assert_close(
        embed(fused, fused_condition(maps)), torch.stack(each).sum(0), atol=1e-5, rtol=1e-5
    )


@torch.no_grad()
def test_the_rest_is_the_first_net(nets):
    fused, first = fused_controlnet(nets).state_dict(), nets[0].state_dict()
    assert fused.keys() == first.keys()
    for name, value in first.items():
        if not name.startswith("controlnet_cond_embedding."):
            assert torch.equal(fused[name], value), name
    assert fused_controlnet(nets).config["conditioning_channels"] == 9


def test_weights_are_written_and_read(tmp_path):
    weights = {"pose": 1.0, "depth": 0.5}
    write_fused_weights(tmp_path, weights)
    controls = ("pose", "normals", "depth")
    assert list(read_fused_weights(tmp_path, controls).items()) == list(weights.items())
    for others in (("depth", "pose"), ("pose",)):
        with pytest.raises(WeightsError, match="in this order; expected"):
            read_fused_weights(tmp_path, others)


@pytest.mark.parametrize("text", [None, "no json", "[1]", '{"pose": "much"}'])
def test_weights_that_cannot_be_read(tmp_path, text):
    if text is not None:
        (tmp_path / "fused_weights.json").write_text(text)
    with pytest.raises(WeightsError, match=r"expected fused_weights\.json"):
        read_fused_weights(tmp_path, ("pose",))
