"""LoRA and textual inversion go into our pipeline as into diffusers' own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from camouflage import BasePipeline

pytest.importorskip("peft")


@pytest.fixture
def sd15(sd15_models) -> BasePipeline:
    sd15_models()
    pipeline = BasePipeline.from_pretrained("sd15")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def drawn(pipeline: BasePipeline, prompt: str = "a") -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    output = pipeline(
        pixels,
        control_images=dict.fromkeys(pipeline.config["controls"], pixels),
        prompt=prompt,
        anonymization_scale=1.0,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    )
    return output.images  # type: ignore[union-attr]


def lora_file(pipeline: BasePipeline, folder: Path) -> Path:
    """A LoRA of rank 2 on the UNet's queries, in diffusers' own layout."""
    from peft import LoraConfig, get_peft_model_state_dict

    name = "to_q"
    pipeline.unet.add_adapter(LoraConfig(r=2, target_modules=[name], init_lora_weights=False))
    layers = get_peft_model_state_dict(pipeline.unet)
    BasePipeline.save_lora_weights(folder, unet_lora_layers=layers)
    pipeline.unet.delete_adapters("default")
    return folder


def test_a_lora_goes_on_and_comes_off(sd15: BasePipeline, tmp_path: Path) -> None:
    before = drawn(sd15)
    folder = lora_file(sd15, tmp_path)
    assert np.array_equal(drawn(sd15), before), "the adapter was not taken out again"
    sd15.load_lora_weights(str(folder), adapter_name="style")
    assert np.abs(drawn(sd15) - before).max() > 1e-3
    sd15.unload_lora_weights()
    np.testing.assert_allclose(drawn(sd15), before, atol=1e-6)


def test_a_textual_inversion_of_several_vectors(sd15: BasePipeline) -> None:
    vectors = torch.randn(2, 768, generator=torch.Generator().manual_seed(0))
    before = drawn(sd15, "a")
    sd15.load_textual_inversion({"<easyneg>": vectors}, token="<easyneg>")
    np.testing.assert_array_equal(drawn(sd15, "a"), before)
    ids = sd15.tokenizer("<easyneg>").input_ids
    assert len(ids) == 3, "start, one token, end: the others are added when it is used"
    text = sd15.tokenizer(sd15.maybe_convert_prompt("<easyneg>", sd15.tokenizer)).input_ids
    assert len(text) == 4
    assert np.abs(drawn(sd15, "<easyneg>") - before).max() > 1e-4
