"""Denoising: the loop (written once), the guidance, and the latents it works on."""

from camouflage.denoise.guidance import AnalyticIdentity, Branch, Guidance, Row, row_weights
from camouflage.denoise.latents import decode, encode
from camouflage.denoise.loop import Predictor, denoise, noised, schedule

__all__ = [
    "AnalyticIdentity",
    "Branch",
    "Guidance",
    "Predictor",
    "Row",
    "decode",
    "denoise",
    "encode",
    "noised",
    "row_weights",
    "schedule",
]
