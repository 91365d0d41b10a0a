"""CAMOUFLaGE-Light: a swapped face, drawn over by an image prompt and a map of attributes."""
# No ``from __future__ import annotations``: diffusers reads the types of ``__init__``.

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.loaders import StableDiffusionLoraLoaderMixin, TextualInversionLoaderMixin
from diffusers.models.adapter import T2IAdapter
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from camouflage.adapters.attribute_adapter import adapter_features
from camouflage.adapters.image_prompt import (
    image_prompt_detached,
    image_tokens,
    load_image_prompt,
    save_image_prompt,
    set_image_prompt_scale,
    tokens_computed,
)
from camouflage.annotators.attributes import AttributeNet
from camouflage.annotators.image_encoder import (
    encoder_input,
    penultimate_of,
    side_of,
)
from camouflage.annotators.landmarks import LandmarkNet
from camouflage.denoise import latents as to_latents
from camouflage.denoise.image_guidance import AdapterSteps, ImageGuidance, PromptRow
from camouflage.denoise.loop import denoise, noised, schedule
from camouflage.errors import SettingError
from camouflage.mini.attributes import SmallAttributeNet
from camouflage.mini.autoencoder import SmallAutoencoder
from camouflage.mini.context import NullContext
from camouflage.mini.image_encoder import SmallImageEncoder
from camouflage.pipelines.arguments import (
    Annotators,
    AttributesOf,
    OutputType,
    Pictures,
    Texts,
    as_pictures,
    as_texts,
    require_choice,
    require_whole,
)
from camouflage.pipelines.in_and_out import Callback, InAndOut, require_text_or_null
from camouflage.pipelines.light_encoder import require_own_pool
from camouflage.pipelines.light_faces import (
    LightFace,
    attribute_maps,
    blended,
    chosen_fakes,
    light_faces,
    require_share,
    swapped_picture,
)
from camouflage.pipelines.loading import check_arguments, load_folder, made
from camouflage.subjects.faces import Face, FaceDetector
from camouflage.swap import FacePool, SwapSettings, save_pool

IMAGE_PROMPT = "ip_adapter"
POOL = "pool"
"""Folders of a saved pipeline, beside those of diffusers."""


class LightPipeline(
    InAndOut, DiffusionPipeline, StableDiffusionLoraLoaderMixin, TextualInversionLoaderMixin
):
    """A picture in, a picture of somebody else in the same pose and scene out, in half of the time.

    Every face is swapped for a synthetic one of a pool, classically. What was noised is the swapped
    picture, blended with the original; an image prompt of the swapped picture and a map of where
    which face has which attributes steer it back. There is no anonymization scale.

    Source: Piano et al., "CAMOUFLaGE", arXiv 2403.14790, and its released code, whose numbers are
    the defaults unless said otherwise.

    Args:
        vae: pictures to latents; ``AutoencoderKL`` or ``SmallAutoencoder``.
        unet: with an image prompt attached (`camouflage.adapters.image_prompt`).
        scheduler: any sampler of diffusers for latents (no clipping).
        image_encoder: FaRL, or another of the CLIP family; the image prompt is its penultimate
            layer, and the embedding of a face is its projection.
        adapter: of `camouflage.adapters.attribute_adapter`.
        attribute_net: the attributes of an aligned face.
        landmarker: dense landmarks, for the swap.
        text_encoder, tokenizer: both, or neither and then a ``null_context``.
        null_context: what the UNet attends to in a model without text.
        annotators: "aligned_face", for crops aligned by the points of a face, or "scene".
        size_px: the side of the pictures the weights were trained on.
        default_guidance_scale, default_strength, default_steps, default_original_share: for a call
            that gives none.
        default_swap_side, default_swap_alignment: of the swap.
        random_weights: they were never trained: the audit passes nothing that was drawn with them.
        encoder_sha256: of the weights that ``image_encoder`` was loaded from, by which a pool is
            known to be this encoder's; None does not compare.

    ``pool`` is a `FacePool` whose embeddings are ``image_encoder``'s; None until one is given.

    Raises:
        WeightsError: there is no text encoder and no null context.
    """

    model_cpu_offload_seq = "text_encoder->null_context->image_encoder->unet->vae"
    _optional_components = [  # noqa: RUF012 (the form that diffusers reads)
        "text_encoder",
        "tokenizer",
        "null_context",
    ]
    _exclude_from_cpu_offload = [  # noqa: RUF012 (called by part)
        "adapter",
        "attribute_net",
        "landmarker",
    ]
    _callback_tensor_inputs = ["latents"]  # noqa: RUF012

    def __init__(
        self,
        vae: AutoencoderKL | SmallAutoencoder,
        unet: UNet2DConditionModel,
        scheduler: SchedulerMixin,
        image_encoder: CLIPVisionModelWithProjection | SmallImageEncoder,
        adapter: T2IAdapter,
        attribute_net: AttributeNet | SmallAttributeNet,
        landmarker: LandmarkNet,
        text_encoder: CLIPTextModel | None = None,
        tokenizer: CLIPTokenizer | None = None,
        null_context: NullContext | None = None,
        annotators: str = "scene",
        size_px: int = 512,
        default_guidance_scale: float = 3.0,
        default_strength: float = 0.55,
        default_steps: int = 30,
        default_original_share: float = 0.5,
        default_swap_side: int = 512,
        default_swap_alignment: str = "similarity",
        random_weights: bool = False,
        encoder_sha256: str | None = None,
    ) -> None:
        super().__init__()
        require_text_or_null(text_encoder, tokenizer, null_context)
        require_choice("annotators", annotators, Annotators)
        self.register_modules(
            vae=vae,
            unet=unet,
            scheduler=scheduler,
            image_encoder=image_encoder,
            adapter=adapter,
            attribute_net=attribute_net,
            landmarker=landmarker,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            null_context=null_context,
        )
        self.register_to_config(
            annotators=annotators,
            size_px=size_px,
            default_guidance_scale=default_guidance_scale,
            default_strength=default_strength,
            default_steps=default_steps,
            default_original_share=default_original_share,
            default_swap_side=default_swap_side,
            default_swap_alignment=default_swap_alignment,
            random_weights=random_weights,
            encoder_sha256=encoder_sha256,
        )
        self._pool: FacePool | None = None
        self.detector: FaceDetector | None = None

    @property
    def pool(self) -> FacePool | None:
        """The synthetic faces that people get.

        Raises `SettingError` when it is set to one of another encoder, by the width of its
        embeddings or the hash of that encoder's weights: its distances mean nothing here.
        """
        return self._pool

    @pool.setter
    def pool(self, pool: FacePool | None) -> None:
        if pool is not None:
            require_own_pool(pool, self.image_encoder, sha256=self.config["encoder_sha256"])
        self._pool = pool

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, **kwargs: Any
    ) -> "LightPipeline":
        """A pipeline by the name of its size, or from a folder that `save_pretrained` wrote.

        ``"mini-light"`` is inside this package; ``"sd15-light"`` is put together from the weights
        of `camouflage models` and takes the keywords of
        :func:`camouflage.pipelines.sd15_light.sd15_light_pipeline`. Otherwise as
        :meth:`BasePipeline.from_pretrained`; the image prompt and the pool are in the folder too.

        Raises:
            SettingError: ``use_safetensors=False``, ``trust_remote_code``, a keyword that a size
                does not take, or a pipeline of the other method.
            WeightsError: weights that are missing, damaged or not what their checksums say.
        """
        check_arguments(LightPipeline, pretrained_model_name_or_path, kwargs)
        if pretrained_model_name_or_path == "mini-light":
            from camouflage.pipelines.mini_light import mini_light_pipeline

            return made(mini_light_pipeline, "mini-light", kwargs)
        if pretrained_model_name_or_path == "sd15-light":
            from camouflage.pipelines.sd15_light import sd15_light_pipeline

            return made(sd15_light_pipeline, "sd15-light", kwargs)
        pipeline, folder = load_folder(
            LightPipeline, super().from_pretrained, pretrained_model_name_or_path, kwargs
        )
        load_image_prompt(pipeline.unet, folder / IMAGE_PROMPT)
        if (folder / POOL).is_dir():
            pipeline.pool = FacePool.load(folder / POOL)
        return pipeline

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """As in diffusers, with the image prompt and the pool, which it would leave out.

        ``push_to_hub`` is not taken: upload the folder.

        Raises:
            SettingError: ``push_to_hub``, or this pipeline has no pool and the folder has one.
        """
        if kwargs.pop("push_to_hub", False):
            raise SettingError("push_to_hub: save the pipeline, then upload its folder as a whole")
        folder = Path(save_directory)
        if self.pool is None and (folder / POOL).exists():
            raise SettingError(f"save_directory: the {POOL} in it is another pipeline's; remove it")
        with image_prompt_detached(self.unet):
            super().save_pretrained(folder, **kwargs)
        save_image_prompt(self.unet, folder / IMAGE_PROMPT)
        if self.pool is not None:
            save_pool(self.pool, folder / POOL)
            if folder / POOL == self.pool.folder:  # its pictures have other names now
                self.pool = FacePool.load(folder / POOL)

    @torch.no_grad()
    def __call__(
        self,
        image: Pictures,
        *,
        faces: Sequence[Sequence[LightFace]] | None = None,
        swapped_images: "Pictures | None" = None,
        prompt: Texts = None,
        negative_prompt: Texts = None,
        guidance_scale: float | None = None,
        image_prompt_scale: float = 1.0,
        adapter_scale: float = 1.0,
        adapter_steps: AdapterSteps = "all",
        original_share: float | None = None,
        attributes_of: AttributesOf = "swapped",
        swap: SwapSettings | None = None,
        swap_threshold: float = 1.0,
        fake_rank: int = 0,
        strength: float | None = None,
        num_inference_steps: int | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        output_type: OutputType = "pil",
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple[Any]:
        """Swap every face of ``image``, and redraw it.

        Args:
            image: a PIL picture or a ``uint8 (H, W, 3)`` array, or several of one size, sides
                divisible by the autoencoder's and the UNet's factors.
            faces: those of each picture, of `camouflage.pipelines.light_faces`; None looks for
                them. Small ones are treated too; the released code leaves those under 64 px.
            swapped_images: pictures in which they are swapped already, so that ``swap``,
                ``swap_threshold`` and ``fake_rank`` cannot be given; None does it here.
            prompt: a text, or one a picture; None is no text, as in the released code.
            negative_prompt: the text of the other row; None is no text.
            guidance_scale: g in ``g eps(prompt, image) + (1 - g) eps(negative, no image)``; 1 costs
                one row less.
            image_prompt_scale: how much the image prompt counts.
            adapter_scale: how much the attribute adapter counts; 0 does not compute it.
            adapter_steps: "all", or "first": as the released code behaves, whose list of features
                is empty after the first step.
            original_share: alpha: the start is ``(1 - alpha) swapped + alpha original``.
            attributes_of: whose attributes the map has: the "swapped" faces', as in the released
                code, or the "original" ones'.
            swap: how faces are swapped; None is the pipeline's own way.
            swap_threshold: the angular distance between the embeddings of a face and its fake must
                exceed it. (The released code takes the minimum of 1 and the largest *index* of the
                candidates, which is 1.)
            fake_rank: which of the fakes that are far enough, counted from the nearest.
            strength: the part of the way from noise that is gone, in (0, 1].
            num_inference_steps: of the whole way; ``strength`` of them are run.
            generator: on the CPU; one a picture makes its noise independent of the batch. A single
                one is drawn from by each picture in turn; None seeds afresh.
            output_type: "pil"; "np" float (B, H, W, 3) in [0, 1]; "pt" float (B, 3, H, W) in
                [0, 1]; "latent" float (B, C, h, w).
            callback_on_step_end: ``(pipeline, step, timestep, {"latents": ...}) -> dict``.
            callback_on_step_end_tensor_inputs: what its dict holds; only "latents" is known.
            return_dict: False gives a tuple of one.

        Returns:
            ``images``, as many as came in.

        Raises:
            SettingError: an argument that cannot be, or faces to swap and no pool.
            NonFiniteResult: NaN or infinity came up; never is the original given back instead.
        """
        # 1. What is asked for
        require_choice("output_type", output_type, OutputType)
        require_choice("adapter_steps", adapter_steps, AdapterSteps)
        require_choice("attributes_of", attributes_of, AttributesOf)
        pictures = self._checked_pictures(image)
        generators = to_latents.generators_for(generator, len(pictures))
        g = self._number("guidance_scale", guidance_scale)
        self._number("image_prompt_scale", image_prompt_scale)
        self._number("adapter_scale", adapter_scale)
        share = self._default("original_share", original_share)
        require_share(share)
        require_whole("fake_rank", fake_rank, least=0)
        if swapped_images is not None and (swap is not None or swap_threshold != 1 or fake_rank):
            raise SettingError(
                "swap, swap_threshold, fake_rank: they say how faces are swapped, and "
                "swapped_images are swapped already; leave one or the other out"
            )
        texts = as_texts("prompt", prompt, len(pictures))
        negatives = as_texts("negative_prompt", negative_prompt, len(pictures))
        if g == 1 and negatives is not None:
            raise SettingError("negative_prompt: it acts only with a guidance_scale other than 1")
        on_step_end = self._step_end(callback_on_step_end, callback_on_step_end_tensor_inputs)
        timesteps = schedule(
            self.scheduler,
            self._default("steps", num_inference_steps),
            self._default("strength", strength),
            self._execution_device,
        )

        # 2. Swapped faces
        faces = self.find_faces(pictures) if faces is None else faces
        _require_as_many("faces", faces, pictures)
        if swapped_images is None:
            swapped = self.swapped(
                pictures, faces, settings=swap, threshold=swap_threshold, rank=fake_rank
            )
        else:
            swapped = as_pictures("swapped_images", swapped_images)
        start = blended(swapped, pictures, share)

        # 3. What is constant over the steps
        read = swapped if attributes_of == "swapped" else pictures
        z_0 = to_latents.encode(self.vae, self._pixels(start))
        predictor = ImageGuidance(
            unet=self.unet,
            rows=self._rows(g, texts, negatives, swapped),
            features=self._features(read, faces, z_0, adapter_scale),
            adapter_steps=adapter_steps,
        )
        set_image_prompt_scale(self.unet, image_prompt_scale)

        # 4. From the noised encoding of the swapped picture, step by step
        noise = to_latents.noise_like(z_0, generators)
        latents = noised(self.scheduler, z_0, noise, timesteps[0])
        with tokens_computed(self.unet):
            latents = denoise(
                latents,
                self.progress_bar(timesteps),  # pyright: ignore
                self.scheduler,
                predictor,
                generators,
                on_step_end,
            )

        # 5. Back to pictures
        images = self._result(latents, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def find_faces(self, pictures: Sequence[np.ndarray]) -> list[list[LightFace]]:
        """Those of each picture ``uint8 (H, W, 3)``, largest first."""
        return [
            light_faces(picture, self.detected(picture), self.landmarker) for picture in pictures
        ]

    def detected(self, picture: np.ndarray) -> Sequence[Face]:
        """What ``detector`` finds in one picture; it is made when it is first needed."""
        if self.detector is None:
            self.detector = FaceDetector()
        return self.detector.detect(picture)

    def swapped(
        self,
        pictures: Sequence[np.ndarray],
        faces: Sequence[Sequence[LightFace]],
        *,
        settings: SwapSettings | None = None,
        threshold: float = 1.0,
        rank: int = 0,
    ) -> list[np.ndarray]:
        """The pictures with each face swapped for one of the pool, as :meth:`__call__` says.

        Raises:
            SettingError: there are faces and no pool.
        """
        if self.pool is None and any(faces):
            raise SettingError(
                "there are faces to swap and this pipeline has no pool: set pool = FacePool.load("
                "FOLDER) of a folder by `camouflage pool build`, or give swapped_images"
            )
        done = []
        for picture, some in zip(pictures, faces, strict=True):
            if not some or self.pool is None:
                done.append(picture)
                continue
            fakes = chosen_fakes(
                self.pool, self.image_encoder, picture, some, threshold=threshold, rank=rank
            )
            done.append(swapped_picture(picture, some, fakes, settings or self.swap_settings))
        return done

    @property
    def swap_settings(self) -> SwapSettings:
        """How this pipeline swaps faces unless told otherwise."""
        config = self.config
        return SwapSettings(
            side=config["default_swap_side"], alignment=config["default_swap_alignment"]
        )

    def _default(self, name: str, value: Any) -> Any:
        return self.config[f"default_{name}"] if value is None else value

    def _number(self, name: str, value: float | None) -> float:
        number = self._default(name, value)
        if not (math.isfinite(number) and number >= 0):
            raise SettingError(f"{name}: expected a number >= 0, got {number}")
        return number

    def _pixels(self, pictures: Sequence[np.ndarray]) -> Tensor:
        return to_latents.pixels_from_pictures(pictures).to(self._execution_device)

    def _rows(
        self,
        g: float,
        texts: list[str] | None,
        negatives: list[str] | None,
        swapped: Sequence[np.ndarray],
    ) -> tuple[PromptRow, ...]:
        """The row of the prompt and that of nothing, without those of weight 0."""
        seen = encoder_input(swapped, side_of(self.image_encoder))
        rows = [(g, texts, seen), (1 - g, negatives, torch.zeros_like(seen))]
        return tuple(
            PromptRow(
                weight=weight,
                context=self.null_text(len(swapped)) if text is None else self.encode_texts(text),
                image=image_tokens(self.unet, penultimate_of(self.image_encoder, pixels)),
            )
            for weight, text, pixels in rows
            if weight != 0
        )

    def _features(
        self,
        pictures: Sequence[np.ndarray],
        faces: Sequence[Sequence[LightFace]],
        z_0: Tensor,
        scale: float,
    ) -> list[Tensor] | None:
        """What the adapter adds; nothing for a picture without faces."""
        if scale == 0 or not any(faces):
            return None
        latent_hw = (z_0.shape[2], z_0.shape[3])
        maps = attribute_maps(self.attribute_net, pictures, faces, latent_hw)
        has_face = torch.tensor([[bool(some)] for some in faces]).view(-1, 1, 1, 1)
        features = adapter_features(
            self.adapter, self.unet, torch.from_numpy(maps).to(z_0.device), scale=scale
        )
        return [feature * has_face.to(feature) for feature in features]


def _require_as_many(name: str, given: Sequence[Any], pictures: Sequence[Any]) -> None:
    if len(given) != len(pictures):
        raise SettingError(
            f"{name}: expected one list a picture, {len(pictures)}, got {len(given)}"
        )
