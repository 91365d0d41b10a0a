"""The methods of the papers as pipelines of diffusers."""

from camouflage.pipelines.base import BasePipeline
from camouflage.pipelines.light import LightPipeline

__all__ = ["BasePipeline", "LightPipeline"]
