"""How fast is CAMOUFLaGE-Base at its true size, beside stock diffusers, and what does it hold?

    python -m benchmarks.full_size                                  # a GPU: 768 px, bfloat16
    python -m benchmarks.full_size --device cpu --side 256 --steps 2 --runs 1 --warm 0
    python -m benchmarks.full_size --device cpu --steps 2 --memory-only

Stable Diffusion 1.5's architecture with random weights: neither speed nor memory depends on their
values. Every method redraws the same pictures by the same maps in the same number of steps, one
after the other in turn, in one process. Annotators and captioner are not in it.

* ``stock``: diffusers' own image-to-image pipeline with five ControlNets, and what one would add
  to it by hand: at each step a second call of the UNet, with the identity ControlNet. (The second
  call is made in the callback of a step; its result is thrown away, its cost is the same.)
* ``ours``: all rows in one call of the UNet, each embedding once a picture. Same result.
* ``ours, analytic``: the identity in closed form: no net, one row. Another result.
* ``ours, controls off at 60 %``: no ControlNet in the last steps. Another result.
"""

from __future__ import annotations

import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from camouflage.pipelines.base import BasePipeline
from camouflage.pipelines.sd15 import DEFAULT_WEIGHTS

CONTROLS = tuple(DEFAULT_WEIGHTS)
PROMPT = "a photograph of two people in a street"
GIGA = 2**30
STRENGTH = 0.75


def _tokenizer() -> Any:
    """CLIP's, of an alphabet in the place of its vocabulary, which nothing here depends on."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{one}</w>" for one in letters)]
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = {word: number for number, word in enumerate(words)}
        (Path(folder) / "vocab.json").write_text(json.dumps(vocabulary))
        (Path(folder) / "merges.txt").write_text("#version: 0.2\n")
        return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def true_size_pipeline(dtype: torch.dtype, device: torch.device) -> BasePipeline:
    """SD 1.5, its autoencoder, its text encoder, five ControlNets and the identity ControlNet."""
    from diffusers import (
        AutoencoderKL,
        ControlNetModel,
        DPMSolverMultistepScheduler,
        MultiControlNetModel,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    blocks: dict[str, Any] = {
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    net: dict[str, Any] = {"cross_attention_dim": 768, "attention_head_dim": 8}

    def made(make: Callable[[], nn.Module]) -> Any:
        with torch.device("meta"):
            module = make()
        module = module.to(dtype).to_empty(device=device)
        return _filled(module).eval().requires_grad_(False)

    identity = {"conditioning_channels": 4, "conditioning_embedding_out_channels": (320,)}
    text = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        max_position_embeddings=77, vocab_size=49408, projection_dim=768,
    )  # fmt: skip
    pipeline = BasePipeline(
        vae=made(lambda: AutoencoderKL(latent_channels=4, layers_per_block=2, **blocks)),
        unet=made(lambda: UNet2DConditionModel(sample_size=64, **net)),
        controlnet=MultiControlNetModel([made(lambda: ControlNetModel(**net)) for _ in CONTROLS]),
        identity_controlnet=made(lambda: ControlNetModel(**net, **identity)),
        scheduler=DPMSolverMultistepScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
            algorithm_type="sde-dpmsolver++", use_karras_sigmas=True,
        ),
        text_encoder=made(lambda: CLIPTextModel(text)),
        tokenizer=_tokenizer(),
        controls=CONTROLS,
        annotators="scene",
        default_weights=DEFAULT_WEIGHTS,
        random_weights=True,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _filled(module: nn.Module) -> nn.Module:
    """Small numbers everywhere: zeros would be as fast, but hide what overflows."""
    generator = torch.Generator(next(module.parameters()).device).manual_seed(0)
    for name, weight in module.named_parameters():
        if weight.dim() > 1:
            fan_in = weight[0].numel()
            nn.init.normal_(weight, std=0.5 * fan_in**-0.5, generator=generator)
        else:
            nn.init.constant_(weight, float("norm" in name and name.endswith("weight")))
    return module


def stock_pipeline(ours: BasePipeline) -> Any:
    """diffusers' pipeline of the same modules."""
    from diffusers import StableDiffusionControlNetImg2ImgPipeline

    kept = ("vae", "text_encoder", "tokenizer", "unet", "controlnet", "scheduler")
    left_out = dict.fromkeys(("safety_checker", "feature_extractor"))
    parts: dict[str, Any] = {**{name: getattr(ours, name) for name in kept}, **left_out}
    stock = StableDiffusionControlNetImg2ImgPipeline(**parts, requires_safety_checker=False)
    stock.set_progress_bar_config(disable=True)
    return stock


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every method does: pictures (side, side) with a map of each control."""

    side: int
    batch: int
    steps: int

    @property
    def pictures(self) -> list[np.ndarray]:
        """uint8 (side, side, 3)."""
        draw = np.random.default_rng(0).integers(0, 256, (self.batch, self.side, self.side, 3))
        return list(draw.astype(np.uint8))

    def ours(self, pipeline: BasePipeline, **changes: Any) -> Callable[[], Any]:
        """A call of our pipeline."""
        pictures = self.pictures
        settings: dict[str, Any] = {
            "control_images": dict.fromkeys(CONTROLS, pictures),
            "prompt": PROMPT,
            "anonymization_scale": 1.25,
            "strength": STRENGTH,
            "num_inference_steps": self.steps,
            **changes,
        }
        generators = [torch.Generator().manual_seed(i) for i in range(self.batch)]
        return lambda: pipeline(pictures, generator=generators, **settings)

    def stock(self, pipeline: Any, ours: BasePipeline) -> Callable[[], Any]:
        """A call of diffusers' own, with the identity's call after each step."""
        pixels = torch.from_numpy(np.stack(self.pictures)).permute(0, 3, 1, 2) / 255
        net: Any = ours.identity_controlnet
        weight = next(net.parameters())
        z_0 = torch.randn(self.batch, 4, self.side // 8, self.side // 8).to(weight)
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
            text[:] = [ours.null_text(self.batch)]
            return pipeline(**settings, generator=[torch.Generator() for _ in pixels])

        settings: dict[str, Any] = dict(
            prompt=[PROMPT] * self.batch,
            image=pixels,
            control_image=[pixels] * len(CONTROLS),
            controlnet_conditioning_scale=list(DEFAULT_WEIGHTS.values()),
            guidance_scale=1.0,
            strength=STRENGTH,
            num_inference_steps=self.steps,
            callback_on_step_end=second,
        )
        return call


@dataclass(kw_only=True)
class Timed:
    """Seconds by part of a run, each waited for."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    @contextmanager
    def parts(self, pipeline: BasePipeline) -> Iterator[None]:
        """Meanwhile every part's calls are waited for, which slows the whole a little."""
        modules = {
            "text encoder": pipeline.text_encoder,
            "UNet": pipeline.unet,
            "identity ControlNet": pipeline.identity_controlnet,
            "encoder": pipeline.vae.encoder,
            "decoder": pipeline.vae.decoder,
        }
        nets = [("five ControlNets", net) for net in pipeline.controlnet.nets]
        handles = []
        for name, module in [*modules.items(), *nets]:
            started: list[float] = []

            def before(*_: Any, started: list[float] = started) -> None:
                self.synchronize()
                started.append(time.perf_counter())

            def after(*_: Any, started: list[float] = started, name: str = name) -> None:
                self.synchronize()
                spent = time.perf_counter() - started.pop()
                self.seconds[name] = self.seconds.get(name, 0.0) + spent

            handles += [module.register_forward_pre_hook(before)]
            handles += [module.register_forward_hook(after)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def measured_peak(dtype: torch.dtype, device: torch.device) -> float:
    """TFLOP/s of a large matrix product, the most that this device can do for us."""
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(side, side).to(device, dtype) for _ in range(2))
    timed, best = Timed(device=device), 0.0
    for _ in range(5):
        timed.synchronize()
        start = time.perf_counter()
        torch.mm(a, b)
        timed.synchronize()
        best = max(best, 2 * side**3 / (time.perf_counter() - start) / 1e12)
    return best


def peak_gib(device: torch.device) -> float:
    """Memory at its highest so far: of the GPU since the last reset, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIGA
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIGA


def main(
    device: Annotated[str, typer.Option(help="Of torch.")] = "cuda",
    dtype: Annotated[str, typer.Option(help="bfloat16, float16 or float32.")] = "bfloat16",
    side: Annotated[int, typer.Option(help="Of a picture, in pixels, divisible by 64.")] = 768,
    steps: Annotated[int, typer.Option(help="Of the whole way; three quarters are run.")] = 20,
    batch: Annotated[int, typer.Option(help="Pictures at once.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="Of which the median is taken.")] = 3,
    warm: Annotated[int, typer.Option(min=0, help="Runs before that are not counted.")] = 1,
    low_memory: Annotated[bool, typer.Option(help="Keep only the part at work there.")] = False,
    memory_only: Annotated[bool, typer.Option(help="One run of ours, and what it held.")] = False,
) -> None:
    """Seconds, pictures a second, TFLOP/s and memory, as markdown tables."""
    where, numbers = torch.device(device), getattr(torch, dtype)
    pipeline = true_size_pipeline(numbers, where)
    if low_memory:
        pipeline.to("cpu")
        pipeline.enable_model_cpu_offload(device=where)
        pipeline.vae.enable_tiling()
        torch.cuda.reset_peak_memory_stats(where)
    job = Job(side=side, batch=batch, steps=steps)
    if memory_only:
        before, start = peak_gib(where), time.perf_counter()
        job.ours(pipeline)()
        seconds = time.perf_counter() - start
        typer.echo(f"{peak_gib(where):.1f} GiB, {before:.1f} before, {seconds:.0f} s: {side} px")
        return
    off = dict.fromkeys(CONTROLS, 0.6)
    methods = {
        "ours": job.ours(pipeline),
        "ours, analytic": job.ours(pipeline, identity="analytic"),
        "ours, controls off at 60 %": job.ours(pipeline, control_end=off),
    }
    if not low_memory:
        methods = {"stock": job.stock(stock_pipeline(pipeline), pipeline), **methods}
    typer.echo(method_table(methods, where, numbers, batch=batch, runs=runs, warm=warm))
    timed = Timed(device=where)
    if not low_memory:
        with timed.parts(pipeline):
            methods["ours"]()
        rows = [f"| {name} | {seconds:.3f} |" for name, seconds in timed.seconds.items()]
        typer.echo("\n".join(["", "| part of ours | seconds |", "|---|---|", *rows]))
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else "CPU"
    typer.echo(
        f"\n{name}, {dtype}, {side} px, {steps} steps at strength {STRENGTH}, batch {batch}, "
        f"median of {runs}, torch {torch.__version__}, random weights"
        + (", parts moved to the GPU one by one" if low_memory else "")
    )


def method_table(
    methods: dict[str, Callable[[], Any]],
    device: torch.device,
    dtype: torch.dtype,
    *,
    batch: int,
    runs: int,
    warm: int,
) -> str:
    """A line a method; the methods take turns."""
    timed, seconds, memory = Timed(device=device), {name: [] for name in methods}, {}
    for number in range(warm + runs):
        for name, call in methods.items():  # in turn: a busy machine is busy for all
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            timed.synchronize()
            start = time.perf_counter()
            call()
            timed.synchronize()
            if number >= warm:
                seconds[name].append(time.perf_counter() - start)
            memory[name] = peak_gib(device)
    peak = measured_peak(dtype, device)
    medians = {name: statistics.median(several) for name, several in seconds.items()}
    first = next(iter(medians.values()))
    lines = [
        "| method | seconds | pictures a second | to the first | TFLOP/s | of the peak | GiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, call in methods.items():
        with FlopCounterMode(display=False) as counted:
            call()
        rate = counted.get_total_flops() / medians[name] / 1e12
        lines.append(
            f"| {name} | {medians[name]:.2f} | {batch / medians[name]:.3f} | "
            f"{first / medians[name]:.2f}x | {rate:.3f} | {rate / peak:.0%} | {memory[name]:.1f} |"
        )
    return "\n".join([*lines, "", f"Peak of a matrix product here: {peak:.2f} TFLOP/s."])


if __name__ == "__main__":
    typer.run(main)
