"""What a training step of the identity ControlNet learns, and of what size it is."""

import copy
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from camouflage.adapters.identity import identity_controlnet
from camouflage.denoise.latents import encode, pixels_from_pictures
from camouflage.errors import WeightsError
from camouflage.pipelines.tiny import with_noise
from camouflage.weights import check_folder_is
from training.frozen import load_autoencoder, load_unet, null_text
from training.identity import IdentityModule
from training.losses import denoising_loss
from training.report_identity import noisiest_first, reconstruct
from training.shards import read_latents


@pytest.fixture(name="z_0")
def _z_0(workplace):
    rows = [row["z_0"].float() for _, row in read_latents(workplace / "runs/latents-512", "train")]
    return torch.stack(rows[:4])


def loss_of(module: IdentityModule, z_0: torch.Tensor) -> torch.Tensor:
    noise = torch.randn(z_0.shape, generator=torch.Generator().manual_seed(2))
    output, _, abar = module.predict(z_0, torch.tensor([10, 300, 600, 900]), noise)
    return denoising_loss(output, noise, z_0, abar, kind=module.kind)


def test_only_the_controlnet_is_a_child(module_of):
    """The UNet is in no checkpoint, no average, no bucket of DDP and no optimizer."""
    module = module_of()
    assert {name.split(".")[0] for name in module.state_dict()} == {"identity"}
    assert {name.split(".")[0] for name, _ in module.named_parameters()} == {"identity"}
    assert not any(p.requires_grad for p in module.unet.parameters())
    assert copy.deepcopy(module).unet is module.unet, "the average shares it"
    assert copy.deepcopy(module).identity is not module.identity


def test_exactly_the_controlnet_learns(module_of, z_0):
    module = module_of()
    before = {n: p.clone() for n, p in module.unet.named_parameters()}
    loss_of(module, z_0).backward()
    assert all(p.grad is not None for p in module.identity.parameters()), "DDP waits for each"
    module._trainer = SimpleNamespace(estimated_stepping_batches=10, precision="32-true")
    optimizer = module.configure_optimizers()["optimizer"]
    group = optimizer.param_groups[0]
    assert {id(p) for p in group["params"]} == {id(p) for p in module.parameters()}
    assert group["weight_decay"] == 1e-2
    optimizer.step()
    assert all(torch.equal(p, before[n]) for n, p in module.unet.named_parameters())


def test_a_fresh_net_is_the_untrained_start(module_of, z_0):
    measures = module_of().validation_measures(z_0, 0)
    assert measures["loss"] == measures["untrained"]


def test_the_measures_of_two_models_are_of_the_same_noise(module_of, z_0):
    first, second = (module_of().validation_measures(z_0, index) for index in (0, 0))
    assert first == second
    assert module_of().validation_measures(z_0, 1) != first


def test_gradient_checkpointing_changes_no_gradient(module_of, z_0):
    grads = []
    for checkpointing in (False, True):
        module = module_of(gradient_checkpointing=checkpointing)
        assert module.unet.is_gradient_checkpointing is checkpointing
        torch.manual_seed(1)
        with_noise(module.identity)
        loss_of(module, z_0).backward()
        grads.append([p.grad for p in module.identity.parameters()])
    for plain, again in zip(*grads, strict=True):
        torch.testing.assert_close(plain, again)


def test_the_frozen_unet_is_held_in_the_precision_of_the_trainer(module_of):
    module = module_of()
    for precision, dtype in (("bf16-mixed", torch.bfloat16), ("32-true", torch.float32)):
        module._trainer = SimpleNamespace(precision=precision)
        module.setup("fit")
        assert module.unet.dtype == dtype
    assert module.identity.dtype == torch.float32


def test_the_context_is_the_null_text_of_the_pipeline(module_of, pipeline_of):
    pipe = pipeline_of(module_of().identity)
    assert torch.equal(module_of().context, pipe.null_text(1))


@torch.no_grad()
def test_the_report_draws_what_the_pipeline_draws(module_of, pipeline_of, base):
    """a_s = 0, strength 1: the same latents, to float32's sums in another order."""
    module = module_of().eval()
    with_noise(module.identity)
    pipe = pipeline_of(module.identity)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    settings = {"anonymization_scale": 0.0, "num_inference_steps": 4, "output_type": "latent"}
    expected = pipe(picture, generator=torch.Generator().manual_seed(5), **settings).images
    z_0 = encode(pipe.vae, pixels_from_pictures([picture]))
    generators = [torch.Generator().manual_seed(5)]
    found = reconstruct(module, noisiest_first(base), z_0, generators, 4)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_sampler_of_the_base_does_not_matter(base, tmp_path):
    """Realistic Vision's folder names DEIS, whose settings DPM-Solver refuses."""
    shutil.copytree(base / "scheduler", tmp_path / "scheduler")
    path = tmp_path / "scheduler" / "scheduler_config.json"
    deis = {"_class_name": "DEISMultistepScheduler", "algorithm_type": "deis"}
    path.write_text(json.dumps(json.loads(path.read_text()) | deis | {"solver_type": "logrho"}))
    found, expected = noisiest_first(tmp_path), noisiest_first(base)
    for scheduler in (found, expected):
        scheduler.set_timesteps(4)
    assert torch.equal(found.timesteps, expected.timesteps)
    assert torch.equal(found.sigmas, expected.sigmas)
    assert found.config["algorithm_type"] == expected.config["algorithm_type"] == "dpmsolver++"


def test_weights_that_are_missing_are_refused(new_base, tmp_path):
    new_base(tmp_path)
    load_autoencoder(str(tmp_path / "vae"))
    for part, load in (
        ("vae", lambda: load_autoencoder(str(tmp_path / "vae"))),
        ("unet", lambda: load_unet(tmp_path)),
        ("text_encoder", lambda: null_text(tmp_path)),
    ):
        (file,) = (tmp_path / part).glob("*.safetensors")
        state = load_file(file)
        state.pop(max(state))
        save_file(state, file, metadata={"format": "pt"})
        with pytest.raises(WeightsError, match=rf"{part}: .*missing: "):
            load()


def test_a_checkpoint_of_another_unet_is_refused(module_of, new_base, tmp_path):
    checkpoint: dict = {}
    module = module_of()
    module.samples = 77
    module.on_save_checkpoint(checkpoint)
    again = module_of()
    again.on_load_checkpoint(checkpoint)
    assert again.samples == 77
    new_base(tmp_path, seed=9)
    with pytest.raises(ValueError, match="another unet_sha256"):
        IdentityModule(str(tmp_path)).on_load_checkpoint(checkpoint)


def test_the_size_of_the_real_one(tmp_path):
    """361.1 M parameters learn, 859.5 M are frozen; nothing is allocated. ``sd15`` takes it."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
        net = identity_controlnet(unet)
    millions = [sum(p.numel() for p in part.parameters()) / 1e6 for part in (net, unet)]
    assert [round(m, 1) for m in millions] == [361.1, 859.5]
    net.save_config(tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").touch()
    check_folder_is("identity", tmp_path, "identity_controlnet")
