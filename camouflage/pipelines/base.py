"""CAMOUFLaGE-Base: anonymization guidance between positive ControlNets and the identity."""
# No ``from __future__ import annotations``: diffusers reads the types of ``__init__``.

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.loaders import StableDiffusionLoraLoaderMixin, TextualInversionLoaderMixin
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from transformers import CLIPTextModel, CLIPTokenizer

from camouflage.adapters.controls import embeddings_computed
from camouflage.annotators.landmarks import LandmarkNet
from camouflage.denoise import latents as to_latents
from camouflage.denoise.loop import denoise, noised, schedule
from camouflage.errors import SettingError, WeightsError
from camouflage.mini.autoencoder import SmallAutoencoder
from camouflage.mini.context import NullContext
from camouflage.pipelines.arguments import (
    Annotators,
    ByControl,
    Identity,
    OutputType,
    Pictures,
    Strengths,
    Texts,
    as_pictures_like,
    as_texts,
    controls_in_use,
    require_a_step,
    require_choice,
    require_effect,
    require_interval,
    require_known,
)
from camouflage.pipelines.guided import Guided
from camouflage.pipelines.in_and_out import Callback, require_text_or_null
from camouflage.pipelines.loading import check_arguments, load_folder, made


class BasePipeline(
    Guided, DiffusionPipeline, StableDiffusionLoraLoaderMixin, TextualInversionLoaderMixin
):
    """A picture in, a picture of somebody else in the same pose and scene out.

    Where it has a text encoder, LoRA and textual inversions are loaded as into every pipeline of
    diffusers: ``load_lora_weights``, ``load_textual_inversion`` (with peft, of the extra ``sd``).

    Source: Piano et al., "CAMOUFLaGE", arXiv 2403.14790. The paper prints neither the weights of
    its controls nor its sampler's settings; every default of this class is ours.

    Args:
        vae: pictures to latents; ``AutoencoderKL`` or ``SmallAutoencoder``.
        unet: predicts at each step; it must attend to a context of its ``cross_attention_dim``.
        controlnet: N positive ControlNets for maps (B, 3, H, W) in [0, 1].
        scheduler: any sampler of diffusers for latents (no clipping).
        identity_controlnet: of :func:`camouflage.adapters.identity_controlnet`, trained; needed for
            ``identity="learned"``.
        text_encoder, tokenizer: both, or neither and then a ``null_context``.
        null_context: what the UNet attends to in a model without text.
        landmarker: the network behind the annotator of landmarks, where ``controls`` has it.
        fused_controlnet: of :func:`camouflage.adapters.fused_controlnet`, trained; one net for the
            sum of the positive ones at ``fused_weights``, which are none of theirs that are 0.
        controls: the names of the N nets, in order; a name is also its annotator's.
        annotators: who makes the maps and the caption of a call that brings none: "aligned_face",
            for crops aligned by the points of a face, or "scene", for pictures of anything
            (``scene_annotators``, which may be replaced).
        size_px: the side of the pictures the weights were trained on.
        default_weights: name to weight; a missing one is 1 (no paper gives them).
        default_strength, default_steps, default_anonymization_scale, default_control_guidance,
            default_guidance_rescale, default_low_frequency_guidance: for a call that gives none (no
            paper gives them; a scale above 1 pushes the identity away).
        random_weights: they were never trained, as those of ``tiny``: the audit passes nothing that
            was drawn with them. Saved and loaded with the rest.

    Raises:
        WeightsError: nets and names differ in number, or there is no text encoder and no null
            context.
    """

    model_cpu_offload_seq = "text_encoder->null_context->unet->vae"
    _optional_components = [  # noqa: RUF012 (the form that diffusers reads)
        "identity_controlnet",
        "text_encoder",
        "tokenizer",
        "null_context",
        "landmarker",
        "fused_controlnet",
    ]
    _exclude_from_cpu_offload = [  # noqa: RUF012 (called by part)
        "controlnet",
        "identity_controlnet",
        "fused_controlnet",
    ]
    _callback_tensor_inputs = ["latents"]  # noqa: RUF012

    def __init__(
        self,
        vae: AutoencoderKL | SmallAutoencoder,
        unet: UNet2DConditionModel,
        controlnet: MultiControlNetModel,
        scheduler: SchedulerMixin,
        identity_controlnet: ControlNetModel | None = None,
        text_encoder: CLIPTextModel | None = None,
        tokenizer: CLIPTokenizer | None = None,
        null_context: NullContext | None = None,
        landmarker: LandmarkNet | None = None,
        fused_controlnet: ControlNetModel | None = None,
        controls: list[str] | tuple[str, ...] = (),
        annotators: str = "aligned_face",
        size_px: int = 512,
        default_weights: dict[str, float] | None = None,
        default_strength: float = 0.75,
        default_steps: int = 30,
        default_anonymization_scale: float = 1.25,
        default_control_guidance: float = 1.0,
        default_guidance_rescale: float = 0.0,
        default_low_frequency_guidance: float = 1.0,
        random_weights: bool = False,
        fused_weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__()
        _require_whole(controlnet, controls, text_encoder, tokenizer, null_context)
        _require_known_sum(fused_controlnet, fused_weights, controls)
        require_choice("annotators", annotators, Annotators)
        self.register_modules(
            vae=vae,
            unet=unet,
            controlnet=controlnet,
            scheduler=scheduler,
            identity_controlnet=identity_controlnet,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            null_context=null_context,
            landmarker=landmarker,
            fused_controlnet=fused_controlnet,
        )
        self.register_to_config(
            controls=list(controls),
            annotators=annotators,
            size_px=size_px,
            default_weights={name: 1.0 for name in controls} | (default_weights or {}),
            default_strength=default_strength,
            default_steps=default_steps,
            default_anonymization_scale=default_anonymization_scale,
            default_control_guidance=default_control_guidance,
            default_guidance_rescale=default_guidance_rescale,
            default_low_frequency_guidance=default_low_frequency_guidance,
            random_weights=random_weights,
            fused_weights=fused_weights,
        )

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, **kwargs: Any
    ) -> "BasePipeline":
        """A pipeline by the name of its size, or from a folder or repository of diffusers' layout.

        ``"tiny"`` is random weights made in memory, for tests; ``"mini"`` is the model inside this
        package; ``"sd15"`` is put together from the weights of `camouflage models`, and takes the
        keywords of :func:`camouflage.pipelines.sd15.sd15_pipeline`. Everything else, and every
        keyword, is ``DiffusionPipeline.from_pretrained``'s own, except that weights are read from
        safetensors only, that no code of theirs is run, and that they are checked
        (`camouflage.weights`). A folder that has the name of a size is reached as ``"./mini"``.

        Raises:
            SettingError: ``use_safetensors=False``, ``trust_remote_code``, a keyword that a size
                does not take, or a pipeline of the other method.
            WeightsError: weights that are missing, damaged or not what their checksums say.
        """
        check_arguments(BasePipeline, pretrained_model_name_or_path, kwargs)
        if pretrained_model_name_or_path == "tiny":
            return cls._tiny(**kwargs)
        if pretrained_model_name_or_path == "sd15":
            from camouflage.pipelines.sd15 import sd15_pipeline

            return made(sd15_pipeline, "sd15", kwargs)
        load = super().from_pretrained
        return load_folder(BasePipeline, load, pretrained_model_name_or_path, kwargs)[0]

    @classmethod
    def _tiny(cls, use_safetensors: bool, **kwargs: Any) -> "BasePipeline":
        from camouflage.pipelines.tiny import tiny_pipeline

        del use_safetensors
        dtype = kwargs.pop("dtype", None)
        if kwargs:
            raise SettingError(f'"tiny" is made in memory and takes dtype only, got {set(kwargs)}')
        return tiny_pipeline() if dtype is None else tiny_pipeline().to(dtype)

    @torch.no_grad()
    def __call__(
        self,
        image: Pictures,
        *,
        start_images: "Pictures | None" = None,
        control_images: Mapping[str, Pictures] | None = None,
        control_weights: Mapping[str, float] | None = None,
        control_start: ByControl = None,
        control_end: ByControl = None,
        prompt: Texts = None,
        negative_prompt: Texts = None,
        text_guidance: float = 1.0,
        control_guidance: float | None = None,
        anonymization_scale: float | None = None,
        guidance_rescale: float | None = None,
        low_frequency_guidance: float | None = None,
        strength: float | None = None,
        num_inference_steps: int | None = None,
        identity: Identity = "learned",
        guidance_start: float = 0.0,
        guidance_end: float = 1.0,
        control_every: int = 1,
        fused_controls: bool = False,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        output_type: OutputType = "pil",
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple[Any]:
        """Redraw ``image``.

        At ``anonymization_scale`` a_s the prediction of each step is
        ``eps_identity + a_s (eps_positive - eps_identity)``: 0 gives the original back, 1 is the
        positive controls alone, above 1 pushes away from the original. Rows of weight 0 are not
        computed, nor are nets of weight 0, nor their maps.

        Args:
            image: a PIL picture or a ``uint8 (H, W, 3)`` array, or several of one size, sides
                divisible by the autoencoder's and the UNet's factors.
            start_images: what the noise is laid over, as many pictures of the same size; None is
                ``image`` itself. Maps and identity stay those of ``image``. Ours: a face of nobody
                in the person's place leaves less to invent.
            control_images: name to map, or maps, of the pictures' size, for each control whose
                weight is not 0; None runs the annotators.
            control_weights: name to weight, in the place of the pipeline's own.
            control_start, control_end: fraction in [0, 1] of the steps that are run, or name to
                fraction; a step has a net if it lies wholly between them.
            prompt: a text, or one a picture; None is the caption that the annotators of scenes
                make, and the null text where there is no captioner. "" is the null text.
            negative_prompt: the text of text guidance's other row; None is the null text.
            text_guidance: g in ``eps_positive = g eps(prompt) + (1 - g) eps(negative_prompt)``.
            control_guidance: c >= 0: the positive prediction is followed c times as far from one
                that no control and no text steers. 1 is off and costs nothing; above 1 the faces
                are crisper and nearer to their maps.
            anonymization_scale: a_s, any number >= 0.
            guidance_rescale: phi in [0, 1], how much of the contrast that a scale above 1 adds is
                taken out again; 0 is none. It does not act at other scales.
            low_frequency_guidance: kappa in [0, 1], how much of what a scale above 1 adds may be
                coarse; 1 is all, 0 leaves colours and light to the positive controls. It does not
                act at other scales.
            strength: the part of the way from noise that is gone, in (0, 1]; 1 too starts from the
                noised picture (or its start), at the noisiest step.
            num_inference_steps: of the whole way; ``strength`` of them are run.
            identity: "learned" is the identity ControlNet with the null text; "analytic" the closed
                form of a perfect one, which costs nothing.
            guidance_start, guidance_end: the part of the run, in [0, 1], in which the scale above 1
                and the two guidances act (limited interval, Kynkäänniemi et al. 2024, arXiv
                2404.07724). A step that does not lie wholly between them follows the positive
                controls and the prompt alone, which is one row; a scale below 1 stays.
            control_every: n >= 1: the positive nets are computed at every n-th step, and where one
                starts, and what they gave is used again in between (Li et al. 2024, "Faster
                Diffusion", arXiv 2312.09608, do so with the UNet's encoder). Another result.
            fused_controls: the one net that was distilled from the positive ones in their place, at
                the weights that it was distilled for. Another result.
            generator: on the CPU; one a picture makes its noise independent of the batch. A single
                one is drawn from by each picture in turn; None seeds afresh.
            output_type: "pil"; "np" float (B, H, W, 3) in [0, 1]; "pt" float (B, 3, H, W) in
                [0, 1]; "latent" float (B, C, h, w).
            callback_on_step_end: ``(pipeline, step, timestep, {"latents": ...}) -> dict``, as in
                diffusers; latents in the dict it returns replace those of the run.
            callback_on_step_end_tensor_inputs: what its dict holds; only "latents" is known.
            return_dict: False gives a tuple of one.

        Returns:
            ``images``, as many as came in.

        Raises:
            SettingError: an argument that cannot be, or that would have no effect.
            NonFiniteResult: NaN or infinity came up; never is the original given back instead.
        """
        # 1. What is asked for
        require_choice("identity", identity, Identity)
        require_choice("output_type", output_type, OutputType)
        pictures = self._checked_pictures(image)
        starts = None
        if start_images is not None:
            starts = as_pictures_like("start_images", start_images, pictures)
        generators = to_latents.generators_for(generator, len(pictures))
        numbers = self._numbers(
            anonymization_scale=anonymization_scale,
            text_guidance=text_guidance,
            control_guidance=control_guidance,
            guidance_rescale=guidance_rescale,
            low_frequency_guidance=low_frequency_guidance,
            strength=strength,
            steps=num_inference_steps,
        )
        numbers = replace(numbers, guidance_start=guidance_start, guidance_end=guidance_end)
        names = self.config["controls"]
        weights = self.weights_in_use(control_weights)
        uses = controls_in_use(
            weights, control_start, control_end, names=names, every=control_every
        )
        require_known("control_images", control_images or {}, names)
        as_texts("prompt", prompt, len(pictures))
        as_texts("negative_prompt", negative_prompt, len(pictures))
        if fused_controls:
            self._fused_use(uses)
        on_step_end = self._step_end(callback_on_step_end, callback_on_step_end_tensor_inputs)
        device = self._execution_device
        timesteps = schedule(self.scheduler, numbers.steps, numbers.strength, device)
        require_a_step(uses, len(timesteps))
        require_interval(numbers, len(timesteps))
        self._correction(numbers)  # or why it cannot be
        w_identity = numbers.weights.identity
        self._require_identity(identity, w_identity)

        # 2. What is constant over the steps
        if prompt is None and numbers.anonymization_scale > 0:
            prompt = self.captions(pictures)
        require_effect(numbers, prompt, negative_prompt)
        steered = numbers.anonymization_scale > 0
        maps = self._maps(pictures, control_images, list(uses) if steered else [])
        z_0 = self._encoded(pictures)
        predictor = self._predictor(
            numbers,
            texts=(prompt, negative_prompt),
            controls=self._controls(uses, maps, fused=fused_controls) if steered else (),
            z_0=z_0,
            identity=identity,
            steps=len(timesteps),
        )

        # 3. From the noised encoding of the start, step by step
        noise = to_latents.noise_like(z_0, generators)
        z_start = z_0 if starts is None else self._encoded(starts)
        latents = noised(self.scheduler, z_start, noise, timesteps[0])
        with embeddings_computed(predictor.nets):
            latents = denoise(
                latents,
                self.progress_bar(timesteps),  # pyright: ignore
                self.scheduler,
                predictor,
                generators,
                on_step_end,
            )

        # 4. Back to pictures
        images = self._result(latents, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _encoded(self, pictures: Sequence[np.ndarray]) -> torch.Tensor:
        """(B, C, h, w), scaled."""
        pixels = to_latents.pixels_from_pictures(pictures).to(self._execution_device)
        return to_latents.encode(self.vae, pixels)

    def _numbers(self, *, text_guidance: float, **given: float | None) -> Strengths:
        """The numbers of a call; those that are None are the pipeline's own."""
        numbers: dict[str, Any] = {
            name: self.config[f"default_{name}"] if number is None else number
            for name, number in given.items()
        }
        return Strengths(text_guidance=text_guidance, **numbers)


def _require_whole(
    controlnet: MultiControlNetModel,
    controls: Sequence[str],
    text_encoder: CLIPTextModel | None,
    tokenizer: CLIPTokenizer | None,
    null_context: NullContext | None,
) -> None:
    if len(controlnet.nets) != len(set(controls)):
        raise WeightsError(
            f"expected one different name for each of {len(controlnet.nets)} ControlNets, got "
            f"controls={list(controls)}; is an older controlnet_N folder left beside the new ones?"
        )
    require_text_or_null(text_encoder, tokenizer, null_context)


def _require_known_sum(
    net: ControlNetModel | None, weights: dict[str, float] | None, controls: Sequence[str]
) -> None:
    """A fused net must say which weights of which controls it stands for."""
    if net is None:
        return
    channels = net.config["conditioning_channels"]
    if not weights or not set(weights) <= set(controls) or channels != 3 * len(weights):
        raise WeightsError(
            f"fused_controlnet: it takes {channels} channels of maps; expected fused_weights with "
            f"{channels / 3:g} of the controls {list(controls)}, got {weights}"
        )
