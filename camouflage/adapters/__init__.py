"""Modules attached to a UNet: they go on for a run and come off after it, whatever happens."""

from camouflage.adapters.controls import Control, embed, embeddings_computed
from camouflage.adapters.fused import fused_controlnet
from camouflage.adapters.identity import identity_controlnet

__all__ = ["Control", "embed", "embeddings_computed", "fused_controlnet", "identity_controlnet"]
