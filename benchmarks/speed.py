"""How fast is a picture, beside stock diffusers, and what does each lever do?

    python -m benchmarks.speed                                      # a GPU: 768 px, bfloat16
    python -m benchmarks.speed --device cpu --side 256 --steps 4 --runs 1 --warm 0
    python -m benchmarks.speed --model mini                         # the shipped model, on a CPU
    python -m benchmarks.speed --device cpu --steps 2 --memory-only

One table, from one process. Of ``sd15`` the networks have their true sizes and random weights:
neither speed nor memory depends on their values. Every method redraws the same pictures by the same
maps; annotators and captioner are not in it.

* (a) ``stock``: diffusers' own image-to-image pipeline with five ControlNets, and what one would
  add to it by hand: at each step a second call of the UNet, with the identity ControlNet. (The
  second call is made in the callback of a step; its result is thrown away, its cost is the same.)
* (b) ``ours``: all rows in one call of the UNet, each embedding once a picture, weights in the
  order channels-last, in batches, and with ``--compile`` (on a GPU always) compiled. Same result.
* (c) levers: each of them ours at batch 1 with one setting changed, and then together. Another
  result: `camouflage evaluate` says what it does to privacy and likeness.

(a) comes first, as its weights have another order, and Light last; the others take turns. TFLOP/s
are of the operations that were counted, and the peak is that of a matrix product here. ``GiB`` is
the most that the GPU held; on a CPU the most that the process held so far.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.true_size import stock_pipeline, true_size_base, true_size_light
from camouflage.evaluate.command import published
from camouflage.pipelines.base import BasePipeline
from camouflage.pipelines.light import LightPipeline
from camouflage.placing import channels_last, compile_networks
from camouflage.windows import steps_run
from camouflage.write import write_bytes

HEADER = """# Speed

Made by the command below, and written over by it. What the rows are: `benchmarks/speed.py`."""
PROMPT = "a photograph of two people in a street"
GIGA = 2**30
STRENGTH = 0.75
FEW = 8
"""Steps that are run with a few-step LoRA that keeps guidance (Hyper-SD, arXiv 2404.13686): fused
into the UNet it costs nothing, so that the steps are all there is to measure."""


@dataclass(kw_only=True)
class Method:
    """A row of the table: what is called, how many pictures and steps that is, what it took."""

    name: str
    call: Callable[[], Any]
    pictures: int
    steps: int
    seconds: list[float] = field(default_factory=list)
    flops: int = 0
    gib: float = 0.0

    @property
    def median(self) -> float:
        """Seconds of a call."""
        return statistics.median(self.seconds)

    @property
    def rate(self) -> float:
        """Pictures a second."""
        return self.pictures / self.median


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every method does: pictures (side, side) with a map of each control."""

    side: int
    steps: int
    strength: float = STRENGTH
    prompt: str | None = PROMPT

    @property
    def steps_run(self) -> int:
        """Of the way from pure noise."""
        return steps_run(self.steps, self.strength)

    def pictures(self, batch: int) -> list[np.ndarray]:
        """uint8 (side, side, 3)."""
        draw = np.random.default_rng(0).integers(0, 256, (batch, self.side, self.side, 3))
        return list(draw.astype(np.uint8))

    def ours(self, pipeline: BasePipeline, name: str, *, batch: int = 1, **changes: Any) -> Method:
        """Our pipeline, with some settings changed."""
        pictures = self.pictures(batch)
        settings: dict[str, Any] = {
            "control_images": dict.fromkeys(pipeline.config["controls"], pictures),
            "prompt": self.prompt,
            "anonymization_scale": 1.25,
            "strength": self.strength,
            "num_inference_steps": self.steps,
            **changes,
        }
        generators = [torch.Generator().manual_seed(i) for i in range(batch)]
        return Method(
            name=name,
            call=lambda: pipeline(pictures, generator=generators, **settings),
            pictures=batch,
            steps=steps_run(settings["num_inference_steps"], self.strength),
        )

    def levers(self, pipeline: BasePipeline) -> list[Method]:
        """Each by itself at batch 1, then all of them but the closed form.

        Those that this job has no room for (few steps of fewer) are left out.
        """
        few = next(n for n in range(1, 1000) if steps_run(n, self.strength) == FEW)
        fewer: dict[str, Any] = {"num_inference_steps": few} if few < self.steps else {}
        interval = {"guidance_start": 0.2, "guidance_end": 0.8}
        end = {"control_end": 0.6}
        changes: dict[str, dict[str, Any]] = {
            "closed-form identity": {"identity": "analytic"},
            **({f"{FEW} steps": fewer} if fewer else {}),
            "guidance from 20 to 80 %": interval,
            "controls to 60 %": end,
            "controls every 2nd step": {"control_every": 2},
        }
        fused = {"fused_controls": True} if pipeline.fused_controlnet is not None else {}
        if fused:
            changes["one fused ControlNet"] = fused
        changes["all of these but the first"] = (
            fewer | interval | end | {"control_every": 2} | fused
        )
        return [self.ours(pipeline, f"(c) {name}", **some) for name, some in changes.items()]

    def stock(self, pipeline: Any, ours: BasePipeline) -> Method:
        """diffusers' own, with the identity's call after each step."""
        pixels = torch.from_numpy(np.stack(self.pictures(1))).permute(0, 3, 1, 2) / 255
        net: Any = ours.identity_controlnet
        weight = next(net.parameters())
        z_0 = torch.randn(1, 4, self.side // 8, self.side // 8).to(weight)
        text: list[Tensor] = []

        @torch.no_grad()
        def second(pipe: Any, step: int, t: Tensor, tensors: dict) -> dict:
            down, mid = net(
                z_0, t, encoder_hidden_states=text[-1], controlnet_cond=z_0, return_dict=False
            )
            pipe.unet(
                z_0, t, encoder_hidden_states=text[-1], return_dict=False,
                down_block_additional_residuals=down, mid_block_additional_residual=mid,
            )  # fmt: skip
            return tensors

        @torch.no_grad()
        def call() -> Any:
            text[:] = [ours.null_text(1)]
            return pipeline(**settings, generator=[torch.Generator()])

        settings: dict[str, Any] = dict(
            prompt=[PROMPT],
            image=pixels,
            control_image=[pixels] * len(ours.config["controls"]),
            controlnet_conditioning_scale=list(ours.config["default_weights"].values()),
            guidance_scale=1.0,
            strength=self.strength,
            num_inference_steps=self.steps,
            callback_on_step_end=second,
        )
        return Method(name="(a) stock", call=call, pictures=1, steps=self.steps_run)

    def light(self, pipeline: LightPipeline) -> Method:
        """CAMOUFLaGE-Light by its own numbers, with one face, which is swapped already."""
        picture = self.pictures(1)[0]
        faces = [[one_face(self.side)]]
        settings = (pipeline.config["default_steps"], pipeline.config["default_strength"])

        def call() -> Any:
            return pipeline(
                picture, faces=faces, swapped_images=picture, generator=torch.Generator()
            )

        return Method(name="(b) Light", call=call, pictures=1, steps=steps_run(*settings))


def one_face(side: int) -> Any:
    """In the middle of a picture (side, side)."""
    from camouflage.annotators.landmarks import MESH_INDICES
    from camouflage.pipelines.light_faces import LightFace
    from camouflage.swap import FaceShape

    five = np.array([[0.4, 0.4], [0.6, 0.4], [0.5, 0.5], [0.42, 0.62], [0.58, 0.62]]) * side
    points = np.random.default_rng(0).uniform(0.35, 0.65, (len(MESH_INDICES), 2)) * side
    box = (0.3 * side, 0.3 * side, 0.7 * side, 0.75 * side)
    return LightFace(box_xyxy=box, shape=FaceShape(five_xy=five, points_xy=points))


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def take_turns(
    methods: Sequence[Method], device: torch.device, *, runs: int, warm: int, count: bool = True
) -> None:
    """Times the methods one after the other, ``warm + runs`` times: a busy machine is so for all.

    ``count``: also count their operations, in a call that is not timed.
    """
    for number in range(warm + runs):
        for method in methods:
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            synchronize(device)
            start = time.perf_counter()
            method.call()
            synchronize(device)
            if number >= warm:
                method.seconds.append(time.perf_counter() - start)
            method.gib = peak_gib(device)
    for method in methods if count else ():
        with FlopCounterMode(display=False) as counted:
            method.call()
        method.flops = counted.get_total_flops()


def measured_peak(dtype: torch.dtype, device: torch.device) -> float:
    """TFLOP/s of the fastest of some large matrix products, the most that this device can do."""
    sides = (8192,) if device.type == "cuda" else (1024, 2048, 4096)
    best = 0.0
    for side in sides:
        a, b = (torch.randn(side, side).to(device, dtype) for _ in range(2))
        for _ in range(5):
            synchronize(device)
            start = time.perf_counter()
            torch.mm(a, b)
            synchronize(device)
            best = max(best, 2 * side**3 / (time.perf_counter() - start) / 1e12)
    return best


def peak_gib(device: torch.device) -> float:
    """Memory at its highest so far: of the GPU since the last reset, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIGA
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIGA


def table(methods: Sequence[Method], peak: float) -> str:
    """Markdown; the first method is what the others are compared with, by pictures a second."""
    lines = [
        "| method | batch | steps run | seconds | pictures a second | to the first | TFLOP/s | "
        "of the peak | GiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in methods:
        rate = one.flops / one.median / 1e12
        lines.append(
            f"| {one.name} | {one.pictures} | {one.steps} | {one.median:.3f} | {one.rate:.3f} | "
            f"{one.rate / methods[0].rate:.2f}x | {rate:.3f} | {rate / peak:.0%} | {one.gib:.1f} |"
        )
    return "\n".join(lines)


def compiled(methods: Sequence[Method], named: Callable[[str], str]) -> list[Method]:
    """The same calls once more, with the operations that were counted before."""
    return [
        Method(
            name=named(one.name),
            call=one.call,
            pictures=one.pictures,
            steps=one.steps,
            flops=one.flops,
        )
        for one in methods
    ]


def main(
    model: Annotated[
        str, typer.Option(help="sd15, at random weights; mini; or a folder of the like.")
    ] = "sd15",
    device: Annotated[str | None, typer.Option(help="Of torch; a GPU for sd15.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="bfloat16, float16 or float32; by the size.")
    ] = None,
    side: Annotated[int, typer.Option(help="Of a picture of sd15, divisible by 64.")] = 768,
    steps: Annotated[int | None, typer.Option(help="Of the whole way; 20, mini's own 16.")] = None,
    batches: Annotated[str, typer.Option(help="Pictures at once, several sizes.")] = "1,4,8",
    runs: Annotated[int, typer.Option(min=1, help="Of which the median is taken.")] = 3,
    warm: Annotated[int, typer.Option(min=0, help="Runs before that are not counted.")] = 1,
    levers: Annotated[bool, typer.Option(help="The rows (c) too.")] = True,
    light: Annotated[bool, typer.Option(help="Light too: another UNet in memory.")] = True,
    compile_: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Also compiled; on a GPU.")
    ] = None,
    low_memory: Annotated[bool, typer.Option(help="Only that: parts on the GPU in turn.")] = False,
    memory_only: Annotated[bool, typer.Option(help="One run of ours, and what it held.")] = False,
    output: Annotated[Path | None, typer.Option(help="Also write it into this file.")] = None,
) -> None:
    """Seconds, pictures a second, TFLOP/s and memory of every method, as one markdown table."""
    true = model == "sd15"
    where = torch.device(device or ("cuda" if true else "cpu"))
    numbers = getattr(torch, dtype or ("bfloat16" if true else "float32"))
    compile_ = where.type == "cuda" if compile_ is None else compile_
    several = [int(number) for number in batches.split(",")]
    if true:
        pipeline = true_size_base(numbers, where, fused=levers and not (memory_only or low_memory))
        job = Job(side=side, steps=steps or 20)
    else:
        pipeline = BasePipeline.from_pretrained(model, dtype=numbers).to(where)
        pipeline.set_progress_bar_config(disable=True)
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                part.requires_grad_(False)  # operations of what learns cannot be counted so
        config = pipeline.config
        whole = steps or config["default_steps"]
        job = Job(side=config["size_px"], steps=whole, strength=1.0, prompt=None)
    if memory_only or low_memory:
        typer.echo(held(pipeline, job, where, low_memory=low_memory))
        return
    stock = [job.stock(stock_pipeline(pipeline), pipeline)] if true else []
    take_turns(stock, where, runs=runs, warm=warm)
    channels_last(pipeline)
    plain = [job.ours(pipeline, "(b) ours", batch=batch) for batch in several]
    plain += job.levers(pipeline) if levers else []
    take_turns(plain, where, runs=runs, warm=warm)
    rows = [*stock, *plain]
    if compile_:
        compile_networks(pipeline)
        again = [one for one in plain if "ours" in one.name or one is plain[-1]]
        fast = compiled(again, lambda name: f"{name}, compiled")
        take_turns(fast, where, runs=runs, warm=max(warm, 1), count=False)
        rows += fast
    if true and light:  # last: another UNet in memory
        rows.append(job.light(true_size_light(numbers, where)))
        take_turns(rows[-1:], where, runs=runs, warm=warm)
    peak = measured_peak(numbers, where)
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else "CPU"
    weights = "random weights of the true size" if true else f"weights of {Path(model).name}"
    text = (
        f"{table(rows, peak)}\n\n{name}, {numbers}, {job.side} px, {job.steps} steps at strength "
        f"{job.strength:g}, median of {runs}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, {weights}; peak of a matrix product: {peak:.2f} "
        "TFLOP/s."
    )
    typer.echo(text)
    if output is not None:
        command = published("python", "-m", "benchmarks.speed", *sys.argv[1:])
        page = f"{HEADER}\n\n    {command}\n\n{text}\n"
        write_bytes(page.encode(), output, overwrite=True)


def held(pipeline: BasePipeline, job: Job, device: torch.device, *, low_memory: bool) -> str:
    """What one picture needs in memory."""
    if low_memory:
        pipeline.to("cpu")
        pipeline.enable_model_cpu_offload(device=device)
        pipeline.vae.enable_tiling()
        torch.cuda.reset_peak_memory_stats(device)
    before, start = peak_gib(device), time.perf_counter()
    job.ours(pipeline, "ours").call()
    seconds = time.perf_counter() - start
    return f"{peak_gib(device):.1f} GiB, {before:.1f} before, {seconds:.0f} s: {job.side} px"


if __name__ == "__main__":
    typer.run(main)
