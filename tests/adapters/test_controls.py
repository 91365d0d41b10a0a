"""ControlNets in a run: the embedding computed once, the part of the run, the way back."""

import pytest
import torch

from camouflage.adapters import Control, embed, embeddings_computed, identity_controlnet
from camouflage.pipelines.tiny import tiny_controlnet, tiny_unet, with_noise


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return tiny_unet()


@pytest.fixture(scope="module")
def net(unet):
    return tiny_controlnet(unet)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("rows", [1, 2])
@torch.no_grad()
def test_precomputed_embedding_equals_the_stock_call(net, order, rows):
    net.register_to_config(controlnet_conditioning_channel_order=order)
    z_t, condition = torch.randn(2 * rows, 4, 8, 8), torch.rand(2, 3, 64, 64)
    context, t = torch.randn(2 * rows, 3, 16), torch.tensor(500)
    down, middle = net(
        z_t, t, context, condition.repeat(rows, 1, 1, 1), conditioning_scale=0.7, return_dict=False
    )
    control = Control(net=net, embedding=embed(net, condition), weight=torch.tensor(0.7))
    with embeddings_computed([net]):
        got_down, got_middle = control.residuals(z_t, t, context)
    # 1e-5: the embedding of 2 pictures in place of 2 * rows, another blocking of the convolution
    torch.testing.assert_close(got_middle, middle, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(list(got_down), list(down), atol=1e-5, rtol=1e-5)
    assert middle.abs().max() > 0.01


def test_embedding_is_back_after_an_exception(net):
    before = net.controlnet_cond_embedding

    def fail():
        with embeddings_computed([net]):
            assert net.controlnet_cond_embedding is not before
            raise RuntimeError("in the loop")

    with pytest.raises(RuntimeError, match="in the loop"):
        fail()
    assert net.controlnet_cond_embedding is before


def test_parameters_are_all_there_after_a_run(net):
    before = list(net.state_dict())
    with embeddings_computed([net]):
        pass
    assert list(net.state_dict()) == before


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0.0, 1.0, [0, 1, 2, 3]),
        (0.0, 0.5, [0, 1]),
        (0.5, 1.0, [2, 3]),
        (0.3, 0.8, [2]),
        (0.0, 0.2, []),
    ],
)
def test_a_net_is_on_in_the_steps_wholly_inside(net, start, end, expected):
    control = Control(
        net=net, embedding=torch.zeros(1), weight=torch.tensor(1.0), start=start, end=end
    )
    assert [step for step in range(4) if control.is_active(step, 4)] == expected


@torch.no_grad()
def test_what_is_kept_is_of_one_text(net):
    """In between the computed steps another text, as beyond an interval's border, is computed."""
    z_t, condition = torch.randn(1, 4, 8, 8), torch.rand(1, 3, 64, 64)
    first, second = torch.randn(1, 3, 16), torch.randn(1, 3, 16)
    control = Control(net=net, embedding=embed(net, condition), weight=torch.tensor(1.0), every=4)
    with embeddings_computed([net]):
        steps = [(0, first), (1, first), (2, second), (3, second)]
        found = [control.residuals(z_t, torch.tensor(9 - n), c, n)[1] for n, c in steps]
    assert found[0] is found[1]
    assert found[2] is found[3]
    assert not torch.allclose(found[1], found[2], atol=1e-4)


@torch.no_grad()
def test_identity_controlnet_takes_latents_and_starts_at_zero(unet):
    net = identity_controlnet(unet)
    z, t, context = torch.randn(1, 4, 6, 6), torch.tensor(10), torch.randn(1, 3, 16)
    down, middle = net(z, t, context, z, return_dict=False)
    assert middle.abs().max() == 0
    assert all(level.abs().max() == 0 for level in down)
    assert with_noise(net)(z, t, context, z, return_dict=False)[1].abs().max() > 0
    assert all(
        torch.equal(value, unet.state_dict()[name])
        for name, value in net.state_dict().items()
        if name.startswith(("down_blocks", "mid_block", "time_embedding", "conv_in"))
    )
