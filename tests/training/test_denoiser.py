"""What a training step of the denoiser learns, and on which rows."""

import pytest
import torch

from camouflage.mini.autoencoder import SmallAutoencoder
from training.denoiser import DenoiserModule, Mixture, add_rows
from training.losses import velocity_loss

CHANNELS, SIDE = 4, 16
UNET = {
    "sample_size": 2,
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "block_out_channels": [8, 8],
    "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "cross_attention_dim": 8,
    "attention_head_dim": 4,
    "norm_num_groups": 4,
}
CONTROL = {
    "in_channels": CHANNELS,
    "block_out_channels": [8, 8],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "mid_block_type": "UNetMidBlock2D",
    "cross_attention_dim": 8,
    "attention_head_dim": 4,
    "norm_num_groups": 4,
    "conditioning_embedding_out_channels": [4, 4, 4, 4],
}
PARTS = ("unet", "controls", "identity")


@pytest.fixture(scope="module", name="autoencoder")
def _autoencoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vae")
    SmallAutoencoder(CHANNELS, channels=(4, 4), layers=1).save_pretrained(folder)
    return str(folder)


@pytest.fixture(name="module_of")
def _module_of(autoencoder):
    def make(**settings) -> DenoiserModule:
        torch.manual_seed(0)
        mixture = settings.pop("mixture", Mixture(keep={"landmarks": 0.8, "colour": 0.5}))
        return DenoiserModule(autoencoder, UNET, CONTROL, mixture, **settings)

    return make


def batch_of(n: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(n, 3, SIDE, SIDE, generator=generator) * 2 - 1
    maps = torch.randint(0, 256, (2, n, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    return {"pixels": pixels, "landmarks": maps[0], "colour": maps[1]}


def a_step(module: DenoiserModule, rows: dict[str, list[bool]]) -> torch.Tensor:
    """One step of the module's own optimizer on fixed noise; the loss before it."""
    learning = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learning, 0.1)
    loss = loss_of(module, rows)
    loss.backward()
    optimizer.step()
    return loss.detach()


def loss_of(module: DenoiserModule, rows: dict[str, list[bool]]) -> torch.Tensor:
    batch = batch_of()
    z_0 = module.encode(batch["pixels"])
    noise = torch.randn(z_0.shape, generator=torch.Generator().manual_seed(2))
    t = torch.tensor([10, 300, 600, 900])
    return module.loss(z_0, batch, t, noise, {n: torch.tensor(on) for n, on in rows.items()})


ALL_ON = {"landmarks": [True] * 4, "colour": [True] * 4, "identity": [True] * 4}
ALL_OFF = {"landmarks": [False] * 4, "colour": [False] * 4, "identity": [False] * 4}


@pytest.mark.parametrize(
    "trainable",
    [("identity",), ("controls",), ("unet",), ("controls", "identity"), PARTS],
    ids="+".join,
)
def test_exactly_the_parts_named_learn(module_of, trainable):
    module = module_of(trainable=trainable)
    before = {n: p.detach().clone() for n, p in module.named_parameters()}
    a_step(module, ALL_ON)
    changed = {
        name.split(".")[0]
        for name, p in module.named_parameters()
        if not torch.equal(p, before[name])
    }
    expected = set(trainable) | ({"context"} if "unet" in trainable else set())
    assert changed == expected


def test_the_optimizer_has_what_learns_and_nothing_else(module_of):
    class Trainer:
        estimated_stepping_batches = 100
        precision = "32-true"

    module = module_of(trainable=["identity"])
    module._trainer = Trainer()
    optimizer = module.configure_optimizers()["optimizer"]
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in module.identity.parameters()}


def test_the_autoencoder_is_frozen_and_not_in_checkpoints(module_of):
    module = module_of()
    frozen = {id(p) for p in module.frozen[0].parameters()}
    assert frozen
    assert not frozen & {id(p) for p in module.parameters()}
    assert not any(p.requires_grad for p in module.frozen[0].parameters())
    assert not [k for k in module.state_dict() if k.split(".")[0] not in {*PARTS, "context"}]


def test_fresh_control_nets_add_nothing(module_of):
    """Zero convolutions: training starts from the UNet alone."""
    module = module_of().eval()
    assert torch.equal(loss_of(module, ALL_ON), loss_of(module, ALL_OFF))


def test_a_net_that_is_off_is_not_read(module_of):
    module = module_of().eval()
    for net in (*module.controls.values(), module.identity):
        torch.nn.init.constant_(net.controlnet_mid_block.weight, float("nan"))
    assert torch.isfinite(loss_of(module, ALL_OFF))
    assert loss_of(module, {**ALL_OFF, "colour": [False, False, True, False]}).isnan()


def test_a_net_steers_its_own_rows_only():
    residuals = [torch.ones(2, 3)], 10 * torch.ones(2, 5)
    down, mid = add_rows(None, None, residuals, torch.tensor([0, 2]), 4)
    assert down[0].tolist() == [[1] * 3, [0] * 3, [1] * 3, [0] * 3]
    assert mid[:, 0].tolist() == [10, 0, 10, 0]
    down, mid = add_rows(down, mid, residuals, torch.tensor([2, 3]), 4)
    assert down[0][:, 0].tolist() == [1, 0, 2, 1]
    assert mid[:, 0].tolist() == [10, 0, 20, 10]


def test_the_mixture_draws_rows_as_stated(module_of):
    """Always as many of a batch as the fractions say, at random places, each net on its own."""
    keep = {"landmarks": 0.8, "colour": 0.25}
    module = module_of(mixture=Mixture(keep=keep, identity=0.125, nothing=0.05))
    torch.manual_seed(0)
    draws = [module.draw_rows(48) for _ in range(1000)]
    rows = {name: torch.stack([d[name] for d in draws]) for name in draws[0]}
    assert all(row.dtype == torch.bool for row in rows.values())
    # 6 of 48 have the identity alone, 2 nothing, 40 may have each positive net
    counts = {"identity": 6, "landmarks": 32, "colour": 10}
    for name, count in counts.items():
        assert (rows[name].sum(1) == count).all()
        # four standard errors of a mean over 1000 draws
        by_place = rows[name].float().mean(0)
        assert by_place.sub(count / 48).abs().max() < 4 * 0.5 / 1000**0.5
    assert not (rows["identity"] & (rows["landmarks"] | rows["colour"])).any()
    both = (rows["landmarks"] & rows["colour"]).float().sum(1).mean()
    assert both == pytest.approx(32 * 10 / 40, abs=0.2), "each net by its own chance"


def test_the_loss_is_zero_for_the_true_velocity():
    z_0, noise = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    abar = torch.tensor([0.9, 0.2]).view(-1, 1, 1, 1)
    truth = abar.sqrt() * noise - (1 - abar).sqrt() * z_0
    assert velocity_loss(truth, noise, z_0, abar) == 0
    assert velocity_loss(truth + 2, noise, z_0, abar) == pytest.approx(4, rel=1e-5)
    # The way back that diffusers' schedulers take: z_0 = sqrt(abar) z_t - sqrt(1 - abar) v
    z_t = abar.sqrt() * z_0 + (1 - abar).sqrt() * noise
    torch.testing.assert_close(abar.sqrt() * z_t - (1 - abar).sqrt() * truth, z_0)
