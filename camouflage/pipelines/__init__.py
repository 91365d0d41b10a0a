"""The methods of the papers as pipelines of diffusers."""

from camouflage.pipelines.base import BasePipeline

__all__ = ["BasePipeline"]
