"""Noise that depends on a key, a picture and a face, and on nothing else."""

from __future__ import annotations

import hashlib
import hmac

import torch


def generator_for(key: str, name: str, attempt: int = 0) -> torch.Generator:
    """A CPU generator seeded by HMAC-SHA256 of ``name`` and ``attempt`` under ``key``.

    Neither order nor batch nor device changes what it draws. torch's CPU generator uses 32 bits of
    a seed, so the key hides the noise from a reader of the manifest, not from 2^32 trials.
    """
    digest = hmac.new(key.encode(), f"{name}#{attempt}".encode(), hashlib.sha256).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "big") % 2**63)
