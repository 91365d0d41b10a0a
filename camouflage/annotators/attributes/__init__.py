"""Forty attributes of a face (FACER), and published weights of FaRL and FACER as ours."""

from camouflage.annotators.attributes.align import aligned, facer_template
from camouflage.annotators.attributes.farl import (
    attribute_state_from_facer,
    clip_vision_from_farl,
    farl_config,
    farl_vision_state,
    load_farl,
    read_facer,
    read_farl,
)
from camouflage.annotators.attributes.names import CELEBA_ATTRIBUTES
from camouflage.annotators.attributes.network import AttributeNet, predict_attributes

__all__ = [
    "CELEBA_ATTRIBUTES",
    "AttributeNet",
    "aligned",
    "attribute_state_from_facer",
    "clip_vision_from_farl",
    "facer_template",
    "farl_config",
    "farl_vision_state",
    "load_farl",
    "predict_attributes",
    "read_facer",
    "read_farl",
]
