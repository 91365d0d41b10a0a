"""A tiny pipeline with a CLIP text encoder, made in memory."""

import string

import numpy as np
import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from camouflage.pipelines import BasePipeline
from camouflage.pipelines.tiny import CONTROLS, tiny_pipeline

TOKENS = 8


def tiny_text_encoder():
    torch.manual_seed(3)
    config = CLIPTextConfig(
        vocab_size=54,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=52,
        eos_token_id=53,
    )
    return CLIPTextModel(config).eval()


def tiny_tokenizer():
    """The letters, as CLIP's tokenizer has them; no merges."""
    letters = string.ascii_lowercase
    tokens = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocabulary, [], model_max_length=TOKENS)


@pytest.fixture(scope="session")
def pipe():
    parts = tiny_pipeline(prediction_type="epsilon").components
    text = {"text_encoder": tiny_text_encoder(), "tokenizer": tiny_tokenizer()}
    pipe = BasePipeline(**{**parts, **text, "null_context": None}, controls=list(CONTROLS))
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def pictures():
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(2)]


@pytest.fixture(scope="session")
def maps():
    random = np.random.default_rng(1)
    return {
        name: [random.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(2)]
        for name in CONTROLS
    }


@pytest.fixture
def generators():
    return [torch.Generator().manual_seed(seed) for seed in (0, 1)]
