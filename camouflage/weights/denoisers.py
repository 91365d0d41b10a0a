"""The part of the table for what draws: checkpoints of SD 1.5, the autoencoder, ControlNets."""

from __future__ import annotations

from camouflage.weights.entry import Entry, File

_RAIL = "no unlawful, harmful or deceptive use (the licence's list of restrictions)"

_TOKENIZER = tuple(
    File(name=f"tokenizer/{name}", required=False)
    for name in (
        "merges.txt", "vocab.json", "tokenizer.json", "tokenizer_config.json",
        "special_tokens_map.json",
    )
)  # fmt: skip


def _base(
    name: str,
    what: str,
    repository: str,
    revision: str,
    *,
    unet: File,
    text_encoder: File,
    size_bytes: int,
    dtype: str | None,
) -> Entry:
    return Entry(
        name=name,
        role="base",
        what=what,
        repository=repository,
        revision=revision,
        files=(
            File(name="scheduler/scheduler_config.json"),
            File(name="text_encoder/config.json"),
            text_encoder,
            *_TOKENIZER,
            File(name="unet/config.json"),
            unet,
        ),
        licence="CreativeML Open RAIL-M",
        use=_RAIL,
        commercial=True,
        size_bytes=size_bytes,
        dtype=dtype,
        needs="base",
    )


def _controlnet(
    control: str, repository: str, revision: str | None, *, sha256: str | None
) -> Entry:
    return Entry(
        name=f"controlnet-{control}",
        role="controlnet",
        what=f"steers by {control}, ControlNet 1.1 for SD 1.5",
        repository=f"lllyasviel/{repository}",
        revision=revision,
        files=(
            File(name="config.json"),
            File(name="diffusion_pytorch_model.safetensors", sha256=sha256),
        ),
        licence="CreativeML Open RAIL-M",
        use=_RAIL,
        commercial=True,
        size_bytes=1_446_000_000,
        dtype="float32",
        needs="controlnet",
    )


DENOISERS = (
    _base(
        "realistic-vision-5.1",
        "photographs, a fine-tuned SD 1.5; the default",
        "SG161222/Realistic_Vision_V5.1_noVAE",
        "1e9f017a7b1eaefb63a1900ea6c5953d2739fd21",
        unet=File(name="unet/diffusion_pytorch_model.safetensors"),
        text_encoder=File(name="text_encoder/model.safetensors"),
        size_bytes=4_000_000_000,
        dtype=None,
    ),
    _base(
        "stable-diffusion-1.5",
        "the plain model",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        unet=File(
            name="unet/diffusion_pytorch_model.safetensors",
            sha256="19da7aaa4b880e59d56843f1fcb4dd9b599c28a1d9d9af7c1143057c8ffae9f1",
            size_bytes=3_438_167_540,
        ),
        text_encoder=File(
            name="text_encoder/model.safetensors",
            sha256="d008943c017f0092921106440254dbbe00b6a285f7883ec8ba160c3faad88334",
            size_bytes=492_265_874,
        ),
        size_bytes=3_932_000_000,
        dtype="float32",
    ),
    Entry(
        name="sd-vae-ft-mse",
        role="autoencoder",
        what="pictures to latents and back, better faces than SD 1.5's own",
        repository="stabilityai/sd-vae-ft-mse",
        revision="31f26fdeee1355a5c34592e401dd41e45d25a493",
        files=(
            File(
                name="config.json",
                sha256="92d3dfb746fca211a2c9e019e285f8597412211728dce3c5bcf4eda0f2d62e7e",
                size_bytes=547,
            ),
            File(
                name="diffusion_pytorch_model.safetensors",
                sha256="a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815",
                size_bytes=334_643_276,
            ),
        ),
        licence="MIT",
        use="any",
        commercial=True,
        size_bytes=334_644_000,
        dtype="float32",
        needs="autoencoder",
    ),
    Entry(
        name="tokenizer-clip",
        role="tokenizer",
        what="words to numbers, for a base in one file",
        repository="openai/clip-vit-large-patch14",
        revision="32bd64288804d66eefd0ccbe215aa642df71cc41",
        files=(
            File(
                name="vocab.json",
                sha256="3f0c4f7d2086b61b38487075278ea9ed04edb53a03cbb045b86c27190fa8fb69",
            ),
            File(
                name="merges.txt",
                sha256="9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a",
                size_bytes=524_619,
            ),
            File(
                name="tokenizer_config.json",
                sha256="deef455e52fa5e8151e339add0582e4235f066009601360999d3a9cda83b1129",
            ),
            File(
                name="special_tokens_map.json",
                sha256="f8c0d6c39aee3f8431078ef6646567b0aba7f2246e9c54b8b99d55c22b707cbf",
                required=False,
            ),
        ),
        licence="MIT (CLIP, OpenAI)",
        use="any",
        commercial=True,
        size_bytes=1_600_000,
        dtype=None,
        needs="files",
    ),
    _controlnet(
        "depth",
        "control_v11f1p_sd15_depth",
        "539f99181d33db39cf1af2e517cd8056785f0a87",
        sha256="999aca923ca5e19e70e6afc8d11073cc3c03553ca935b636bd5925df4a1c77d1",
    ),
    _controlnet(
        "normals",
        "control_v11p_sd15_normalbae",
        "cb7296e6587a219068e9d65864e38729cd862aa8",
        sha256="e6c3772b35e5cb1869beca97a6ade6e8e5283310462297b10d129e25351983d7",
    ),
    _controlnet("segmentation", "control_v11p_sd15_seg", None, sha256=None),
    _controlnet(
        "pose",
        "control_v11p_sd15_openpose",
        "9ae9f970358db89e211b87c915f9535c6686d5ba",
        sha256=None,
    ),
    _controlnet(
        "lineart",
        "control_v11p_sd15_lineart",
        "8a158f547e031c5b8fbca19ead09a74767ff4db0",
        sha256="d9d6d0e5526dd21dfc503f9e42a93ff1f977aa52df3c14e8ac11085b518cb114",
    ),
)
