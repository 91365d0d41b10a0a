"""What the image encoder is shown, and what is taken from it."""

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from camouflage.annotators.attributes.network import CLIP_MEAN, CLIP_STD
from camouflage.annotators.image_encoder import (
    AT_ONCE,
    embed_pictures,
    encoder_input,
    load_image_encoder,
    penultimate,
    side_of,
    token_width,
)
from camouflage.errors import NonFiniteResult, SettingError, WeightsError

from ..small_light import small_encoder

SIZES_HW = [(224, 224), (300, 200), (201, 333), (64, 97), (17, 31), (500, 121), (1, 9), (225, 224)]


def picture(height, width, seed=0):
    """Smooth in part, noise in part."""
    ramp = np.linspace(0, 255, width) * np.ones((height, 1))
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return np.where(np.arange(3) == 1, ramp[..., None], noise).astype(np.uint8)


def small_farl():
    config = CLIPVisionConfig(
        hidden_size=24, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
        image_size=32, patch_size=8, projection_dim=6,
    )  # fmt: skip
    return CLIPVisionModelWithProjection(config).eval()


@pytest.fixture(params=["farl", "small"])
def encoder(request):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return (small_farl() if request.param == "farl" else small_encoder()).eval()


@pytest.mark.parametrize("size_hw", SIZES_HW)
@pytest.mark.parametrize("side", [224, 32])
def test_a_picture_is_prepared_as_by_clips_own_processor(size_hw, side):
    pixels = picture(*size_hw)
    processor = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=side)
    expected = processor(
        pixels, return_tensors="pt", input_data_format="channels_last"
    ).pixel_values
    got = encoder_input([pixels], side)
    assert (got.shape, got.dtype) == ((1, 3, side, side), torch.float32)
    levels = (got - expected).abs() * torch.tensor(CLIP_STD).view(3, 1, 1) * 255
    assert levels.max() < 0.01  # float32; both are Pillow's bicubic


def test_the_size_before_the_cut_is_clips_for_every_size():
    """int(side * longer / shorter), where a float factor would now and then give one less."""
    wrong = []
    for shorter in range(1, 400, 3):
        for longer in range(shorter, 500, 7):
            scale = 224 / shorter
            if max(int(longer * scale), 224) != int(224 * longer / shorter):
                wrong.append((shorter, longer))
    for shorter, longer in wrong[:4]:
        pixels = picture(shorter, longer)
        processor = CLIPImageProcessorPil()
        expected = processor(pixels, return_tensors="pt").pixel_values
        torch.testing.assert_close(encoder_input([pixels], 224), expected, atol=1e-3, rtol=0)


def test_colours_keep_their_order():
    red = np.zeros((40, 40, 3), np.uint8)
    red[..., 0] = 255
    got = encoder_input([red], 16)[0, :, 8, 8]
    expected = (torch.tensor([1.0, 0, 0]) - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)
    torch.testing.assert_close(got, expected)


def test_pictures_of_different_sizes_go_together():
    several = [picture(*size) for size in SIZES_HW[:4]]
    batch = encoder_input(several, 32)
    for k, one in enumerate(several):
        assert torch.equal(batch[k : k + 1], encoder_input([one], 32))
    assert encoder_input([], 32).shape == (0, 3, 32, 32)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(wrong):
    with pytest.raises(SettingError, match=r"uint8 \(H, W, 3\)"):
        encoder_input([wrong], 32)


def test_tokens_are_those_before_the_last_layer(encoder):
    pixels = picture(40, 50)
    got = penultimate(encoder, [pixels])
    patches = 1 + (32 // 8) ** 2 if isinstance(encoder, CLIPVisionModelWithProjection) else 4
    assert got.shape == (1, patches, token_width(encoder))
    with torch.no_grad():
        output = encoder(encoder_input([pixels], side_of(encoder)), output_hidden_states=True)
    assert torch.equal(got, output.hidden_states[-2])


def test_the_last_layer_has_no_part_in_the_tokens():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = small_farl()
    before = penultimate(encoder, [picture(40, 50)])
    layers = next(m.layers for m in encoder.modules() if hasattr(m, "layers"))
    with torch.no_grad():
        for parameter in layers[-1].parameters():
            parameter.fill_(9.0)
    assert torch.equal(penultimate(encoder, [picture(40, 50)]), before)
    with torch.no_grad():
        for parameter in layers[-2].parameters():
            parameter.mul_(2)
    assert not torch.equal(penultimate(encoder, [picture(40, 50)]), before)


def test_embeddings_have_length_1_and_do_not_depend_on_the_batch(encoder):
    count = AT_ONCE + 3
    several = [picture(20 + i, 30, seed=i) for i in range(count)]
    rows = embed_pictures(encoder, several)
    assert (rows.shape[0], rows.dtype) == (count, np.float32)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    for k in (0, AT_ONCE - 1, AT_ONCE, count - 1):
        # 1e-5: other sizes of batches
        assert embed_pictures(encoder, [several[k]])[0] == pytest.approx(rows[k], abs=1e-5)
    assert np.ptp(rows, axis=0).max() > 1e-3, "all pictures look alike"


def test_no_pictures_are_no_embeddings(encoder):
    width = encoder.config["projection_dim"] if not hasattr(encoder.config, "hidden_size") else 6
    assert embed_pictures(encoder, []).shape == (0, width)


def test_an_encoder_that_gives_no_numbers_is_refused(encoder):
    with torch.no_grad():
        encoder.visual_projection.weight.fill_(float("nan"))
    with pytest.raises(NonFiniteResult, match="image encoder"):
        embed_pictures(encoder, [picture(32, 32)])


def test_either_kind_comes_back_from_its_folder(encoder, tmp_path):
    encoder.save_pretrained(tmp_path / "encoder")
    again = load_image_encoder(tmp_path / "encoder")
    assert type(again) is type(encoder)
    assert not again.training
    saved, loaded = encoder.state_dict(), again.state_dict()
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)
    pixels = [picture(40, 50)]
    # 1e-6: where weights lie in memory decides how a product of matrices is summed
    assert embed_pictures(again, pixels) == pytest.approx(embed_pictures(encoder, pixels), abs=1e-6)


def test_a_folder_without_weights_is_refused(encoder, tmp_path):
    encoder.save_pretrained(tmp_path / "encoder")
    next((tmp_path / "encoder").glob("*.safetensors")).unlink()
    with pytest.raises(WeightsError):
        load_image_encoder(tmp_path / "encoder")
    with pytest.raises(WeightsError):
        load_image_encoder(tmp_path / "nowhere")
