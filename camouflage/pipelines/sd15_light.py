"""``sd15-light``: CAMOUFLaGE-Light at the paper's scale, on published weights and trained adapters.

Stable Diffusion 1.5 (Realistic Vision 5.1 as in the released code), FaRL, FACER, a better
autoencoder. The authors' adapters were not published: they are trained by
`configs/training/light-sd15.yaml`, and looked for in the folder of models.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.models.adapter import T2IAdapter
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from transformers import CLIPVisionModelWithProjection

from camouflage import weights
from camouflage.adapters.image_prompt import load_image_prompt
from camouflage.annotators.attributes import AttributeNet, load_farl
from camouflage.annotators.image_encoder import embed_pictures
from camouflage.annotators.landmarks import LandmarkNet, inner_box
from camouflage.errors import WeightsError
from camouflage.pipelines.light import IMAGE_PROMPT, POOL, LightPipeline
from camouflage.pipelines.light_encoder import sha256_of
from camouflage.pipelines.light_faces import pixels_in_box
from camouflage.pipelines.sd15 import Source, load_base, sampler
from camouflage.swap import FacePool
from camouflage.weights import load_model

ADAPTERS = "light-sd15"
"""The folder of the trained adapters among one's models."""


def sd15_light_pipeline(
    *,
    base: Source | None = None,
    vae: Source | None = None,
    adapters: Path | str | None = None,
    image_encoder: Source | None = None,
    attributes: Source | None = None,
    pool: Path | str | None = None,
    dtype: torch.dtype | None = None,
) -> LightPipeline:
    """The pipeline, on the CPU, ready to be moved to a GPU.

    Everything is found before anything is loaded; what is not here is fetched.

    Args:
        base: as in :func:`camouflage.pipelines.sd15.sd15_pipeline`, but no single file.
        vae: in the place of ``sd-vae-ft-mse``: a repository or a folder.
        adapters: what ``training.export light`` wrote; None: the folder ``light-sd15`` among one's
            models.
        image_encoder: FaRL of another place: a repository or a folder.
        attributes: a folder of FACER's network, converted.
        pool: of `camouflage pool build`, with embeddings by the same encoder; None: ``pool/`` among
            the adapters, else the pool inside this package, embedded anew.
        dtype: of all weights; float32 if not given.

    Raises:
        SettingError: the pool is none.
        WeightsError: one line for each part that is missing, damaged or of another architecture.
    """
    names = ["realistic-vision-5.1", "sd-vae-ft-mse", "farl", "attributes-facer"]
    given = dict(zip(names, (base, vae, image_encoder, attributes), strict=True))
    trained = _trained(adapters)
    found = weights.require(names, at=given)
    dtype = dtype or torch.float32
    parts = load_base(found["realistic-vision-5.1"], None, dtype)
    load_image_prompt(parts.unet, trained / IMAGE_PROMPT)
    torch.nn.Module.to(parts.unet, dtype)
    encoder = load_farl(found["farl"], dtype=dtype)
    pipeline = LightPipeline(
        vae=load_model(AutoencoderKL, found["sd-vae-ft-mse"], dtype=dtype, name="sd-vae-ft-mse"),
        unet=parts.unet,
        scheduler=sampler(parts.scheduler),
        image_encoder=encoder,
        adapter=load_model(T2IAdapter, trained / "adapter", dtype=dtype),
        attribute_net=load_model(AttributeNet, found["attributes-facer"], dtype=dtype),
        landmarker=load_model(
            LandmarkNet, weights.mini_folder() / "landmarker", dtype=torch.float32
        ),
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        encoder_sha256=sha256_of(found["farl"]),
    )
    if pool is None and (trained / POOL).is_dir():
        pool = trained / POOL
    pipeline.pool = default_pool(encoder, found["farl"]) if pool is None else FacePool.load(pool)
    return pipeline


def default_pool(encoder: CLIPVisionModelWithProjection, folder: Path) -> FacePool:
    """The pool inside this package, whose faces ``mini`` drew, with the embeddings of ``encoder``.

    ``folder``: where the encoder's weights are.

    Raises:
        WeightsError: it is not in this installation.
    """
    own = FacePool.load(weights.mini_light_folder() / POOL)
    faces = [own.face(i) for i in range(len(own))]
    boxes = [pixels_in_box(face.pixels, inner_box(face.points_xy).tolist()) for face in faces]
    return own.with_embeddings(
        embed_pictures(encoder, boxes), encoder_name="farl", encoder_sha256=sha256_of(folder)
    )


def _trained(adapters: Path | str | None) -> Path:
    folder = weights.models_folder() / ADAPTERS if adapters is None else Path(adapters)
    parts = [folder / IMAGE_PROMPT, folder / "adapter"]
    if missing := [part.name for part in parts if not part.is_dir()]:
        raise WeightsError(
            f"{ADAPTERS}: no {' and no '.join(missing)} in {folder.name}; nobody published "
            "adapters of CAMOUFLaGE-Light: train them (training/README.md) and put what "
            f"`training.export light` writes into a folder {ADAPTERS} in the folder that "
            f"{weights.MODELS} names"
        )
    weights.check_sums(folder)
    return folder
