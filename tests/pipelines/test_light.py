"""LightPipeline whatever its weights: laws, parity with stock parts, saving, refusing."""

import json

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image
from torch import nn

from camouflage.adapters import image_prompt
from camouflage.adapters.attribute_adapter import adapter_features
from camouflage.annotators.image_encoder import penultimate
from camouflage.denoise import encode
from camouflage.denoise.latents import pixels_from_pictures
from camouflage.errors import NonFiniteResult, SettingError, WeightsError
from camouflage.pipelines.light import LightPipeline
from camouflage.pipelines.light_faces import LightFace, attribute_maps, blended, chosen_fakes
from camouflage.swap import FacePool, FaceShape, SwapSettings

from ..small_light import FAKES, light_face, small_encoder, small_light, write_small_pool
from ..small_sd15 import small_text_encoder, write_tokenizer
from ..swap.conftest import noise

STEPS_RUN = 3  # 0.75 of 4


@pytest.fixture(scope="module")
def pool_folder(tmp_path_factory):
    return write_small_pool(tmp_path_factory.mktemp("pools") / "pool")


@pytest.fixture(scope="module")
def shared(pool_folder):
    return small_light(pool=pool_folder)


@pytest.fixture
def pipe(shared):
    """The one pipeline of this file, its scheduler and pool given back as they were."""
    scheduler, pool = shared.scheduler, shared.pool
    yield shared
    shared.scheduler, shared.pool = scheduler, pool


@pytest.fixture(scope="module")
def pictures():
    return [noise(64, 64, seed=k) for k in (11, 12)]


@pytest.fixture(scope="module")
def faces():
    small = light_face(side=30, at_xy=(33, 30)), light_face(side=30, at_xy=(1, 2))
    return [[light_face()], list(small)]


@pytest.fixture
def redraw(pipe, pictures, faces):
    """Latents of a short run from fixed seeds; any argument may be changed."""

    def run(pipe=pipe, image=pictures, seeds=(0, 1), **changed):
        settings = {
            "faces": faces,
            "output_type": "latent",
            "generator": [torch.Generator().manual_seed(seed) for seed in seeds],
        }
        return pipe(image, **{**settings, **changed}).images

    return run


def rows_seen(pipe):
    """A list that gets the batch size of each call of the UNet, and a handle to end it."""
    seen = []
    hook = pipe.unet.register_forward_hook(lambda module, args, out: seen.append(len(args[0])))
    return seen, hook


def test_all_rows_are_one_call_and_guidance_1_is_one_row(pipe, redraw):
    seen, hook = rows_seen(pipe)
    redraw()
    redraw(guidance_scale=1)
    redraw(guidance_scale=0)
    hook.remove()
    assert seen == [4] * STEPS_RUN + [2] * STEPS_RUN * 2


def test_guidance_is_linear_in_its_two_rows(redraw):
    """One step is linear in the prediction: z(g) = z(0) + g (z(1) - z(0))."""
    last = {"strength": 0.25}
    z_0, z_1, z = (redraw(guidance_scale=g, **last) for g in (0, 1, 2.5))
    # 1e-4: three runs' rounding, times 2.5
    torch.testing.assert_close(z, z_0 + 2.5 * (z_1 - z_0), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(z_0, z_1, atol=1e-3)


@pytest.mark.parametrize("guidance_scale", [1, 1.5])
def test_a_picture_alone_equals_the_picture_in_a_batch(redraw, pictures, faces, guidance_scale):
    batch = redraw(guidance_scale=guidance_scale)
    for k in range(2):
        alone = redraw(
            image=pictures[k], faces=[faces[k]], seeds=(k,), guidance_scale=guidance_scale
        )
        # 2e-5: convolutions and attention block their sums by batch size; noise is bit-equal
        torch.testing.assert_close(batch[k : k + 1], alone, atol=2e-5, rtol=2e-5)


def test_same_seed_same_bits_other_seed_other_picture(redraw):
    assert torch.equal(redraw(), redraw())
    assert not torch.allclose(redraw(seeds=(0, 1))[0], redraw(seeds=(2, 1))[0], atol=0.1)


def test_inputs_are_bit_equal_after_the_call(redraw, pictures, faces):
    before = [picture.copy() for picture in pictures]
    boxes = [face.box_xyxy for some in faces for face in some]
    redraw()
    assert all((one == other).all() for one, other in zip(before, pictures, strict=True))
    assert boxes == [face.box_xyxy for some in faces for face in some]


def test_the_start_is_the_swapped_picture_blended_with_the_original(
    pipe, redraw, pictures, faces, monkeypatch
):
    swapped = pipe.swapped(pictures, faces)
    noised = []
    add = pipe.scheduler.add_noise
    monkeypatch.setattr(
        pipe.scheduler, "add_noise", lambda z, noise, t: noised.append(z) or add(z, noise, t)
    )
    for share in (1.0, 0.0):
        redraw(original_share=share)
    assert torch.equal(noised[0], encode_all(pipe, pictures))
    assert torch.equal(noised[1], encode_all(pipe, swapped))
    assert not torch.allclose(encode_all(pipe, pictures), encode_all(pipe, swapped), atol=1e-2)


@torch.no_grad()
def encode_all(pipe, pictures):
    return encode(pipe.vae, pixels_from_pictures(pictures))


def test_a_share_of_1_and_hardly_any_noise_is_the_originals_reconstruction(pipe, redraw, pictures):
    pipe.scheduler = DDIMScheduler(clip_sample=False)
    got = redraw(original_share=1.0, num_inference_steps=1000, strength=0.001)
    # noise of deviation 0.01, once added and once taken off as the model thinks
    away = [
        (got - encode_all(pipe, one)).square().mean().sqrt() for one in (pictures, pictures[::-1])
    ]
    assert away[0] < 0.03 < away[1]


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_the_blend_is_pillows(pictures, share):
    one, other = pictures
    got = blended([one], [other], share)[0]
    expected = np.asarray(Image.blend(Image.fromarray(one), Image.fromarray(other), share))
    assert np.abs(got.astype(int) - expected).max() <= 1
    assert got.dtype == np.uint8
    if share in (0, 1):
        assert np.array_equal(got, (one, other)[int(share)])


def test_every_face_is_swapped_and_the_rest_stays(pipe, pictures, faces):
    swapped = pipe.swapped(pictures, faces)
    for picture, new, some in zip(pictures, swapped, faces, strict=True):
        for face in some:
            x, y = face.shape.five_xy[2].round().astype(int)
            around = np.s_[y - 3 : y + 4, x - 3 : x + 4]
            assert np.abs(new[around].astype(int) - picture[around]).mean() > 5
    corner = np.s_[:20, 50:]
    assert np.array_equal(swapped[1][corner], pictures[1][corner])


def test_a_picture_without_a_face_has_no_swap_and_no_adapter(pipe, redraw, pictures, faces):
    called = []
    hook = pipe.adapter.register_forward_hook(lambda *_: called.append(1))
    nobody = [[], []]
    untouched = pipe.swapped(pictures, nobody)
    assert all(one is other for one, other in zip(untouched, pictures, strict=True))
    free = redraw(faces=nobody)
    pipe.pool = None
    assert torch.equal(free, redraw(faces=nobody)), "no pool is needed"
    hook.remove()
    assert not called
    without = redraw(swapped_images=pictures, adapter_scale=0)
    assert torch.equal(free, without)


def test_in_a_mixed_batch_each_is_as_it_is_alone(redraw, pictures, faces):
    mixed = redraw(faces=[faces[0], []])
    one = redraw(image=pictures[0], faces=[faces[0]], seeds=(0,))
    other = redraw(image=pictures[1], faces=[[]], seeds=(1,))
    # 2e-5: as above
    torch.testing.assert_close(mixed, torch.cat([one, other]), atol=2e-5, rtol=2e-5)


def test_given_swaps_need_no_pool(pipe, redraw, pictures, faces):
    expected = redraw()
    swapped = pipe.swapped(pictures, faces)
    pipe.pool = None
    assert torch.equal(redraw(swapped_images=swapped), expected)


def test_faces_without_a_pool_are_refused(pipe, redraw):
    pipe.pool = None
    with pytest.raises(SettingError, match="no pool"):
        redraw()


def test_a_pool_of_another_encoder_is_refused(pipe, redraw, tmp_path):
    other = FacePool.load(write_small_pool(tmp_path / "pool")).with_embeddings(
        np.eye(FAKES, 5, dtype=np.float32) + 0.1, encoder_name="another", encoder_sha256="cd" * 32
    )
    own = pipe.pool
    with pytest.raises(SettingError, match=r"5 wide, by another.*pool build"):
        pipe.pool = other
    assert pipe.pool is own


def chosen(pipe, picture, faces, **settings):
    got = chosen_fakes(
        pipe.pool, pipe.image_encoder, picture, faces, **{"threshold": 1.0, "rank": 0, **settings}
    )
    every = [pipe.pool.face(i) for i in range(len(pipe.pool))]
    return [next(i for i, fake in enumerate(every) if fake is one) for one in got]


def test_another_attempt_takes_another_fake(pipe, redraw, pictures, faces):
    tried = [chosen(pipe, pictures[0], faces[0], rank=rank)[0] for rank in range(FAKES)]
    assert sorted(tried) == list(range(FAKES))
    several = [pipe.swapped(pictures[:1], faces[:1], rank=rank)[0] for rank in range(3)]
    assert len({one.tobytes() for one in several}) == 3
    assert not torch.equal(redraw(fake_rank=0), redraw(fake_rank=1))
    last = chosen(pipe, pictures[0], faces[0], rank=100)
    assert len(last) == 1, "a pool that is used up still gives a face"


def test_another_attempt_takes_another_fake_of_every_face(pipe, pictures, faces, monkeypatch):
    """Also of a face whose fakes others of the picture take."""
    rng = np.random.default_rng(4)
    for _ in range(40):
        rows = rng.normal(size=(2, 8)).astype(np.float32)
        monkeypatch.setattr(
            "camouflage.pipelines.light_faces.embed_pictures", lambda *_, rows=rows: rows
        )
        tries = [chosen(pipe, pictures[1], faces[1], rank=rank) for rank in range(3)]
        for face in range(2):
            assert len({one[face] for one in tries}) == 3
        assert all(len(set(one)) == 2 for one in tries)


def test_faces_of_one_picture_get_different_fakes(pipe, pictures):
    same = light_face(side=20, at_xy=(20, 20))
    assert len(set(chosen(pipe, pictures[0], [same] * FAKES))) == FAKES
    assert len(chosen(pipe, pictures[0], [same] * (FAKES + 2))) == FAKES + 2


def test_a_fake_is_farther_than_the_threshold_if_there_is_one(pipe, pictures, faces):
    from camouflage.annotators.image_encoder import embed_pictures
    from camouflage.pipelines.light_faces import pixels_in_box

    row = embed_pictures(pipe.image_encoder, [pixels_in_box(pictures[0], faces[0][0].box_xyxy)])[0]
    order, distances = pipe.pool.nearest(row)
    threshold = float(distances[2:4].mean())
    got = chosen(pipe, pictures[0], faces[0], threshold=threshold)
    assert got == [order[3]]
    assert chosen(pipe, pictures[0], faces[0], threshold=0.0) == [order[0]]


def test_what_is_embedded_is_the_original_face(pipe, pictures, monkeypatch):
    """A box that leads out of the picture, or has no size, still has a pixel."""
    seen = []
    monkeypatch.setattr(
        "camouflage.pipelines.light_faces.embed_pictures",
        lambda encoder, crops: seen.extend(crops) or np.eye(len(crops), 8, dtype=np.float32),
    )
    shape = light_face().shape
    boxes = [(10.4, 12.0, 30.2, 40.0), (-9, -9, 5, 5), (60, 60, 90, 90), (70, 70, 80, 80),
             (5, 5, 5, 5)]  # fmt: skip
    faces = [LightFace(box_xyxy=box, shape=shape) for box in boxes]
    chosen_fakes(pipe.pool, None, pictures[0], faces, threshold=1.0, rank=0)
    assert np.array_equal(seen[0], pictures[0][12:40, 10:31])
    assert [crop.shape[:2] for crop in seen[1:]] == [(5, 5), (4, 4), (1, 1), (1, 1)]


@pytest.mark.parametrize(("which", "index"), [("swapped", 0), ("original", 1)])
def test_attributes_are_read_from_the_picture_that_was_asked_for(
    pipe, redraw, pictures, faces, which, index, monkeypatch
):
    read = []

    def maps(net, shown, some, latent_hw):
        read.append([picture.copy() for picture in shown])
        return attribute_maps(net, shown, some, latent_hw)

    monkeypatch.setattr("camouflage.pipelines.light.attribute_maps", maps)
    redraw(attributes_of=which)
    expected = (pipe.swapped(pictures, faces), pictures)[index]
    assert all(np.array_equal(a, b) for a, b in zip(read[0], expected, strict=True))


def test_the_image_prompt_sees_the_swapped_picture_alone(
    pipe, redraw, pictures, faces, monkeypatch
):
    """Never the original, whatever its share in the start."""
    seen = []
    monkeypatch.setattr(
        "camouflage.pipelines.light.penultimate_of",
        lambda encoder, pixels: seen.append(pixels) or encoder(pixels).hidden_states[-2],
    )
    redraw(original_share=1.0)
    from camouflage.annotators.image_encoder import encoder_input

    swapped = encoder_input(pipe.swapped(pictures, faces), 32)
    assert torch.equal(seen[0], swapped)
    assert torch.equal(seen[1], torch.zeros_like(swapped)), "the other row has no image"


@pytest.mark.parametrize(
    "change",
    [
        {"guidance_scale": 3.0},
        {"image_prompt_scale": 0.3},
        {"adapter_scale": 0.0},
        {"adapter_scale": 0.5},
        {"adapter_steps": "first"},
        {"original_share": 0.5},
        {"attributes_of": "original"},
        {"swap": SwapSettings(side=64, alignment="similarity", blend="alpha")},
        {"swap_threshold": 2.0},
        {"strength": 0.5},
        {"num_inference_steps": 6},
    ],
    ids=lambda change: "-".join(map(str, change)),
)
def test_each_setting_acts(redraw, change):
    assert not torch.allclose(redraw(), redraw(**change), atol=1e-5)


def test_the_adapter_acts_at_all_steps_or_the_first_alone(pipe, redraw):
    added = []
    hook = pipe.unet.register_forward_pre_hook(
        lambda module, args, kwargs: added.append(
            kwargs["down_intrablock_additional_residuals"] is not None
        ),
        with_kwargs=True,
    )
    redraw()
    redraw(adapter_steps="first")
    hook.remove()
    assert added == [True] * STEPS_RUN + [True] + [False] * (STEPS_RUN - 1)


def test_callback_sees_and_changes_latents(redraw):
    seen = []

    def zero_at_the_end(pipe, step, t, tensors):
        seen.append(step)
        return {"latents": tensors["latents"] * (step < STEPS_RUN - 1)}

    assert redraw(callback_on_step_end=zero_at_the_end).abs().max() == 0
    assert seen == [0, 1, 2]


def test_the_resampler_is_back_after_an_exception_in_the_loop(pipe, redraw):
    before = pipe.unet.encoder_hid_proj

    def fail(pipe, step, t, tensors):
        raise RuntimeError("in the loop")

    with pytest.raises(RuntimeError, match="in the loop"):
        redraw(callback_on_step_end=fail)
    assert pipe.unet.encoder_hid_proj is before
    assert torch.isfinite(redraw()).all()


@pytest.mark.parametrize("where", ["loop", "encoder"])
def test_no_numbers_are_an_error_and_never_the_original(redraw, where, pipe, monkeypatch):
    if where == "encoder":
        bias = torch.full_like(pipe.image_encoder.norm.bias, float("nan"))
        other = nn.LayerNorm(len(bias))
        other.bias.data = bias
        monkeypatch.setitem(pipe.image_encoder._modules, "norm", other)
        with pytest.raises(NonFiniteResult):
            redraw()
        return
    with pytest.raises(NonFiniteResult):
        redraw(callback_on_step_end=lambda p, s, t, x: {"latents": x["latents"] * float("nan")})


def test_kinds_of_output(redraw):
    pil, array, tensor = (redraw(output_type=kind) for kind in ("pil", "np", "pt"))
    assert [image.size for image in pil] == [(64, 64)] * 2
    assert (array.shape, tuple(tensor.shape)) == ((2, 64, 64, 3), (2, 3, 64, 64))
    assert np.abs(np.asarray(pil[0]) / 255 - array[0]).max() <= 0.5 / 255 + 1e-6


NAN = float("nan")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"output_type": "jpeg"}, "output_type"),
        ({"adapter_steps": "last"}, "adapter_steps"),
        ({"attributes_of": "fake"}, "attributes_of"),
        ({"guidance_scale": -1.0}, "guidance_scale"),
        ({"guidance_scale": NAN}, "guidance_scale"),
        ({"image_prompt_scale": NAN}, "image_prompt_scale"),
        ({"adapter_scale": -0.1}, "adapter_scale"),
        ({"original_share": 1.1}, "original_share"),
        ({"original_share": NAN}, "original_share"),
        ({"strength": 0.0}, "strength"),
        ({"strength": 1.2}, "strength"),
        ({"strength": NAN}, "strength"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"num_inference_steps": 2.5}, "steps"),
        ({"swap_threshold": 2.5}, "threshold"),
        ({"fake_rank": -1}, "fake_rank"),
        ({"faces": [[]]}, "faces"),
        ({"prompt": "a man"}, "prompt"),
        ({"prompt": ["a"]}, "prompt"),
        ({"negative_prompt": "a", "guidance_scale": 1}, "negative_prompt"),
        ({"generator": [torch.Generator()]}, "generator"),
        ({"callback_on_step_end_tensor_inputs": ["z"]}, "callback_on_step_end_tensor_inputs"),
        ({"image": [np.zeros((60, 64, 3), np.uint8)] * 2}, "image"),
        ({"image": [np.zeros((64, 64, 3), np.uint8), np.zeros((32, 64, 3), np.uint8)]}, "image"),
        ({"swapped_images": [np.zeros((32, 64, 3), np.uint8)] * 2}, "swapped_images"),
        ({"swapped_images": [np.zeros((64, 64, 3), np.uint8)]}, "swapped_images"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_argument_that_cannot_be_is_named(redraw, change, named):
    with pytest.raises(SettingError, match=named):
        redraw(**change)


@pytest.mark.parametrize("change", [{"original_share": 1.1}, {"fake_rank": -1}], ids=str)
def test_what_is_wrong_is_said_before_faces_are_looked_for(redraw, monkeypatch, change):
    monkeypatch.setattr(LightPipeline, "find_faces", lambda *_: pytest.fail("it looked"))
    with pytest.raises(SettingError, match=next(iter(change))):
        redraw(**change)


def test_a_misspelt_argument_fails(redraw):
    with pytest.raises(TypeError, match="guidance"):
        redraw(guidance=3.0)


def test_inference_keeps_no_graph(redraw):
    assert not redraw().requires_grad


# Parity


def texts_of(pipe, words):
    ids = pipe.tokenizer(words, padding="max_length", truncation=True, return_tensors="pt")
    return pipe.text_encoder(ids.input_ids)[0]


@pytest.fixture(scope="module")
def with_text(pool_folder, tmp_path_factory):
    """A small Light that attends to a text of 768 channels."""
    from transformers import CLIPTokenizer

    from camouflage.adapters.attribute_adapter import attribute_adapter

    from ..small_light import lively_image_prompt
    from ..small_sd15 import small_unet

    folder = tmp_path_factory.mktemp("tokens") / "tokenizer"
    write_tokenizer(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = small_unet()
        image_prompt.attach_image_prompt(unet, embed_dim=16, width=64, tokens=4)
        lively_image_prompt(unet)
        return small_light(
            pool=pool_folder,
            unet=unet,
            adapter=attribute_adapter(unet),
            null_context=None,
            text_encoder=small_text_encoder(),
            tokenizer=CLIPTokenizer.from_pretrained(folder),
        )


@torch.no_grad()
@pytest.mark.parametrize("adapter_steps", ["all", "first"])
def test_equals_a_plain_loop_over_stock_parts(with_text, pictures, faces, adapter_steps):
    """The resampler at each step, stock features, both rows in calls of their own."""
    pipe, settings = with_text, {"strength": 0.8, "num_inference_steps": 5}
    pipe.scheduler = DDIMScheduler(clip_sample=False)
    ours = pipe(
        pictures, faces=faces, prompt="a man", negative_prompt="b", guidance_scale=3.0,
        image_prompt_scale=0.8, adapter_scale=0.7, adapter_steps=adapter_steps,
        original_share=0.25, output_type="latent",
        generator=[torch.Generator().manual_seed(seed) for seed in (0, 1)], **settings,
    ).images  # fmt: skip

    swapped = pipe.swapped(pictures, faces)
    start = [
        np.asarray(Image.blend(Image.fromarray(new), Image.fromarray(old), 0.25))
        for new, old in zip(swapped, pictures, strict=True)
    ]
    pixels = torch.tensor(np.stack(start)).permute(0, 3, 1, 2) / 127.5 - 1
    z_0 = pipe.vae.encode(pixels).latent_dist.mode() * pipe.vae.config.scaling_factor
    scheduler = DDIMScheduler(clip_sample=False)
    scheduler.set_timesteps(5)
    noises = [torch.randn(1, *z_0.shape[1:], generator=torch.Generator().manual_seed(k))
              for k in (0, 1)]  # fmt: skip
    z = scheduler.add_noise(z_0, torch.cat(noises), scheduler.timesteps[1:2].repeat(2))
    maps = torch.tensor(attribute_maps(pipe.attribute_net, swapped, faces, (8, 8)))
    features = [0.7 * feature for feature in pipe.adapter(maps)]
    seen = penultimate(pipe.image_encoder, swapped)
    nothing = pipe.image_encoder(torch.zeros(2, 3, 32, 32)).hidden_states[-2]
    image_prompt.set_image_prompt_scale(pipe.unet, 0.8)

    def row(z, t, text, hidden, residuals):
        return pipe.unet(
            z,
            t,
            texts_of(pipe, [text] * 2),
            added_cond_kwargs={"image_embeds": [hidden[:, None]]},
            down_intrablock_additional_residuals=residuals,
        ).sample

    for step, t in enumerate(scheduler.timesteps[1:]):
        acts = adapter_steps == "all" or step == 0
        given = row(z, t, "a man", seen, list(features) if acts else None)
        without = row(z, t, "b", nothing, list(features) if acts else None)
        z = scheduler.step(without + 3.0 * (given - without), t, z).prev_sample
    # float32 sums in another order, over four steps
    assert float((ours - z).norm() / z.norm()) < 1e-5


@torch.no_grad()
def test_the_texts_act(with_text, pictures, faces):
    def run(**texts):
        return with_text(
            pictures, faces=faces, guidance_scale=3.0, output_type="latent",
            num_inference_steps=2, strength=0.5,
            generator=[torch.Generator().manual_seed(seed) for seed in (0, 1)], **texts,
        ).images  # fmt: skip

    null = run()
    assert torch.equal(null, run(prompt="", negative_prompt="")), "no text is the empty text"
    for texts in ({"prompt": "a man"}, {"negative_prompt": "a man"}, {"prompt": ["", "q"]}):
        assert float((run(**texts) - null).norm() / null.norm()) > 1e-5


# Saving and loading


@pytest.fixture(scope="module")
def saved(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "light"
    shared.save_pretrained(folder)
    return folder


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_loads_bit_for_bit_with_image_prompt_and_pool(pipe, redraw, saved):
    again = quiet(LightPipeline.from_pretrained(saved))
    assert torch.equal(redraw(), redraw(pipe=again))
    public = {k: v for k, v in pipe.config.items() if not k.startswith("_")}
    assert {k: v for k, v in again.config.items() if not k.startswith("_")} == public
    assert again.config["random_weights"] is True
    assert len(again.pool) == FAKES
    assert again.pool.encoder_sha256 == pipe.pool.encoder_sha256


def test_saving_leaves_the_pipeline_as_it_was(pipe, redraw, tmp_path):
    expected = redraw()
    pipe.save_pretrained(tmp_path / "a")
    assert torch.equal(redraw(), expected)


def test_a_saved_pipeline_can_be_saved_in_its_own_place(redraw, saved):
    again = quiet(LightPipeline.from_pretrained(saved))
    expected = redraw(pipe=again)
    again.save_pretrained(saved)
    assert torch.equal(redraw(pipe=again), expected)
    assert torch.equal(redraw(pipe=quiet(LightPipeline.from_pretrained(saved))), expected)


def test_a_pool_with_other_embeddings_is_saved_with_them(pipe, redraw, tmp_path):
    rows = np.random.default_rng(9).normal(size=(FAKES, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    pipe.pool = pipe.pool.with_embeddings(rows, encoder_name="other", encoder_sha256="cd" * 32)
    pipe.save_pretrained(tmp_path)
    again = quiet(LightPipeline.from_pretrained(tmp_path))
    assert again.pool.encoder_name == "other"
    assert torch.equal(redraw(), redraw(pipe=again))


def test_a_pipeline_without_a_pool_has_none_after_loading(pipe, saved, tmp_path):
    pipe.pool = None
    pipe.save_pretrained(tmp_path)
    assert LightPipeline.from_pretrained(tmp_path).pool is None
    with pytest.raises(SettingError, match="another pipeline's"):
        pipe.save_pretrained(saved)


def test_only_data_is_written(saved):
    kinds = {file.suffix for file in saved.rglob("*") if file.is_file()}
    assert kinds == {".safetensors", ".json", ".png"}


def test_halves_load_with_the_image_prompt(saved):
    half = LightPipeline.from_pretrained(saved, dtype=torch.float16)
    state = image_prompt.image_prompt_state(half.unet)
    assert {value.dtype for value in state.values()} == {torch.float16}


def test_a_folder_without_its_image_prompt_is_refused(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    (tmp_path / "ip_adapter" / image_prompt.FILE).unlink()
    with pytest.raises(WeightsError, match="ip_adapter"):
        LightPipeline.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("keyword", "reason"),
    [({"use_safetensors": False}, "safetensors"), ({"trust_remote_code": True}, "never run")],
)
def test_pickles_and_code_are_refused(saved, keyword, reason):
    with pytest.raises(SettingError, match=reason):
        LightPipeline.from_pretrained(saved, **keyword)


def test_classes_of_others_are_refused(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    index["adapter"] = ["os", "system"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match=r"os\.system"):
        LightPipeline.from_pretrained(tmp_path)


def test_it_is_not_pushed_anywhere(pipe, tmp_path):
    with pytest.raises(SettingError, match="push_to_hub"):
        pipe.save_pretrained(tmp_path / "a", push_to_hub=True)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", ["mini-light", "sd15-light"])
def test_a_size_takes_its_own_keywords_alone(name):
    with pytest.raises(SettingError, match="variant"):
        LightPipeline.from_pretrained(name, variant="fp16")


def test_text_or_no_text_but_one_of_them(pipe):
    with pytest.raises(WeightsError, match="null_context"):
        small_light(null_context=None)
    with pytest.raises(SettingError, match="annotators"):
        small_light(annotators="none")


# Finding faces


def test_faces_are_found_where_none_are_given(pipe, redraw, pictures, monkeypatch):
    from camouflage.subjects.faces import Face

    five = light_face().shape.five_xy
    points = tuple((float(x), float(y)) for x, y in five)
    small = tuple((x / 2, y / 2) for x, y in points)
    found = (
        Face(box_xyxy=(5, 5, 20, 20), points_xy=small, score=0.9),
        Face(box_xyxy=(8, 8, 56, 56), points_xy=points, score=0.5),
    )
    monkeypatch.setattr(pipe, "detector", type("D", (), {"detect": lambda self, p: found})())
    faces = pipe.find_faces(pictures)
    assert [[face.area_px for face in some] for some in faces] == [[48 * 48, 15 * 15]] * 2
    assert np.allclose(faces[0][0].shape.five_xy, five)
    spread = np.ptp(faces[0][0].shape.points_xy, axis=0)
    assert (spread > 20).all(), "the landmarks are not in the picture's pixels"
    assert torch.equal(redraw(faces=None), redraw(faces=faces))


def test_features_of_the_small_encoder_and_adapter_fit(pipe):
    """Guards the tests above: the adapter and the image prompt are no zeros."""
    maps = torch.rand(1, 41, 8, 8)
    with torch.no_grad():
        features = adapter_features(pipe.adapter, pipe.unet, maps)
    assert all(feature.std() > 1e-3 for feature in features)
    assert small_encoder().config["projection_dim"] == 8
    assert isinstance(light_face().shape, FaceShape)
