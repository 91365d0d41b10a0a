"""Pictures to tensors and back, tensors to latents and back, and the noise of each picture.

Outside are upright RGB ``uint8 (H, W, 3)`` arrays; inside are floats ``(B, 3, H, W)``. The two
converters between them are here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.utils.torch_utils import randn_tensor
from einops import rearrange
from torch import Tensor

from camouflage.errors import NonFiniteResult, SettingError
from camouflage.mini.autoencoder import SmallAutoencoder

Autoencoder = AutoencoderKL | SmallAutoencoder


def pixels_from_pictures(pictures: Sequence[np.ndarray], *, low: float = -1.0) -> Tensor:
    """Float32 (B, 3, H, W) in [low, 1] from ``uint8 (H, W, 3)`` pictures of one size.

    ``low`` is -1 for a picture (autoencoder) and 0 for a control map (ControlNet).
    """
    stacked = torch.from_numpy(np.stack(pictures))
    pixels = rearrange(stacked, "b h w c -> b c h w").float() / 255  # [0, 1]
    return low + (1 - low) * pixels


def pictures_from_pixels(pixels: Tensor) -> np.ndarray:
    """``uint8 (B, H, W, 3)`` from (B, 3, H, W) in [-1, 1]; values outside are clipped."""
    levels = (pixels.float().clamp(-1, 1) * 127.5 + 127.5).round()
    return rearrange(levels, "b c h w -> b h w c").to(torch.uint8).cpu().numpy()


def downscale_factor(vae: Autoencoder) -> int:
    """How many pixels of a side become one latent.

    It follows from the blocks of an ``AutoencoderKL``; ``SmallAutoencoder`` always shrinks by 8.
    """
    blocks = vae.config.get("block_out_channels")
    return 8 if blocks is None else 2 ** (len(blocks) - 1)


def encode(vae: Autoencoder, pixels: Tensor) -> Tensor:
    """The latent z_0 of ``pixels`` (B, 3, H, W) in [-1, 1]: float32 (B, C, h, w).

    It is the mode of the posterior, not a sample, so that a picture has one latent:
    ``(mode - shift_factor) * scaling_factor``.
    """
    encoded: Any = vae.encode(pixels.to(vae.dtype))
    return (encoded.latent_dist.mode().float() - _shift(vae)) * vae.config["scaling_factor"]


def decode(vae: Autoencoder, latents: Tensor) -> Tensor:
    """Float32 pixels (B, 3, H, W), about [-1, 1], of ``latents`` as :func:`encode` gives them.

    Raises:
        NonFiniteResult: the autoencoder overflowed, as some do in float16.
    """
    unscaled = latents / vae.config["scaling_factor"] + _shift(vae)
    pixels = vae.decode(unscaled.to(vae.dtype), return_dict=False)[0].float()
    require_finite(pixels, "the autoencoder's picture", "load the autoencoder in float32")
    return pixels


def _shift(vae: Autoencoder) -> float:
    return vae.config.get("shift_factor") or 0.0


def require_finite(values: Tensor, what: str, advice: str) -> None:
    """Raise ``NonFiniteResult`` with ``advice`` unless every value is finite."""
    if not torch.isfinite(values).all():
        raise NonFiniteResult(f"{what} has values that are not finite: {advice}")


def generators_for(
    generator: torch.Generator | Sequence[torch.Generator] | None, pictures: int
) -> list[torch.Generator]:
    """One generator a picture: the caller's, or freshly seeded ones where ``generator`` is None.

    A single generator given for several pictures is drawn from by each in turn.

    Raises:
        SettingError: their number is not the number of pictures, or one is not on the CPU (the
            noise of a picture must not depend on the device).
    """
    if generator is None:
        return [_fresh() for _ in range(pictures)]
    if isinstance(generator, torch.Generator):
        generator = [generator] * pictures
    generators = list(generator)
    if len(generators) != pictures:
        raise SettingError(
            f"generator: expected one for each of {pictures} pictures, got {len(generators)}"
        )
    if any(one.device.type != "cpu" for one in generators):
        raise SettingError('generator: make it with torch.Generator("cpu"), whatever the device')
    return generators


def _fresh() -> torch.Generator:
    generator = torch.Generator("cpu")
    generator.seed()
    return generator


def noise_like(latents: Tensor, generators: list[torch.Generator]) -> Tensor:
    """Standard normal noise (B, C, h, w), picture k from ``generators[k]``, drawn on the CPU."""
    return randn_tensor(
        tuple(latents.shape), generator=generators, device=latents.device, dtype=latents.dtype
    )
