"""The image prompt: on and off, to a file and back, and the same as diffusers' own."""

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from transformers import (
    CLIPImageProcessor,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from camouflage.adapters import image_prompt as prompt
from camouflage.errors import SettingError, WeightsError
from camouflage.pipelines.tiny import tiny_autoencoder, tiny_unet

from ..small_light import lively_image_prompt
from ..small_sd15 import small_text_encoder, small_unet, write_tokenizer

EMBED, TOKENS = 24, 5


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def attached(unet=None, *, lively=True):
    unet = tiny_unet().eval() if unet is None else unet
    prompt.attach_image_prompt(unet, embed_dim=EMBED, width=64, tokens=TOKENS)
    if lively:
        lively_image_prompt(unet)
    return unet.eval()


@pytest.fixture
def unet():
    return attached()


@pytest.fixture
def inputs():
    """Latents, a timestep, a text and what an image encoder gave for two pictures."""
    return (
        torch.randn(2, 4, 8, 8),
        torch.tensor(300),
        torch.randn(2, 3, 16),
        torch.randn(2, 7, EMBED),
    )


@torch.no_grad()
def with_image(unet, inputs, hidden=None):
    z, t, text, seen = inputs
    embeds = seen if hidden is None else hidden
    added = {"image_embeds": [embeds[:, None]]}
    return unet(z, t, text, added_cond_kwargs=added).sample


@torch.no_grad()
def without_image(unet, inputs):
    return unet(*inputs[:3]).sample


def test_a_new_one_has_the_unets_own_keys_and_values():
    unet = attached(lively=False)
    attentions = prompt.image_attentions_of(unet)
    assert len(attentions) == sum(name.endswith("attn2") for name, _ in unet.named_modules()) > 2
    for name, processor in attentions.items():
        layer = unet.get_submodule(name.removesuffix(".processor"))
        for ours, own in ((processor.to_k_ip, layer.to_k), (processor.to_v_ip, layer.to_v)):
            assert torch.equal(ours[0].weight, own.weight)
            assert ours[0].weight.data_ptr() != own.weight.data_ptr(), "they are trained apart"


def test_the_unet_it_is_put_on_keeps_its_own_weights():
    unet = tiny_unet()
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    after = attached(unet).state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_of_the_size_of_camouflage_light_and_in_the_unets_dtype():
    unet = tiny_unet().to(torch.bfloat16)
    prompt.attach_image_prompt(unet, embed_dim=768)
    resampler = prompt.resampler_of(unet)
    assert resampler.latents.shape == (1, 16, 768)
    assert len(resampler.layers) == 4
    assert all(block.attn.heads == 12 for block in resampler.layers)
    assert {value.dtype for value in prompt.image_prompt_state(unet).values()} == {torch.bfloat16}
    assert prompt.image_tokens(unet, torch.randn(2, 197, 768)).shape == (2, 16, 16)


def test_parameters_at_full_size():
    """29.5 M and 19.2 M, of Stable Diffusion 1.5."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
        resampler = prompt.IPAdapterPlusImageProjection(
            embed_dims=768, output_dims=768, hidden_dims=768, depth=prompt.DEPTH, heads=12,
            dim_head=prompt.HEAD_WIDTH, num_queries=prompt.TOKENS,
        )  # fmt: skip
    names = [name for name, _ in unet.named_modules() if name.endswith("attn2")]
    layers = [unet.get_submodule(name) for name in names]
    assert len(layers) == 16
    assert sum(2 * layer.to_k.weight.numel() for layer in layers) / 1e6 == pytest.approx(19.2, 0.01)
    assert sum(p.numel() for p in resampler.parameters()) / 1e6 == pytest.approx(29.5, 0.01)


def test_scale_0_is_no_image_prompt_bit_for_bit(inputs):
    unet = tiny_unet().eval()
    plain = without_image(unet, inputs)
    attached(unet)
    assert not torch.allclose(with_image(unet, inputs), plain, atol=1e-3)
    prompt.set_image_prompt_scale(unet, 0.0)
    assert torch.equal(with_image(unet, inputs), plain)


def test_what_the_image_gives_is_added_times_the_scale(unet):
    """Of one attention layer: text + scale * image."""
    name, processor = next(iter(prompt.image_attentions_of(unet).items()))
    layer = unet.get_submodule(name.removesuffix(".processor"))
    x, text = torch.randn(2, 9, layer.to_q.in_features), torch.randn(2, 3, 16)
    image = [torch.randn(2, 1, TOKENS, 16)]

    def at(scale):
        prompt.set_image_prompt_scale(unet, scale)
        with torch.no_grad():
            return processor(layer, x, encoder_hidden_states=(text, image))

    zero, one, two = at(0.0), at(1.0), at(2.0)
    torch.testing.assert_close(two, zero + 2 * (one - zero), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(one, zero, atol=1e-3)


def test_another_image_is_another_result(unet, inputs):
    other = with_image(unet, inputs, torch.randn(2, 7, EMBED))
    assert not torch.allclose(with_image(unet, inputs), other, atol=1e-3)


def test_computed_tokens_equal_tokens_computed_at_each_step(unet, inputs):
    expected = with_image(unet, inputs)
    tokens = prompt.image_tokens(unet, inputs[3])
    assert tokens.shape == (2, TOKENS, 16)
    own = unet.encoder_hid_proj
    with prompt.tokens_computed(unet):
        assert torch.equal(with_image(unet, inputs, tokens), expected)
        assert unet.encoder_hid_proj is not own
    assert unet.encoder_hid_proj is own
    assert torch.equal(with_image(unet, inputs), expected)


@pytest.mark.parametrize("context", [prompt.tokens_computed, prompt.image_prompt_detached])
def test_everything_is_back_after_an_exception(unet, inputs, context):
    expected, names = with_image(unet, inputs), list(unet.state_dict())

    def fail():
        with context(unet):
            raise RuntimeError("in the loop")

    with pytest.raises(RuntimeError, match="in the loop"):
        fail()
    assert list(unet.state_dict()) == names
    assert torch.equal(with_image(unet, inputs), expected)


def test_detached_is_the_unet_as_it_was(inputs):
    unet = tiny_unet().eval()
    before, names = without_image(unet, inputs), list(unet.state_dict())
    config = dict(unet.config)
    attached(unet)
    with prompt.image_prompt_detached(unet):
        assert torch.equal(without_image(unet, inputs), before)
        assert list(unet.state_dict()) == names
        assert dict(unet.config) == config
        assert unet.config.encoder_hid_dim_type is None
    prompt.detach_image_prompt(unet)
    assert torch.equal(without_image(unet, inputs), before)
    assert list(unet.state_dict()) == names
    assert dict(unet.config) == config
    with pytest.raises(SettingError, match="no image prompt"):
        prompt.resampler_of(unet)


def test_a_unet_without_one_stays_as_it_is(inputs):
    unet = tiny_unet().eval()
    before, config = without_image(unet, inputs), dict(unet.config)
    prompt.detach_image_prompt(unet)
    with prompt.image_prompt_detached(unet):
        pass
    assert dict(unet.config) == config
    assert unet.config.encoder_hid_dim_type is None
    assert torch.equal(without_image(unet, inputs), before)


def test_two_are_refused(unet):
    with pytest.raises(SettingError, match="already"):
        prompt.attach_image_prompt(unet, embed_dim=EMBED, width=64)


@pytest.mark.parametrize("width", [0, 65, 32])
def test_a_width_that_no_file_can_say_is_refused(width):
    unet = tiny_unet()
    with pytest.raises(SettingError, match="width"):
        prompt.attach_image_prompt(unet, embed_dim=EMBED, width=width)
    assert unet.encoder_hid_proj is None


@pytest.mark.parametrize("width", [64, 128])
def test_saved_and_loaded_it_gives_the_same_bits(inputs, tmp_path, width):
    first = tiny_unet().eval()
    second = tiny_unet().eval()
    second.load_state_dict(first.state_dict())
    prompt.attach_image_prompt(first, embed_dim=EMBED, width=width, tokens=TOKENS)
    lively_image_prompt(first)
    prompt.save_image_prompt(first, tmp_path / "new" / "folder")
    prompt.load_image_prompt(second, tmp_path / "new" / "folder")
    assert torch.equal(with_image(first, inputs), with_image(second.eval(), inputs))
    ours, theirs = prompt.image_prompt_state(first), prompt.image_prompt_state(second)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_loading_replaces_the_one_that_is_there(unet, inputs, tmp_path):
    prompt.save_image_prompt(unet, tmp_path)
    expected = with_image(unet, inputs)
    lively_image_prompt(unet)
    assert not torch.equal(with_image(unet, inputs), expected)
    prompt.load_image_prompt(unet, tmp_path)
    assert torch.equal(with_image(unet, inputs), expected)


def test_the_names_are_the_published_ones(unet, tmp_path):
    """Those of ``ip-adapter-plus_sd15``."""
    prompt.save_image_prompt(unet, tmp_path)
    state = load_file(tmp_path / prompt.FILE)
    names = {"latents", "proj_in.weight", "proj_in.bias", "proj_out.weight", "proj_out.bias"}
    names |= {"norm_out.weight", "norm_out.bias"}
    for block in range(4):
        norms = [f"0.norm{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")]
        rest = ["0.to_q", "0.to_kv", "0.to_out", "1.0", "1.1", "1.3"]
        linear = [f"{name}.weight" for name in rest] + ["1.0.bias"]
        names |= {f"layers.{block}.{name}" for name in norms + linear}
    cross = len(prompt.image_attentions_of(unet))
    numbers = range(1, 2 * cross, 2)
    layers = {f"ip_adapter.{n}.to_{kind}_ip.weight" for n in numbers for kind in "kv"}
    assert set(state) == {f"image_proj.{name}" for name in names} | layers
    width = state["image_proj.proj_in.weight"].shape[0]
    assert state["image_proj.layers.0.0.to_kv.weight"].shape == (2 * width, width)


def spoilt(change):
    """A file whose state ``change`` has had in its hands."""

    def write(folder):
        state = load_file(folder / prompt.FILE)
        change(state)
        save_file(state, folder / prompt.FILE)

    return write


TROUBLE = {
    "no file": (lambda folder: (folder / prompt.FILE).unlink(), "missing"),
    "no safetensors": (lambda folder: (folder / prompt.FILE).write_bytes(b"pickle"), "missing"),
    "a key less": (spoilt(lambda s: s.pop("ip_adapter.3.to_v_ip.weight")), "not all there"),
    "no latents": (spoilt(lambda s: s.pop("image_proj.latents")), "not all there"),
    "a norm less": (spoilt(lambda s: s.pop("image_proj.norm_out.bias")), "not all there"),
    "a key of others": (spoilt(lambda s: s.update(other=torch.ones(1))), "got other"),
    "a layer too many": (
        spoilt(lambda s: s.update({"ip_adapter.99.to_k_ip.weight": torch.ones(16, 16)})),
        "not for this UNet",
    ),
    "another width": (
        spoilt(lambda s: s.update({"ip_adapter.1.to_k_ip.weight": torch.ones(8, 16)})),
        "not for this UNet",
    ),
    "another kind": (
        spoilt(lambda s: s.update({"image_proj.proj.weight": torch.ones(8, 16)})),
        "not for this UNet",
    ),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_a_file_that_cannot_be_leaves_no_prompt(unet, inputs, tmp_path, name):
    spoil, reason = TROUBLE[name]
    prompt.save_image_prompt(unet, tmp_path)
    spoil(tmp_path)
    other = tiny_unet().eval()
    before = without_image(other, inputs)
    with pytest.raises(WeightsError, match=reason) as caught:
        prompt.load_image_prompt(other, tmp_path)
    assert str(tmp_path) not in str(caught.value)
    assert torch.equal(without_image(other, inputs), before)
    with pytest.raises(SettingError, match="no image prompt"):
        prompt.image_tokens(other, inputs[3])


def test_the_file_of_another_unet_is_refused(unet, tmp_path):
    prompt.save_image_prompt(unet, tmp_path)
    with pytest.raises(WeightsError, match="not for this UNet"):
        prompt.load_image_prompt(small_unet(), tmp_path)


class PlainResampler(nn.Module):
    """Perceiver resampler, as described: learned queries read the tokens in four blocks.

    A block: the queries attend to the normed tokens and the normed queries, 64 wide heads, then a
    layer norm and two linear layers with GELU, four times as wide; both are added to the queries.
    At the end a linear layer and a layer norm. Weights are looked up in the published file.
    """

    def __init__(self, state):
        super().__init__()
        self.state = {k.removeprefix("image_proj."): v for k, v in state.items()}

    def linear(self, name, x):
        return F.linear(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"))

    def norm(self, name, x):
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        mean = x.mean(-1, keepdim=True)
        return (x - mean) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt() * weight + bias

    def attend(self, block, queries, tokens):
        both = torch.cat([tokens, queries], 1)
        q = self.linear(f"{block}.to_q", queries)
        k, v = self.linear(f"{block}.to_kv", both).chunk(2, -1)
        q, k, v = (x.unflatten(-1, (-1, 64)).transpose(1, 2) for x in (q, k, v))
        weights = (q @ k.transpose(-1, -2) / 8).softmax(-1)
        return self.linear(f"{block}.to_out", (weights @ v).transpose(1, 2).flatten(2))

    def forward(self, seen):
        tokens = self.linear("proj_in", seen)
        queries = self.state["latents"].repeat(len(seen), 1, 1)
        for i in range(4):
            block = f"layers.{i}.0"
            normed = self.norm(f"{block}.norm2", queries), self.norm(f"{block}.norm1", tokens)
            queries = queries + self.attend(block, *normed)
            wide = F.gelu(self.linear(f"layers.{i}.1.1", self.norm(f"layers.{i}.1.0", queries)))
            queries = queries + self.linear(f"layers.{i}.1.3", wide)
        return self.norm("norm_out", self.linear("proj_out", queries))


@pytest.mark.parametrize("width", [64, 192])
@torch.no_grad()
def test_the_resampler_equals_a_plain_one(tmp_path, width):
    unet = tiny_unet()
    prompt.attach_image_prompt(unet, embed_dim=EMBED, width=width)
    for parameter in prompt.resampler_of(unet).parameters():
        parameter.normal_(0, 0.2)
    prompt.save_image_prompt(unet, tmp_path)
    seen = torch.randn(3, 9, EMBED)
    ours, plain = prompt.image_tokens(unet, seen), PlainResampler(load_file(tmp_path / prompt.FILE))
    assert ours.shape == (3, 16, 16)
    assert float((ours - plain(seen)).norm() / ours.norm()) < 1e-5


def small_vision():
    """Two layers of CLIP's vision transformer, 16 px."""
    config = CLIPVisionConfig(
        hidden_size=EMBED, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        image_size=16, patch_size=8, projection_dim=8,
    )  # fmt: skip
    return CLIPVisionModelWithProjection(config).eval()


@torch.no_grad()
def test_a_stock_pipeline_reads_the_file_and_draws_the_same(tmp_path):
    """`load_ip_adapter` and `ip_adapter_image` of diffusers against our tokens, on small SD 1.5."""
    base = small_unet().eval()
    ours = small_unet().eval()
    ours.load_state_dict(base.state_dict())
    prompt.attach_image_prompt(ours, embed_dim=EMBED, width=64)
    lively_image_prompt(ours)
    prompt.save_image_prompt(ours, tmp_path / "models")
    write_tokenizer(tmp_path / "tokenizer")
    encoder = small_vision()
    stock = StableDiffusionPipeline(
        vae=tiny_autoencoder(),
        text_encoder=small_text_encoder().eval(),
        tokenizer=CLIPTokenizer.from_pretrained(tmp_path / "tokenizer"),
        unet=base,
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=CLIPImageProcessor(size=16, crop_size=16),
        image_encoder=encoder,
        requires_safety_checker=False,
    )
    stock.set_progress_bar_config(disable=True)
    stock.load_ip_adapter(
        tmp_path, subfolder="models", weight_name=prompt.FILE, image_encoder_folder=None
    )
    stock.set_ip_adapter_scale(0.7)
    prompt.set_image_prompt_scale(ours, 0.7)

    pixels, noise = torch.randn(1, 3, 16, 16), torch.randn(1, 4, 8, 8)
    seen, nothing = (
        encoder(one, output_hidden_states=True).hidden_states[-2]
        for one in (pixels, torch.zeros_like(pixels))
    )
    shared = {"num_inference_steps": 3, "guidance_scale": 2.0}
    expected = stock(
        "a", negative_prompt="b", latents=noise, output_type="latent",
        ip_adapter_image_embeds=[torch.stack([nothing, seen])], **shared,
    ).images  # fmt: skip

    texts = [stock.encode_prompt(text, "cpu", 1, False)[0] for text in ("b", "a")]
    tokens = prompt.image_tokens(ours, torch.cat([nothing, seen]))
    scheduler = DDIMScheduler(clip_sample=False, steps_offset=1)
    scheduler.set_timesteps(3)
    z = noise
    with prompt.tokens_computed(ours):
        for t in scheduler.timesteps:
            without, given = ours(
                z.repeat(2, 1, 1, 1),
                t,
                torch.cat(texts),
                added_cond_kwargs={"image_embeds": [tokens[:, None]]},
            ).sample.chunk(2)
            z = scheduler.step(without + 2.0 * (given - without), t, z).prev_sample
    # 1e-5: float32 over three steps
    assert float((z - expected).norm() / expected.norm()) < 1e-5
    stock.set_ip_adapter_scale(0.0)
    off = stock(
        "a", negative_prompt="b", latents=noise, output_type="latent",
        ip_adapter_image_embeds=[torch.stack([nothing, seen])], **shared,
    ).images  # fmt: skip
    assert float((off - expected).norm() / expected.norm()) > 1e-3, "the image says nothing"


@torch.no_grad()
def test_the_unet_alone_reads_the_file_as_it_is_split_by_diffusers(unet, inputs, tmp_path):
    prompt.save_image_prompt(unet, tmp_path)
    state = load_file(tmp_path / prompt.FILE)
    parts = {
        part: {k.removeprefix(f"{part}."): v for k, v in state.items() if k.startswith(part)}
        for part in ("image_proj", "ip_adapter")
    }
    stock = tiny_unet().eval()
    kept = {k: v for k, v in unet.state_dict().items() if k in stock.state_dict()}
    stock.load_state_dict(kept)
    stock._load_ip_adapter_weights([parts])
    assert torch.equal(with_image(stock, inputs), with_image(unet, inputs))
