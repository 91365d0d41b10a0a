"""What a step of the fused net learns, and what becomes of a checkpoint."""

from pathlib import Path

import pytest
import torch

import training.export
from camouflage.adapters.fused import fused_condition, read_fused_weights
from camouflage.pipelines.base import BasePipeline
from camouflage.pipelines.tiny import CONTROLS, tiny_pipeline
from training.fused import FusedModule, relative_errors

SIDE = 32


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline")
    tiny_pipeline().save_pretrained(folder)
    return str(folder)


@pytest.fixture(name="batch")
def _batch():
    generator = torch.Generator().manual_seed(1)
    maps = torch.randint(0, 256, (3, 4, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    pixels = torch.rand(4, 3, SIDE, SIDE, generator=generator) * 2 - 1
    return {"pixels": pixels, **dict(zip(CONTROLS, maps, strict=True))}


def both(module, batch):
    t = torch.tensor([10, 300, 600, 900])
    z_t, context = module.noised(batch, t, torch.Generator().manual_seed(0))
    return z_t, context, t, *module.both(batch, z_t, context, t)


def flat(residuals):
    return [*residuals[0], residuals[1]]


@torch.no_grad()
def test_the_shared_embeddings_change_nothing(tmp_path, batch):
    """Student and teachers give what stock calls of theirs give, whatever their channel order."""
    pipe = tiny_pipeline()
    pipe.controlnet.nets[1].register_to_config(controlnet_conditioning_channel_order="bgr")
    pipe.save_pretrained(tmp_path)
    weights = {CONTROLS[0]: 0.5, CONTROLS[1]: 1.0, CONTROLS[2]: 1.5}
    module = FusedModule(str(tmp_path), control_weights=weights)
    z_t, context, t, given, wanted = both(module, batch)
    maps = {name: batch[name].float() / 255 for name in CONTROLS}

    def stock(net, condition, weight):
        return flat(net(z_t, t, context, condition, conditioning_scale=weight, return_dict=False))

    each = [stock(net, maps[n], weights[n]) for n, net in module.teachers.items()]
    expected = [sum(level) for level in zip(*each, strict=True)]
    # 1e-4: sums of float32 in another order
    torch.testing.assert_close(flat(wanted), expected, atol=1e-4, rtol=1e-4)
    expected = stock(module.student, fused_condition(list(maps.values())), 1.0)
    torch.testing.assert_close(flat(given), expected, atol=1e-4, rtol=1e-4)


def test_exactly_the_student_learns_but_for_the_start_of_its_embedding(folder, batch):
    module = FusedModule(folder)
    *_, given, wanted = both(module, batch)
    torch.stack(relative_errors(given, wanted)).mean().backward()
    without = {n for n, p in module.named_parameters() if p.grad is None}
    assert all("controlnet_cond_embedding" in name for name in without)
    assert any("blocks" in name for name in without)
    assert not any("conv_out" in name for name in without)
    assert all(p.grad is None for net in module.teachers.values() for p in net.parameters())
    assert all(name.startswith("student.") for name in module.state_dict())


def test_it_learns(folder, batch):
    module = FusedModule(folder)
    learning = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learning, 3e-3)
    before = module.validation_errors(batch, 0)
    for _ in range(60):
        *_, given, wanted = both(module, batch)
        optimizer.zero_grad()
        torch.stack(relative_errors(given, wanted)).mean().backward()
        optimizer.step()
    after = module.validation_errors(batch, 0)
    assert after["residuals"] < 0.5 * before["residuals"]
    assert after["output"] < before["output"]


def test_the_teachers_themselves_have_no_error(folder, batch):
    *_, wanted = both(FusedModule(folder), batch)
    assert float(torch.stack(relative_errors(wanted, wanted)).max()) == 0
    none = ([torch.zeros_like(level) for level in wanted[0]], torch.zeros_like(wanted[1]))
    torch.testing.assert_close(
        torch.stack(relative_errors(none, wanted)), torch.ones(len(wanted[0]) + 1)
    )


def test_controls_of_weight_0_are_no_part_of_it(folder):
    module = FusedModule(folder, control_weights={CONTROLS[1]: 0.0})
    assert list(module.control_weights) == [CONTROLS[0], CONTROLS[2]]
    assert module.student.config["conditioning_channels"] == 6


def test_an_unknown_control_is_refused(folder):
    with pytest.raises(ValueError, match="unknown control"):
        FusedModule(folder, control_weights={"depth": 1.0})


def saved(module: FusedModule, path: Path) -> Path:
    state = {
        "state_dict": module.state_dict(),
        "hyper_parameters": dict(module.hparams),
        "global_step": 7,
    }
    module.on_save_checkpoint(state)
    torch.save(state, path)
    return path


def test_a_checkpoint_of_other_nets_or_weights_is_refused(folder, tmp_path):
    state: dict = {}
    FusedModule(folder).on_save_checkpoint(state)
    with pytest.raises(ValueError, match="another control_weights"):
        FusedModule(folder, control_weights={CONTROLS[0]: 0.5}).on_load_checkpoint(state)
    tiny_pipeline(seed=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="another teachers_sha256"):
        FusedModule(str(tmp_path)).on_load_checkpoint(state)


@pytest.mark.parametrize("whole", [False, True])
def test_the_export_is_the_student(folder, tmp_path, whole):
    module = FusedModule(folder)
    checkpoint = saved(module, tmp_path / "last.ckpt")
    training.export.fused(
        checkpoint, output=tmp_path / "out", whole=whole, dtype="float32", max_shard_size="5GB"
    )
    assert (tmp_path / "out" / "SHA256SUMS").is_file()
    if whole:
        pipe = BasePipeline.from_pretrained(tmp_path / "out")
        assert pipe.config["fused_weights"] == module.control_weights
        nets = [pipe.fused_controlnet]
    else:
        nets = []
    exported = tmp_path / "out" / ("fused_controlnet" if whole else "")
    found = read_fused_weights(exported, CONTROLS)
    assert list(found.items()) == list(module.control_weights.items())
    nets.append(FusedModule(folder, weights=str(exported)).student)
    expected = module.student.state_dict()
    for net in nets:
        assert all(torch.equal(value, expected[name]) for name, value in net.state_dict().items())
    texts = [path.read_text() for path in (tmp_path / "out").rglob("*.json")]
    assert not any(str(tmp_path.parent) in text for text in texts), "a path of this machine"
    card = tmp_path / "out" / ("fused_controlnet/README.md" if whole else "README.md")
    assert "samples | 7, 0" in card.read_text()


def test_training_goes_on_from_an_export_of_the_same_sum_only(folder, tmp_path, batch):
    module = FusedModule(folder)
    with torch.no_grad():
        for parameter in module.student.parameters():
            parameter.mul_(1.1)
    training.export.fused(
        saved(module, tmp_path / "last.ckpt"),
        output=tmp_path / "out",
        whole=False,
        dtype="float32",
        max_shard_size="5GB",
    )
    again = FusedModule(folder, weights=str(tmp_path / "out"))
    embedding = again.student.controlnet_cond_embedding
    own = FusedModule(folder).student.controlnet_cond_embedding
    assert torch.equal(embedding.conv_in.weight, own.conv_in.weight), "the teachers' own"
    learned = module.student.controlnet_cond_embedding.conv_out.weight
    assert torch.equal(embedding.conv_out.weight, learned)
    with pytest.raises(ValueError, match="stands for the weights"):
        FusedModule(folder, {CONTROLS[0]: 0.5}, weights=str(tmp_path / "out"))
