"""The benchmark of the true size, by small weights: its methods run and its figures are counted."""

from __future__ import annotations

import pytest
import torch

from benchmarks.full_size import CONTROLS, Job, Timed, method_table, stock_pipeline
from camouflage import BasePipeline
from camouflage.adapters import identity_controlnet


@pytest.fixture
def pipeline(sd15_models) -> BasePipeline:
    sd15_models()
    made = BasePipeline.from_pretrained("sd15")
    made.register_modules(identity_controlnet=identity_controlnet(made.unet))
    made.set_progress_bar_config(disable=True)
    return made


def test_every_method_is_timed_in_turn(pipeline: BasePipeline) -> None:
    job = Job(side=64, batch=2, steps=3)
    methods = {
        "stock": job.stock(stock_pipeline(pipeline), pipeline),
        "ours": job.ours(pipeline),
        "ours, analytic": job.ours(pipeline, identity="analytic"),
        "ours, controls off": job.ours(pipeline, control_end=dict.fromkeys(CONTROLS, 0.5)),
    }
    cpu = torch.device("cpu")
    lines = method_table(methods, cpu, torch.float32, batch=2, runs=1, warm=0).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:6]] == list(methods)
    flops = [count_flops(call) for call in methods.values()]
    # Embeddings of maps are made once a picture here, not once a step: of small nets that counts.
    assert 0.8 < flops[1] / flops[0] <= 1.0, "the same work as stock and its additions, or less"
    assert flops[2] < flops[1] * 0.9, "no identity net, one row less"
    assert flops[3] < flops[1] * 0.9, "no ControlNets in the last steps"


def count_flops(call) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counted:
        call()
    return counted.get_total_flops()


def test_the_parts_of_a_run_are_timed(pipeline: BasePipeline) -> None:
    timed = Timed(device=torch.device("cpu"))
    with timed.parts(pipeline):
        Job(side=64, batch=1, steps=2).ours(pipeline)()
    assert set(timed.seconds) == {
        "text encoder", "UNet", "identity ControlNet", "encoder", "decoder", "five ControlNets",
    }  # fmt: skip
    assert min(timed.seconds.values()) > 0
    assert not pipeline.unet._forward_hooks
