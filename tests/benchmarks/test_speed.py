"""The table of speed, by small weights: its methods run and its figures are counted."""

from __future__ import annotations

import pytest
import torch

from benchmarks.speed import FEW, Job, Method, compiled, held, measured_peak, table, take_turns
from benchmarks.true_size import stock_pipeline
from camouflage import BasePipeline
from camouflage.adapters import fused_controlnet, identity_controlnet
from camouflage.placing import compile_networks

from ..small_light import small_light

CPU = torch.device("cpu")


@pytest.fixture
def pipeline(sd15_models) -> BasePipeline:
    sd15_models()
    made = BasePipeline.from_pretrained("sd15")
    fused = fused_controlnet(made.controlnet.nets)
    made.register_modules(
        identity_controlnet=identity_controlnet(made.unet), fused_controlnet=fused
    )
    made.register_to_config(fused_weights=made.config["default_weights"])
    made.set_progress_bar_config(disable=True)
    return made


def test_every_method_is_timed_and_counted(pipeline: BasePipeline) -> None:
    job = Job(side=64, steps=14)  # 10 of them are run
    stock = job.stock(stock_pipeline(pipeline), pipeline)
    ours, two = (job.ours(pipeline, "(b) ours", batch=batch) for batch in (1, 2))
    levers = {one.name.removeprefix("(c) "): one for one in job.levers(pipeline)}
    methods = [stock, ours, two, *levers.values()]
    take_turns(methods, CPU, runs=1, warm=0)
    assert all(len(one.seconds) == 1 and one.gib > 0 for one in methods)
    assert [one.steps for one in (stock, ours, levers[f"{FEW} steps"])] == [10, 10, FEW]
    # Embeddings of maps are made once a picture here, not once a step: of small nets that counts.
    assert 0.8 < ours.flops / stock.flops <= 1.0, "the same work as stock and its additions"
    assert two.flops == pytest.approx(2 * ours.flops, rel=0.01)
    assert all(one.flops < 0.97 * ours.flops for one in levers.values()), "each is less work"
    assert levers["all of these but the first"].flops == min(
        one.flops for name, one in levers.items() if name != "closed-form identity"
    )
    few = {one.name for one in Job(side=64, steps=4).levers(pipeline)}
    assert not any("steps" in name and "2nd" not in name for name in few), "4 are few already"
    lines = table(methods, 1.0).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == [one.name for one in methods]
    assert lines[2].split("|")[6].strip() == "1.00x"


def test_light_has_a_row_with_its_adapter() -> None:
    pipeline, seen = small_light(), []
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False)
    pipeline.adapter.register_forward_hook(lambda *_: seen.append(1))
    method = Job(side=64, steps=4).light(pipeline)
    take_turns([method], CPU, runs=1, warm=0)
    assert method.flops > 0
    assert method.steps == 3
    assert seen, "a picture without a face would be measured without it"


def test_compiled_networks_give_the_same(pipeline: BasePipeline) -> None:
    job = Job(side=64, steps=4)
    before = job.ours(pipeline, "", output_type="latent").call().images
    calls = []

    def backend(graph, inputs):
        calls.append(graph)
        return graph.forward

    compile_networks(pipeline, backend=backend)
    after = job.ours(pipeline, "", output_type="latent").call().images
    graphs = len(calls)
    assert graphs >= 3, "the UNet, the ControlNets, which share one, the identity's"
    torch.testing.assert_close(after, before, atol=1e-3, rtol=1e-3)
    job.ours(pipeline, "", anonymization_scale=1.4, control_weights={"pose": 0.7}).call()
    assert len(calls) == graphs, "another scale or weight compiles nothing anew"
    for side in (128, 192, 256, 320):  # more shapes than torch allows one function by itself
        before = len(calls)
        Job(side=side, steps=2).ours(pipeline, "").call()
    assert len(calls) > before or graphs < before, "no shape is left to the slow way"


def test_a_compiled_row_is_the_same_work() -> None:
    method = Method(name="(b) ours", call=lambda: None, pictures=4, steps=2, flops=7)
    (again,) = compiled([method], lambda name: f"{name}, compiled")
    assert (again.name, again.flops, again.seconds) == ("(b) ours, compiled", 7, [])
    assert again.call is method.call


def test_memory_is_told(pipeline: BasePipeline) -> None:
    assert " GiB, " in held(pipeline, Job(side=64, steps=2), CPU, low_memory=False)


def test_the_peak_is_a_rate() -> None:
    assert measured_peak(torch.float32, CPU) > 0


def test_figures_of_a_row() -> None:
    method = Method(name="a", call=lambda: None, pictures=4, steps=2, seconds=[3.0, 2.0, 1.0])
    assert (method.median, method.rate) == (2.0, 2.0)
