"""What a training step of CAMOUFLaGE-Light learns, of what size it is, and what is dropped."""

import copy
from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DConditionModel

from camouflage.adapters.attribute_adapter import attribute_adapter
from camouflage.adapters.image_prompt import (
    attach_image_prompt,
    image_attentions_of,
    image_tokens,
    resampler_of,
)
from camouflage.annotators.image_encoder import penultimate_of
from training.light import Drops, LightModule
from training.losses import denoising_loss

PARTS = {"resampler", "attention", "adapter"}


@pytest.fixture(name="make")
def _make(sd15_folders, workplace):
    """On a small Stable Diffusion 1.5 with all of its 16 layers of cross-attention."""

    def make(**settings) -> LightModule:
        torch.manual_seed(0)
        base, encoder = sd15_folders / "realistic-vision-5.1", workplace / "runs" / "farl"
        sizes = {"resampler_width": 64, "adapter_blocks": 1, "gradient_checkpointing": False}
        return LightModule(str(base), str(encoder), **(sizes | settings))

    return make


@pytest.fixture(name="batch")
def _batch():
    generator = torch.Generator().manual_seed(1)
    return {
        "z_0": torch.randn(4, 4, 8, 8, generator=generator),
        "encoder_pixels": torch.randn(4, 3, 32, 32, generator=generator),
        "maps": torch.rand(4, 41, 8, 8, generator=generator),
        "caption": ["a woman", "", "a man", "two people"],
    }


NONE = torch.zeros(4, dtype=torch.bool)


def output_of(module: LightModule, batch: dict, image=NONE, text=NONE, **more) -> torch.Tensor:
    noise = torch.randn(batch["z_0"].shape, generator=torch.Generator().manual_seed(2))
    return module.predict(batch, torch.tensor([10, 300, 600, 900]), noise, image, text, **more)[0]


def loss_of(module: LightModule, batch: dict) -> torch.Tensor:
    noise = torch.randn(batch["z_0"].shape, generator=torch.Generator().manual_seed(2))
    t = torch.tensor([10, 300, 600, 900])
    output, abar = module.predict(batch, t, noise, NONE, NONE)
    return denoising_loss(output, noise, batch["z_0"], abar, kind=module.kind)


def frozen_state(module: LightModule) -> dict[str, torch.Tensor]:
    """Every tensor of UNet, image encoder, text encoder and autoencoder that must not learn."""
    learning = {p.data_ptr() for p in module.parameters()}
    return {
        f"{place}.{name}": value.clone()
        for place, part in enumerate(module.frozen)
        for name, value in part.state_dict().items()
        if value.data_ptr() not in learning
    }


def test_a_step_changes_exactly_three_parts(make, batch, workplace):
    module = make(autoencoder=str(workplace / "runs" / "base" / "vae"))
    trained = {name: p.clone() for name, p in module.named_parameters()}
    assert {name.split(".")[0] for name in trained} == PARTS
    assert sum("to_k_ip" in name or "to_v_ip" in name for name in trained) == 2 * 16
    frozen = frozen_state(module)
    assert {name.split(".")[0] for name in frozen} == {"0", "1", "2", "3"}
    loss_of(module, batch).backward()
    assert all(p.grad is not None for p in module.parameters()), "DDP waits for each"
    for part in module.frozen:
        others = [p for p in part.parameters() if not any(p is q for q in module.parameters())]
        assert not any(p.requires_grad or p.grad is not None for p in others)
    module._trainer = SimpleNamespace(estimated_stepping_batches=10, precision="32-true")
    optimizer = module.configure_optimizers()["optimizer"]
    (group,) = optimizer.param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in module.parameters()}
    assert (group["lr"], group["weight_decay"]) == (1e-4, 1e-2)
    optimizer.step()
    assert not [n for n, p in module.named_parameters() if torch.equal(p, trained[n])]
    after = frozen_state(module)
    assert after.keys() == frozen.keys()
    assert not [name for name, value in after.items() if not torch.equal(value, frozen[name])]


def test_what_learns_is_what_the_unet_has(make, batch):
    """One object: a step of the optimizer shows in the prediction."""
    module = make()
    assert module.resampler is resampler_of(module.unet)
    assert list(module.attention) == list(image_attentions_of(module.unet).values())
    before = output_of(module, batch).detach()
    for part in PARTS:
        kept = copy.deepcopy(getattr(module, part).state_dict())
        with torch.no_grad():
            for parameter in getattr(module, part).parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        assert not torch.allclose(output_of(module, batch), before, atol=1e-3), part
        getattr(module, part).load_state_dict(kept)
    assert torch.equal(output_of(module, batch), before)


def test_the_checkpoint_holds_the_three_parts_only(make):
    module = make()
    assert {name.split(".")[0] for name in module.state_dict()} == PARTS
    twin = copy.deepcopy(module)
    assert twin.unet is module.unet, "the average shares what is frozen"
    assert twin.resampler is not module.resampler


def test_the_rate_does_not_fall(make):
    module = make()
    module._trainer = SimpleNamespace(estimated_stepping_batches=20, precision="32-true")
    found = module.configure_optimizers()
    schedule = found["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(20):
        rates += schedule.get_last_lr()
        found["optimizer"].step()
        schedule.step()
    assert rates == [1e-4] * 20


def test_the_size_of_the_real_one():
    """29.5 M, 19.2 M in 16 layers, 76.9 M (with a first convolution of 3x3); nothing is made."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
        attach_image_prompt(unet, embed_dim=768)
        adapter = attribute_adapter(unet)
    attentions = image_attentions_of(unet)
    assert len(attentions) == 16
    parts = (resampler_of(unet), torch.nn.ModuleList(attentions.values()), adapter)
    millions = [sum(p.numel() for p in part.parameters()) / 1e6 for part in parts]
    assert [round(m, 1) for m in millions] == [29.5, 19.2, 76.9]
    assert round(sum(millions)) == 126


def test_the_shares_of_what_is_dropped():
    """Three exclusive twentieths; a map is never dropped."""
    torch.manual_seed(0)
    image, text = Drops().drawn(400_000)
    cases = {"image": image & ~text, "text": text & ~image, "both": image & text}
    for name, rows in cases.items():
        assert float(rows.float().mean()) == pytest.approx(0.05, abs=0.002), name
    assert float((image | text).float().mean()) == pytest.approx(0.15, abs=0.003)
    image, text = Drops(image=0.0, text=0.0, both=1.0).drawn(100)
    assert image.all()
    assert text.all()
    image, text = Drops(image=0.0, text=0.0, both=0.0).drawn(100)
    assert not (image | text).any()


@torch.no_grad()
def test_a_dropped_image_is_the_tokens_of_zeros(make, batch):
    module = make().eval()
    seen = []
    module.resampler.register_forward_hook(lambda net, given, tokens: seen.append(tokens))
    output_of(module, batch, image=torch.tensor([True, False, True, False]))
    (tokens,) = seen
    encoder, unet = module.encoder, module.unet
    nothing = image_tokens(unet, penultimate_of(encoder, torch.zeros(1, 3, 32, 32)))[0]
    shown = image_tokens(unet, penultimate_of(encoder, batch["encoder_pixels"]))
    for row, expected in enumerate((nothing, shown[1], nothing, shown[3])):
        torch.testing.assert_close(tokens[row], expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(shown[1], nothing, atol=1e-3)


@torch.no_grad()
def test_a_dropped_text_is_the_null_text(make, batch):
    module = make().eval()
    contexts = module.contexts(batch, torch.tensor([True, False, False, False]))
    null = module.null_context[0]
    same = [bool(torch.allclose(row, null, atol=1e-5)) for row in contexts]
    assert same == [True, True, False, False], "the second caption is empty"
    untold = {name: value for name, value in batch.items() if name != "caption"}
    assert torch.equal(module.contexts(untold, NONE), module.null_context.expand(4, -1, -1))


@torch.no_grad()
def test_each_condition_shows_in_its_own_row_only(make, batch):
    module = make().eval()
    plain = output_of(module, batch)
    first = torch.tensor([True, False, False, False])
    other = batch["maps"].clone()
    other[0] = 0
    changed = {
        "image": output_of(module, batch, image=first),
        "text": output_of(module, batch, text=first),
        "map": output_of(module, batch | {"maps": other}),
    }
    for name, output in changed.items():
        assert not torch.allclose(output[0], plain[0], atol=1e-5), name
        torch.testing.assert_close(output[1:], plain[1:], atol=1e-4, rtol=1e-4)
    both = {"image": first, "text": first}
    without = [output_of(module, b, **both) for b in (batch, batch | {"maps": other})]
    assert not torch.allclose(without[0][0], without[1][0], atol=1e-5), "the map is not dropped"
    assert not torch.allclose(output_of(module, batch, adapted=False), plain, atol=1e-4)


@torch.no_grad()
def test_a_training_step_drops_what_was_drawn(make, batch, monkeypatch):
    module = make(drops=Drops(image=0.0, text=0.0, both=1.0))
    module._trainer = SimpleNamespace(world_size=2)
    asked, true = [], module.predict
    monkeypatch.setattr(module, "log", lambda *given: None)
    monkeypatch.setattr(module, "predict", lambda *given: asked.append(given[3:]) or true(*given))
    module.training_step(batch, 0)
    assert [rows.tolist() for rows in asked[0]] == [[True] * 4] * 2
    assert module.samples == 8


@torch.no_grad()
def test_the_measures_of_two_models_are_of_the_same_noise(make, batch):
    module = make().eval()
    found = module.validation_losses(batch, 0)
    assert set(found) == {"all", "no_image", "no_adapter", "neither"}
    assert found == module.validation_losses(batch, 0) != module.validation_losses(batch, 1)
    assert len({float(value) for value in found.values()}) == 4


def test_gradient_checkpointing_changes_no_gradient(make, batch):
    grads = []
    for checkpointing in (False, True):
        module = make(gradient_checkpointing=checkpointing)
        assert module.unet.is_gradient_checkpointing is checkpointing
        loss_of(module, batch).backward()
        grads.append([p.grad for p in module.parameters()])
    for plain, again in zip(*grads, strict=True):
        torch.testing.assert_close(plain, again)


def test_what_is_frozen_is_held_in_the_precision_of_the_trainer(make):
    module = make()
    for precision, dtype in (("bf16-mixed", torch.bfloat16), ("32-true", torch.float32)):
        module._trainer = SimpleNamespace(precision=precision)
        module.setup("fit")
        learning = {id(p) for p in module.parameters()}
        for part in module.frozen:
            assert {p.dtype for p in part.parameters() if id(p) not in learning} <= {dtype}
        assert {p.dtype for p in module.parameters()} == {torch.float32}
