"""One picture through all stages: what passes, what does not, and that no original gets out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image

from camouflage import (
    Anonymizer,
    AuditRefused,
    BasePipeline,
    GivenRegion,
    NobodyFound,
    Recipe,
    Result,
)
from camouflage.annotators.landmarks import LandmarkNet
from camouflage.audit import FaceVerdict, Verdict
from camouflage.errors import (
    CamouflageError,
    NonFiniteResult,
    OutOfMemory,
    OutputError,
    SettingError,
)
from camouflage.pipelines.tiny import tiny_pipeline

SIDE = 128
RUNG = {"anonymization_scale": 0.0, "strength": 0.0}
LADDER = [RUNG, RUNG, {"anonymization_scale": 0.25, "strength": 0.2}]


MINI = Recipe.load("mini").changed(
    {"upscaler": None, "start_share": 0.0}  # the one is for its own size; what is painted comes out
)


class FakePipeline:
    """Redraws faces as ``paint`` says, and remembers what it was asked."""

    def __init__(self, paint) -> None:
        torch.manual_seed(0)
        self.paint, self.calls = paint, []
        self.landmarker = LandmarkNet().eval()
        self.config = {
            "size_px": SIDE,
            "controls": ["landmarks", "lineart", "colour"],
            "default_weights": {"landmarks": 1.0, "lineart": 1.0, "colour": 1.0},
            "random_weights": False,
        }

    weights_in_use = BasePipeline.weights_in_use

    def __call__(self, image: Sequence[NDArray[np.uint8]], **settings) -> SimpleNamespace:
        self.calls.append({"faces": len(image), **settings})
        return SimpleNamespace(images=[Image.fromarray(self.paint(i)) for i in image])


def noise(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, crop.shape).astype(np.uint8)


def original(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return crop


def raising(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    raise NonFiniteResult("the denoised latent has values that are not finite")


def anonymizer(paint, **changes) -> Anonymizer:
    recipe = MINI.changed(changes)
    return Anonymizer(recipe, pipeline=FakePipeline(paint))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def astronaut() -> NDArray[np.uint8]:
    return skimage.data.astronaut()


def test_a_redrawn_face_passes_and_the_rest_is_the_original(astronaut, tmp_path: Path) -> None:
    before = astronaut.copy()
    result = anonymizer(noise)(astronaut, seed=7)
    assert result.state == "passed"
    assert np.array_equal(astronaut, before), "the input was painted on"
    assert np.array_equal(result.pixels[300:], astronaut[300:])
    x0, y0, x1, y1 = result.faces[0].box_xyxy
    inside = np.s_[y0 + 20 : y1 - 20, x0 + 20 : x1 - 20]
    assert np.abs(result.pixels[inside].astype(int) - astronaut[inside]).mean() > 30
    result.save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), result.pixels)
    with pytest.raises(OutputError):
        result.save(tmp_path / "a.png")


def test_a_face_that_stays_is_refused_after_all_attempts(astronaut, tmp_path: Path) -> None:
    bound = anonymizer(original, ladder=LADDER)
    result = bound(astronaut, seed=7)
    assert result.state == "refused"
    assert [attempt.passed for attempt in result.faces[0].attempts] == [False] * 3
    assert max(result.faces[0].distances) < 0.3  # type: ignore[type-var]
    with pytest.raises(AuditRefused, match="face 1 of 1"):
        result.image  # noqa: B018
    with pytest.raises(AuditRefused):
        result.save(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
    assert result._pixels is None, "a refused result must not carry its pixels"


def test_what_makes_it_faster_reaches_the_pipeline(astronaut) -> None:
    levers = {"control_every": 2, "guidance_start": 0.1, "guidance_end": 0.8}
    bound = anonymizer(noise, **levers, control_end=0.6)
    bound(astronaut, seed=7)
    call = bound.pipeline.calls[0]  # type: ignore[attr-defined]
    assert levers.items() <= call.items()
    assert call["control_end"] == 0.6
    assert call["fused_controls"] is False


def test_a_fused_net_that_is_not_there_is_said_before_any_picture() -> None:
    recipe = MINI.changed({"fused_controls": True})
    with pytest.raises(SettingError, match="has no fused ControlNet"):
        Anonymizer(recipe, pipeline=tiny_pipeline())


def test_attempts_escalate(astronaut) -> None:
    bound = anonymizer(original, ladder=LADDER, anonymization_scale=1.25, strength=0.9)
    result = bound(astronaut, seed=7)
    calls = bound.pipeline.calls  # type: ignore[attr-defined]
    assert [c["anonymization_scale"] for c in calls] == [1.25, 1.25, 1.5]
    assert [c["strength"] for c in calls] == [0.9, 0.9, 1.0], "strength ends at 1"
    recorded = [(a.anonymization_scale, a.strength) for a in result.faces[0].attempts]
    assert recorded == [(1.25, 0.9), (1.25, 0.9), (1.5, 1.0)]
    draws = [torch.rand(1, generator=c["generator"][0]).item() for c in calls]
    assert len(set(draws)) == 3, "an attempt repeated the noise of another"


@pytest.mark.parametrize("method", ["solid", "pixelate", "blur"])
def test_a_face_that_stays_is_covered_where_that_is_asked(astronaut, method: str) -> None:
    bound = anonymizer(original, ladder=[RUNG], on_refusal="obfuscate", obfuscation=method)
    result = bound(astronaut, seed=7)
    record = result.faces[0]
    assert (result.state, record.method) == ("passed", "obfuscated")
    assert [attempt.method for attempt in record.attempts] == ["redrawn", method]
    x0, y0, x1, y1 = record.box_xyxy
    assert (result.pixels[y0:y1, x0:x1] != astronaut[y0:y1, x0:x1]).any(2).mean() > 0.8
    assert np.array_equal(result.pixels[300:], astronaut[300:])


def test_only_the_face_that_stays_is_covered(astronaut) -> None:
    two = np.concatenate([astronaut, np.roll(astronaut[:, ::-1], 37, 0)], 1)
    first = anonymizer(noise)(two, seed=1).faces[0].box_xyxy
    crops: list[NDArray[np.uint8]] = []

    def spares_the_second(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
        crops.append(crop)
        return noise(crop) if np.array_equal(crop, crops[0]) else crop

    bound = anonymizer(spares_the_second, ladder=[RUNG] * 2, on_refusal="obfuscate")
    result = bound(two, seed=1)
    assert result.state == "passed"
    assert [face.method for face in result.faces] == ["redrawn", "obfuscated"]
    assert [len(face.attempts) for face in result.faces] == [1, 3], "a face that passed is left"
    x0, y0, x1, y1 = first
    black = (result.pixels[y0:y1, x0:x1].max(2) == 0).mean()
    assert black < 0.1, "the redrawn face was covered too"


def test_a_cover_that_does_not_pass_is_refused(astronaut, monkeypatch) -> None:
    monkeypatch.setattr("camouflage.attempts.obfuscated", lambda pixels, boxes, method: pixels)
    result = anonymizer(original, ladder=[RUNG], on_refusal="obfuscate")(astronaut, seed=7)
    assert result.state == "refused"
    assert result._pixels is None


class Memory:
    """A model that has memory for ``room`` faces."""

    def __init__(self, room: int, error: BaseException) -> None:
        self.pipeline, self.room, self.error = FakePipeline(noise), room, error
        self.landmarker, self.config = self.pipeline.landmarker, self.pipeline.config

    weights_in_use = BasePipeline.weights_in_use

    def __call__(self, image, **settings) -> SimpleNamespace:
        if len(image) > self.room:
            raise self.error
        return self.pipeline(image, **settings)


OUT_OF_MEMORY = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory"),
    "cpu": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    "numpy": MemoryError(),
}


@pytest.mark.parametrize("error", OUT_OF_MEMORY.values(), ids=OUT_OF_MEMORY)
def test_a_batch_that_is_too_large_is_halved(astronaut, error: BaseException) -> None:
    three = np.concatenate([astronaut] * 3, 1)
    model = Memory(1, error)
    result = Anonymizer(MINI, pipeline=model)(three, seed=1)  # type: ignore[arg-type]
    assert result.state == "passed"
    assert [len(f.attempts) for f in result.faces] == [1] * 3, "a face came back as it was"
    assert [c["faces"] for c in model.pipeline.calls][:3] == [1, 1, 1]


@pytest.mark.parametrize("error", OUT_OF_MEMORY.values(), ids=OUT_OF_MEMORY)
def test_no_memory_for_one_face_is_an_error_of_its_own(astronaut, error: BaseException) -> None:
    bound = Anonymizer(MINI, pipeline=Memory(0, error))  # type: ignore[arg-type]
    with pytest.raises(OutOfMemory, match="one face"):
        bound(astronaut, seed=1)


def test_another_error_is_not_taken_for_lack_of_memory(astronaut) -> None:
    error = RuntimeError("shapes do not fit")
    bound = Anonymizer(MINI, pipeline=Memory(0, error))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        bound(astronaut, seed=1)


def test_trouble_in_the_model_is_raised(astronaut) -> None:
    with pytest.raises(NonFiniteResult):
        anonymizer(raising)(astronaut, seed=7)


@pytest.mark.parametrize("where", ["in memory", "saved"])
def test_random_weights_never_pass(astronaut, tmp_path: Path, where: str) -> None:
    """Nor when they come from a folder, whatever its name."""
    pipe = tiny_pipeline()
    if where == "saved":
        pipe.save_pretrained(tmp_path / "mini")
        pipe = BasePipeline.from_pretrained(tmp_path / "mini")
    pipe.set_progress_bar_config(disable=True)
    controls = {name: 0.0 for name in pipe.config["controls"]}
    recipe = MINI.changed(
        {"ladder": [RUNG], "steps": 2, "strength": 1.0, "control_weights": controls}
    )
    result = Anonymizer(recipe, pipeline=pipe)(astronaut, seed=1)
    assert result.state == "refused"
    assert any("random" in reason for reason in result.verdict.reasons)  # type: ignore[union-attr]


def test_nobody(tmp_path: Path) -> None:
    wall = np.full((200, 300, 3), 130, np.uint8)
    result = anonymizer(noise)(wall)
    assert result.state == "nobody"
    with pytest.raises(NobodyFound):
        result.save(tmp_path / "a.png")
    copied = anonymizer(noise, on_nobody="copy")(wall)
    assert copied.state == "copied"
    assert np.array_equal(copied.pixels, wall)


def test_noise_depends_on_key_and_picture_only(astronaut) -> None:
    def draw(picture: NDArray[np.uint8], seed: int) -> float:
        bound = anonymizer(noise)
        bound(picture, seed=seed)
        call = bound.pipeline.calls[0]  # type: ignore[attr-defined]
        return torch.rand(1, generator=call["generator"][0]).item()

    assert draw(astronaut, 7) == draw(astronaut, 7)
    assert draw(astronaut, 7) != draw(astronaut, 8)
    assert draw(astronaut, 7) != draw(np.roll(astronaut, 1, 1), 7)


def test_faces_are_redrawn_in_batches(astronaut) -> None:
    two = np.concatenate([astronaut, astronaut[:, ::-1]], 1)
    bound = anonymizer(noise, face_batch=1)
    result = bound(two, seed=1)
    assert [c["faces"] for c in bound.pipeline.calls][:2] == [1, 1]  # type: ignore[attr-defined]
    assert len(result.faces) == 2


def test_a_pipeline_without_landmarks_is_refused_at_once() -> None:
    pipe = tiny_pipeline()
    pipe.register_modules(landmarker=None)
    with pytest.raises(SettingError, match="landmark"):
        Anonymizer(MINI, pipeline=pipe)


def test_a_control_that_the_model_does_not_have_is_refused_at_once() -> None:
    with pytest.raises(SettingError, match="landmark'"):
        anonymizer(noise, control_weights={"landmark": 1.0})


def test_a_cover_covers_all_that_was_found_at_a_given_place(astronaut) -> None:
    found = anonymizer(noise)(astronaut, seed=7).faces[0].box_xyxy
    x0, y0, x1, y1 = found
    part = GivenRegion(box_xyxy=(x0, y0, x1, y0 + round(0.6 * (y1 - y0))))
    bound = anonymizer(original, ladder=[RUNG], on_refusal="obfuscate")
    result = bound(astronaut, seed=7, regions=[part])
    assert result.faces[0].method == "obfuscated"
    assert not result.pixels[y0:y1, x0:x1].any(), "a part of the face is not covered"


def test_a_refusal_that_another_face_does_not_mend_says_so(astronaut) -> None:
    passed = FaceVerdict(passed=True, judged_by="pixels", distance=None, changed=1.0, reason="")
    verdict = Verdict(
        passed=False, threshold=0.6, faces=(passed,), reasons=("a person was missed",)
    )
    result = Result(
        state="refused", faces=(), verdict=verdict, seconds={}, size_wh=(4, 4), _pixels=None
    )
    with pytest.raises(AuditRefused, match="--boxes"):
        result.image  # noqa: B018


def test_unreadable_input(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"not a picture")
    with pytest.raises(CamouflageError, match=r"a\.jpg"):
        anonymizer(noise)(tmp_path / "a.jpg")
