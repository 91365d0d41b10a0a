"""Published names and numbers of FaRL into transformers', against a network of torch alone.

Tolerance 1e-5: the same float32 sums in another order.
"""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from camouflage.annotators.attributes import (
    AttributeNet,
    attribute_state_from_facer,
    clip_vision_from_farl,
    farl_config,
    farl_vision_state,
    load_farl,
    read_farl,
)
from camouflage.errors import WeightsError

from .published import HEADS, LAYERS, PATCH, PROJECTION, SIDE, WIDTH, Facer, Farl

CONFIG = CLIPVisionConfig(
    hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=LAYERS, image_size=SIDE,
    num_attention_heads=HEADS, patch_size=PATCH, projection_dim=PROJECTION,
)  # fmt: skip
PUBLISHED = {"width": 768, "layers": 12, "heads": 12}


def close(ours, theirs) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_embedding_and_penultimate_state_are_those_of_the_published_network(farl, pixels) -> None:
    ours = CLIPVisionModelWithProjection(CONFIG).eval()
    ours.load_state_dict(clip_vision_from_farl(farl.state_dict()))
    output = ours(pixel_values=pixels, output_hidden_states=True)
    close(output.image_embeds, farl.visual(pixels))
    close(output.hidden_states[-2], farl.visual.hidden(pixels)[-2])


@pytest.mark.parametrize("layout", ["visual.", "", "module.visual.", "module."])
def test_every_prefix_is_recognised(farl, layout: str) -> None:
    expected = clip_vision_from_farl(farl.state_dict())
    state = {f"{layout}{name}": value for name, value in farl.visual.state_dict().items()}
    found = farl_vision_state(state)
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def whole_clip() -> CLIPModel:
    text = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 9,
        "num_attention_heads": 2, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
    }  # fmt: skip
    vision = CONFIG.to_dict() | {"projection_dim": 512}  # as where only the whole says it
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=PROJECTION)
    return CLIPModel(config).eval()


@torch.no_grad()
def test_a_whole_clip_of_transformers_keeps_its_vision_part(pixels, tmp_path) -> None:
    clip = whole_clip()
    state = clip.state_dict()
    buffer = {"vision_model.embeddings.position_ids": torch.arange(17)[None]}  # older transformers
    found = farl_vision_state(state | buffer)
    assert set(found) == set(CLIPVisionModelWithProjection(CONFIG).state_dict())
    clip.save_pretrained(tmp_path)
    ours = load_farl(tmp_path)(pixel_values=pixels, output_hidden_states=True)
    theirs = clip.vision_model(pixel_values=pixels, output_hidden_states=True)
    close(ours.hidden_states[-2], theirs.hidden_states[-2])
    close(ours.image_embeds, clip.visual_projection(theirs.pooler_output))


@torch.no_grad()
def test_a_converted_folder_loads_in_both_ways(farl, pixels, tmp_path) -> None:
    """All but the heads, of which the published weights say nothing: 64 channels each."""
    state, config = read_farl(farl.state_dict())
    assert config["num_attention_heads"] == 1
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "model.safetensors")
    config["num_attention_heads"] = HEADS
    (tmp_path / "config.json").write_text(json.dumps(config))
    expected = farl.visual(pixels)
    close(load_farl(tmp_path)(pixel_values=pixels).image_embeds, expected)
    theirs = CLIPVisionModelWithProjection.from_pretrained(tmp_path)
    close(theirs(pixel_values=pixels).image_embeds, expected)
    assert not any(value.requires_grad for value in load_farl(tmp_path).parameters())


def test_at_the_published_size_every_weight_has_its_place() -> None:
    """Names and shapes alone: torch's device ``meta`` has no numbers."""
    with torch.device("meta"):
        ours, net = CLIPVisionModelWithProjection(farl_config()), AttributeNet()
        farl, facer = Farl(**PUBLISHED), Facer(**PUBLISHED)
        for visual in (farl.visual, facer.backbone):  # the sizes that the small ones differ in
            visual.conv1 = torch.nn.Conv2d(3, 768, 16, bias=False)
            visual.positional_embedding = torch.nn.Parameter(torch.empty(197, 768))
        farl.visual.proj = torch.nn.Parameter(torch.empty(768, 512))
    for model, state in (
        (ours, farl_vision_state(farl.state_dict())),
        (net, attribute_state_from_facer(facer.state_dict())),
    ):
        shapes = {name: value.shape for name, value in model.state_dict().items()}
        assert {name: value.shape for name, value in state.items()} == shapes
    config = read_farl(farl.state_dict())[1]
    assert CLIPVisionConfig(**config).to_dict() == {
        **farl_config().to_dict(), "architectures": ["CLIPVisionModelWithProjection"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["proj", "ln_post.bias", "class_embedding", "transformer.resblocks.1.attn.in_proj_weight"],
)
def test_what_is_missing_is_named(farl, name: str) -> None:
    state = farl.state_dict()
    del state[f"visual.{name}"]
    with pytest.raises(WeightsError, match=rf"{name} not in it"):
        farl_vision_state(state)


def test_a_vision_part_without_its_projection(farl) -> None:
    state = clip_vision_from_farl(farl.state_dict())
    del state["visual_projection.weight"]
    with pytest.raises(WeightsError, match=r"visual_projection\.weight not in it"):
        farl_vision_state(state)
    del state["vision_model.encoder.layers.2.self_attn.k_proj.bias"]
    with pytest.raises(WeightsError, match=r"layers\.2\.self_attn\.k_proj\.bias, visual_pro"):
        farl_vision_state(state)


@pytest.mark.parametrize("state", [{}, {"encoder.weight": torch.zeros(1)}])
def test_another_network_is_refused(state) -> None:
    with pytest.raises(WeightsError, match="expected a vision transformer of CLIP"):
        farl_vision_state(state)


def test_a_folder_that_cannot_be_loaded(farl, tmp_path) -> None:
    with pytest.raises(WeightsError, match="missing, damaged"):
        load_farl(tmp_path)
    state, config = read_farl(farl.state_dict())
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_size": 64}))
    with pytest.raises(WeightsError, match="do not go together"):
        load_farl(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=f"{tmp_path.name}: expected a vision transformer"):
        load_farl(tmp_path)
