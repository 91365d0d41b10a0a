"""A tiny pipeline, two pictures, their maps."""

import numpy as np
import pytest
import torch

from camouflage.pipelines import BasePipeline
from camouflage.pipelines.tiny import CONTROLS, tiny_pipeline


@pytest.fixture(scope="session")
def shared_pipe():
    pipe = tiny_pipeline()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def pipe(shared_pipe):
    """The one pipeline of the session, its scheduler given back as it was."""
    scheduler = shared_pipe.scheduler
    yield shared_pipe
    shared_pipe.scheduler = scheduler


@pytest.fixture
def without_identity(pipe):
    """The same parts without the identity net (set to None, diffusers would forget to save it)."""
    other = BasePipeline(
        **{**pipe.components, "identity_controlnet": None}, controls=pipe.config["controls"]
    )
    other.set_progress_bar_config(disable=True)
    return other


@pytest.fixture(scope="session")
def pictures():
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(2)]


@pytest.fixture(scope="session")
def maps():
    random = np.random.default_rng(1)
    return {
        name: [random.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(2)]
        for name in CONTROLS
    }


@pytest.fixture
def redraw(pipe, pictures, maps):
    """Latents of a short run from fixed seeds; any argument may be changed."""

    def run(pipe=pipe, image=pictures, seeds=(0, 1), **changed):
        settings = {
            "control_images": maps,
            "anonymization_scale": 1.25,
            "strength": 0.75,
            "num_inference_steps": 4,
            "output_type": "latent",
            "generator": [torch.Generator().manual_seed(seed) for seed in seeds],
        }
        return pipe(image, **{**settings, **changed}).images

    return run


@pytest.fixture
def calls():
    """``calls(module)`` is a list that gets the batch size of each call of ``module``."""
    handles = []

    def watch(module):
        seen = []
        handles.append(
            module.register_forward_hook(
                lambda module, args, kwargs, output: seen.append(
                    len(args[0] if args else kwargs["sample"])
                ),
                with_kwargs=True,
            )
        )
        return seen

    yield watch
    for handle in handles:
        handle.remove()
