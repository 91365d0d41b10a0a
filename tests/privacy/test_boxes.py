"""Given boxes and masks: all that is named is redrawn and judged, and nothing is let through."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from camouflage import Anonymizer, FaceDetector, GivenRegion, NobodyFound, Recipe, Verdict, cli
from camouflage.annotators.landmarks import MESH_INDICES, LandmarkNet
from camouflage.attempts import FaceRecord
from camouflage.audit import Recogniser
from camouflage.batch import Manifest, Outcome, command, find_jobs, run_folder
from camouflage.errors import AuditRefused, SettingError
from camouflage.picture import Picture
from camouflage.pipelines import BasePipeline
from camouflage.subjects.boxes_file import Places
from camouflage.subjects.cover import ellipse

SIDE = 128
FACE = (90, 29, 135, 89)  # of the astronaut at half size
RUNG = {"anonymization_scale": 0.0, "strength": 0.0}


class FakePipeline:
    """Redraws faces as ``paint`` says."""

    def __init__(self, paint: Callable) -> None:
        torch.manual_seed(0)
        self.paint, self.landmarker = paint, LandmarkNet().eval()
        self.config = {
            "size_px": SIDE,
            "controls": ["landmarks", "lineart", "colour"],
            "default_weights": {"landmarks": 1.0, "lineart": 1.0, "colour": 1.0},
            "random_weights": False,
        }

    weights_in_use = BasePipeline.weights_in_use

    def __call__(self, image, **settings) -> SimpleNamespace:
        return SimpleNamespace(images=[Image.fromarray(self.paint(crop)) for crop in image])


def noise(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, crop.shape).astype(np.uint8)


def original(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return crop


@pytest.fixture(scope="module")
def parts() -> dict:
    return {"detector": FaceDetector(threads=1), "recogniser": Recogniser()}


@pytest.fixture
def anonymizer(parts) -> Callable[..., Anonymizer]:
    def make(paint: Callable, **changes) -> Anonymizer:
        plain = {"ladder": [RUNG], "upscaler": None, "start_share": 0.0}  # what is painted
        recipe = Recipe.load("mini").changed({**plain, **changes})
        return Anonymizer(recipe, pipeline=FakePipeline(paint), **parts)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="module")
def astronaut() -> NDArray[np.uint8]:
    return cv2.resize(skimage.data.astronaut(), (256, 256), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def two(astronaut) -> NDArray[np.uint8]:
    """Twice the same face, the second at 256 px to the right."""
    return np.concatenate([astronaut, astronaut], 1)


def wall(height: int = 120, width: int = 160) -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(90, 160, (height, width, 3)).astype(np.uint8)


def inside(box: tuple[int, int, int, int], picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    mask = np.zeros(picture.shape[:2], bool)
    mask[box[1] : box[3], box[0] : box[2]] = ellipse(box)
    return mask


def only(verdict: Verdict | None):
    assert verdict is not None
    (judged,) = verdict.faces
    return judged


@pytest.mark.parametrize("detect", [True, False])
def test_a_box_without_a_face_is_redrawn_and_judged_by_its_pixels(anonymizer, detect) -> None:
    picture, box = wall(), (50, 30, 110, 100)
    regions = [GivenRegion(box_xyxy=box)]
    result = anonymizer(noise)(picture, seed=1, regions=regions, detect=detect)
    assert result.state == "passed"
    assert only(result.verdict).judged_by == "pixels"
    assert result.mask[inside(box, picture)].all()
    assert np.array_equal(result.pixels[~result.mask], picture[~result.mask])
    assert (result.pixels != picture).any(2)[inside(box, picture)].mean() > 0.9
    kept = anonymizer(original)(picture, seed=1, regions=regions, detect=detect)
    assert kept.state == "refused", "what was not redrawn came out"
    with pytest.raises(AuditRefused):
        kept.mask  # noqa: B018


def test_a_face_in_a_given_box_is_judged_by_the_recogniser(anonymizer, astronaut) -> None:
    regions = [GivenRegion(box_xyxy=FACE)]
    result = anonymizer(noise)(astronaut, seed=1, regions=regions, detect=False)
    assert result.state == "passed"
    assert only(result.verdict).judged_by == "recogniser"
    eyes = result.regions[0].points_xy[:2]  # type: ignore[index]
    assert np.abs(eyes - [[101, 50], [123, 51]]).max() < 4, "the points are not those of the face"
    kept = anonymizer(original)(astronaut, seed=1, regions=regions, detect=False)
    assert kept.state == "refused"


@pytest.mark.parametrize("detect", [True, False])
def test_only_detection_finds_who_is_not_given(anonymizer, two, detect) -> None:
    regions = [GivenRegion(box_xyxy=FACE)]
    result = anonymizer(noise)(two, seed=1, regions=regions, detect=detect)
    assert result.faces[0].box_xyxy == FACE, "the given box wins over what was found there"
    assert len(result.faces) == (2 if detect else 1)
    assert result.mask[:, 256:].any() == detect


def test_what_is_found_at_a_given_place_is_covered_too(anonymizer, astronaut) -> None:
    """A given box may be tighter than the face: then the face goes as well, points or not."""
    x0, y0, x1, y1 = FACE
    tight = GivenRegion(
        box_xyxy=(x0 + 8, y0 + 6, x1 - 8, y1 - 20),
        points_xy=np.array([[101, 50], [123, 51], [113, 62], [104, 72], [121, 72]]),
    )
    result = anonymizer(noise)(astronaut, seed=1, regions=[tight])
    assert len(result.faces) == 1
    found = anonymizer(noise).detector.detect(astronaut)[0].box_xyxy
    assert result.mask[inside(found, astronaut)].all()


@pytest.mark.parametrize("given", [True, False])
def test_wrong_landmarks_leave_nothing_of_a_face_outside(
    anonymizer, astronaut, monkeypatch, given
) -> None:
    def lost(net, crops) -> NDArray[np.float64]:
        return np.zeros((len(crops), len(MESH_INDICES), 2))

    monkeypatch.setattr("camouflage.redraw.predict_landmarks", lost)
    regions = [GivenRegion(box_xyxy=FACE)] if given else None
    bound = anonymizer(noise)
    result = bound(astronaut, seed=1, regions=regions)
    box = FACE if given else bound.detector.detect(astronaut)[0].box_xyxy
    assert result.mask[inside(box, astronaut)].mean() == (
        1 if given else pytest.approx(1, abs=0.01)
    )


def test_all_of_a_mask_is_redrawn_each_part_for_itself(anonymizer) -> None:
    picture = wall()
    mask = np.zeros(picture.shape[:2], bool)
    mask[10:60, 10:50] = True
    mask[70:110, 90:150] = True
    mask[12:20, 100:104] = True
    result = anonymizer(noise)(picture, seed=1, regions=[GivenRegion(mask=mask)], detect=False)
    assert len(result.faces) == 3
    assert result.mask[mask].all()
    assert (result.pixels[mask] != picture[mask]).any(1).mean() > 0.9


def test_regions_that_do_not_fit_the_picture_are_errors(anonymizer) -> None:
    picture = wall(100, 100)
    for region, words in (
        (GivenRegion(box_xyxy=(50, 50, 101, 90)), "inside the picture of 100 x 100"),
        (GivenRegion(box_xyxy=(50, 50, 90, 101)), "inside the picture of 100 x 100"),
        (GivenRegion(mask=np.ones((100, 99), bool)), "got 99 x 100"),
    ):
        with pytest.raises(SettingError, match=words):
            anonymizer(noise)(picture, seed=1, regions=[region])


def test_grain_is_no_mask(anonymizer) -> None:
    grain = np.zeros((100, 100), bool)
    grain[::2, ::2] = True
    with pytest.raises(SettingError, match="grain"):
        anonymizer(noise)(wall(100, 100), seed=1, regions=[GivenRegion(mask=grain)])


def test_who_says_that_nobody_is_there(anonymizer) -> None:
    """Only who looked or was told may let a picture through as it is."""
    picture = wall()
    for policy, detect, regions, state in (
        ("copy", True, None, "copied"),
        ("copy", True, [], "copied"),
        ("copy", False, [], "copied"),
        ("copy", False, None, "nobody"),
        ("refuse", False, [], "nobody"),
        ("refuse", False, None, "nobody"),
    ):
        result = anonymizer(noise, on_nobody=policy)(
            picture, seed=1, regions=regions, detect=detect
        )
        assert result.state == state, (policy, detect, regions)
        if state == "nobody":
            with pytest.raises(NobodyFound):
                result.image  # noqa: B018
        else:
            assert not result.mask.any()
    with pytest.raises(NobodyFound, match="nobody looked"):
        anonymizer(noise, on_nobody="copy")(picture, detect=False).image  # noqa: B018


def test_an_empty_list_does_not_switch_detection_off(anonymizer, astronaut) -> None:
    assert len(anonymizer(noise)(astronaut, seed=1, regions=[]).faces) == 1


def test_what_was_treated_can_be_given_back(anonymizer, two) -> None:
    first = anonymizer(noise)(two, seed=1)
    given = anonymizer(noise)(two, seed=1, regions=first.regions, detect=False)
    again = anonymizer(noise)(two, seed=1, regions=given.regions, detect=False)
    assert [f.box_xyxy for f in given.faces] == [f.box_xyxy for f in first.faces]
    assert [f.score for f in given.faces] == [f.score for f in first.faces]
    assert np.array_equal(again.pixels, given.pixels)


# The command and the folder, with an anonymizer that is quick.


@dataclass(frozen=True)
class FakeResult:
    state: str
    _pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    regions: tuple[GivenRegion, ...] = ()
    faces: tuple[FaceRecord, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def image(self) -> Image.Image:
        if self.state == "refused":
            raise AuditRefused("refused")
        return Image.fromarray(self._pixels)


class FakeAnonymizer:
    """Turns the colours of given boxes round; in all of the picture it finds one face."""

    def __init__(self) -> None:
        self.recipe = Recipe.load("mini")
        self.calls: list[tuple[str, object, bool]] = []

    def __call__(self, source: Picture, *, seed: str, regions=None, detect=True) -> FakeResult:
        self.calls.append((source.name, regions, detect))
        pixels, mask = source.pixels.copy(), np.zeros(source.size_hw, bool)
        boxes = [region.box_xyxy for region in regions or () if region.box_xyxy]
        for x0, y0, x1, y1 in [*boxes, (1, 2, 5, 7)]:
            mask[y0:y1, x0:x1] = True
        pixels[mask] ^= 128
        state = "refused" if source.name.startswith("refused") else "passed"
        state = "copied" if source.name.startswith("copied") else state
        treated = GivenRegion(
            box_xyxy=(1, 2, 5, 7),
            points_xy=np.array([[2, 3], [4, 3.3], [3, 4.1], [2, 5], [4.123456, 5]]),
            score=0.625,
        )
        return FakeResult(state, pixels, mask, regions=(treated,))


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    for name in ("a.png", "deep/b.jpg", "deep/c.png", "refused.png", "copied.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20), (len(name), 40, 60)).save(path)
    return folder


def run(album: Path, given: object = None, *, detect: bool = True, **wanted):
    """Do the album; the outcomes by name, and the calls."""
    output = album.parent / "out"
    jobs = find_jobs([album], output=output, **wanted).jobs
    places = None
    if given is not None:
        path = album.parent / "boxes.json"
        path.write_text(json.dumps(given))
        places = Places.load(path, [job.relative for job in jobs], detect=detect)
    anonymizer = FakeAnonymizer()
    with Manifest.open(output / "manifest.jsonl", key="7") as manifest:
        done = run_folder(
            anonymizer,  # type: ignore[arg-type]
            jobs,
            output=output,
            manifest=manifest,
            weights="w",
            places=places,
            **wanted,
        )
        outcomes: dict[str, Outcome] = {outcome.job.relative: outcome for outcome in done}
    return outcomes, {name: (regions, detect) for name, regions, detect in anonymizer.calls}


def test_each_picture_gets_what_the_file_says_of_it(album: Path) -> None:
    given = {"b.jpg": [{"box_xyxy": [3, 4, 10, 12], "score": 0.5}], "a.png": []}
    _, calls = run(album, given, detect=False)
    assert calls["a.png"] == ((), False)
    assert calls["c.png"] == (None, False), "not named is not the same as nobody"
    (region,) = calls["b.jpg"][0]
    assert (region.box_xyxy, region.score) == ((3, 4, 10, 12), 0.5)
    _, calls = run(album, {**given, "b.jpg": []})
    assert calls["b.jpg"] == ((), True)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([{"mask": "wide.png"}], "got 31 x 20"),
        ([{"mask": "missing.png"}], "missing.png cannot be read"),
        ([{"box_xyxy": [0, 0, 9]}], "box_xyxy"),
        ({"box_xyxy": [0, 0, 9, 9]}, "list"),
        (None, "list"),
    ],
)
def test_wrong_regions_end_that_picture_alone_as_failed(album: Path, wrong, words) -> None:
    Image.new("L", (31, 20), 255).save(album.parent / "wide.png")
    outcomes, _ = run(album, {"b.jpg": wrong, "a.png": [{"box_xyxy": [1, 1, 9, 9]}]})
    assert outcomes["deep/b.jpg"].state == "failed"
    assert words in outcomes["deep/b.jpg"].message
    assert not (album.parent / "out/deep/b.jpg").exists()
    assert outcomes["a.png"].state == "written"


def test_other_boxes_are_another_result(album: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[5:9, 5:9] = 255
    Image.fromarray(mask).save(album.parent / "m.png")
    given = {"a.png": [{"box_xyxy": [3, 4, 10, 12]}], "c.png": [{"mask": "m.png"}]}
    run(album, given)
    outcomes, calls = run(album, given)
    assert not calls, "nothing has changed"
    mask[15, 15] = 255
    Image.fromarray(mask).save(album.parent / "m.png")
    outcomes, calls = run(album, {**given, "a.png": [{"box_xyxy": [3, 4, 10, 13]}]})
    assert set(calls) == {"a.png", "c.png"}
    assert outcomes["a.png"].redone == ("the given boxes changed",)
    assert set(run(album)[1]) == {"a.png", "c.png"}, "no boxes any more"
    assert set(run(album, {}, detect=False)[1]) >= {"a.png", "b.jpg", "c.png"}


def test_boxes_and_masks_are_written_of_written_pictures_alone(album: Path) -> None:
    run(album, boxes=True, masks=True)
    output = album.parent / "out"
    names = {p.relative_to(output).as_posix() for p in output.rglob("*.*") if p.is_file()}
    assert names - {"manifest.jsonl"} == {
        *("a.png", "a.boxes.json", "a.mask.png", "copied.png"),
        *("deep/b.jpg", "deep/b.boxes.json", "deep/b.mask.png"),
        *("deep/c.png", "deep/c.boxes.json", "deep/c.mask.png"),
    }
    mask = np.asarray(Image.open(output / "a.mask.png"))
    changed = (Picture.open(output / "a.png").pixels != Picture.open(album / "a.png").pixels).any(2)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, np.where(changed, 255, 0))
    assert set(json.loads((output / "a.boxes.json").read_text())) == {"a.png"}, "no metadata"
    loaded = Places.load(output / "deep/b.boxes.json", ["a.png", "deep/b.jpg"])
    (region,) = loaded.regions("deep/b.jpg", (20, 30))  # type: ignore[misc]
    assert (region.box_xyxy, region.score) == ((1, 2, 5, 7), 0.625)
    assert region.points_xy[4, 0] == np.float32(4.123456), "not the same number"


def test_a_written_mask_can_be_given(album: Path) -> None:
    run(album, masks=True)
    output = album.parent / "out"
    given = {"c.png": [{"mask": "out/deep/c.mask.png"}]}
    (album.parent / "boxes.json").write_text(json.dumps(given))
    places = Places.load(album.parent / "boxes.json", ["deep/c.png"])
    (region,) = places.regions("deep/c.png", (20, 30))  # type: ignore[misc]
    assert np.array_equal(region.mask, np.asarray(Image.open(output / "deep/c.mask.png")) > 0)


def test_files_beside_a_result_go_and_come_with_it(album: Path) -> None:
    output = album.parent / "out"
    run(album, boxes=True, masks=True)
    (output / "a.mask.png").unlink()
    _, calls = run(album, boxes=True, masks=True)
    assert set(calls) == {"a.png"}
    assert (output / "a.mask.png").exists()
    run(album, {"a.png": [{"box_xyxy": [0, 0, 9, 9]}]})  # no files beside it are asked for
    assert not (output / "a.mask.png").exists()
    assert not (output / "a.boxes.json").exists(), "boxes of another result"
    assert (output / "deep/c.boxes.json").exists()


def test_names_of_boxes_and_masks_must_be_free(album: Path) -> None:
    Image.new("RGB", (5, 5)).save(album / "a.webp")
    output = album.parent / "out"
    find_jobs([album], output=output)
    with pytest.raises(SettingError, match=r"a\.boxes\.json"):
        find_jobs([album], output=output, boxes=True)
    with pytest.raises(SettingError, match=r"a\.mask\.png"):
        find_jobs([album], output=output, masks=True)
    (album / "a.webp").unlink()
    (album / "a.mask.png").write_bytes((album / "a.png").read_bytes())
    find_jobs([album], output=output)
    with pytest.raises(SettingError, match=r"a\.mask\.png"):
        find_jobs([album], output=output, masks=True)


def test_a_file_of_somebody_else_is_not_replaced(album: Path) -> None:
    output = album.parent / "out"
    output.mkdir()
    (output / "a.boxes.json").write_text("mine")
    outcomes, _ = run(album, boxes=True)
    assert outcomes["a.png"].state == "failed"
    assert (output / "a.boxes.json").read_text() == "mine"
    assert not (output / "a.png").exists()


def test_wrong_usage_of_boxes_is_status_2(album: Path, monkeypatch) -> None:
    def never(settings: Recipe) -> FakeAnonymizer:
        raise AssertionError("a run was begun")

    monkeypatch.setattr(command, "load_anonymizer", never)
    boxes, output = album.parent / "boxes.json", album.parent / "out"
    files = {
        "{": "JSON",
        "[]": "expected",
        '{"a.png": [], "a.png": []}': "twice",
        '{"nobody.png": []}': "none of the inputs",
        '{"a.png": [{"box_xyxy": [NaN, 0, 1, 1]}]}': "NaN",
        '{"b.jpg": [], "deep/b.jpg": []}': "twice",
    }
    usual = ["anonymize", str(album), "-o", str(output)]
    for text, words in files.items():
        boxes.write_text(text)
        done = CliRunner().invoke(cli.app, [*usual, "--boxes", str(boxes)])
        assert done.exit_code == 2, (text, done.output)
        assert words in done.output
    for arguments in (["--no-detect"], ["--boxes", str(album / "missing.json")]):
        assert CliRunner().invoke(cli.app, [*usual, *arguments]).exit_code == 2
    assert not output.exists()
    output.mkdir()
    (output / "a.boxes.json").write_text('{"a.png": []}')
    inside_output = ["--boxes", str(output / "a.boxes.json")]
    done = CliRunner().invoke(cli.app, [*usual, *inside_output])
    assert done.exit_code == 2
    assert "output folder" in done.output


def test_the_options_reach_the_run(album: Path, monkeypatch) -> None:
    fake = FakeAnonymizer()
    monkeypatch.setattr(command, "load_anonymizer", lambda settings: fake)
    boxes, output = album.parent / "boxes.json", album.parent / "out"
    boxes.write_text('{"a.png": [{"box_xyxy": [3, 4, 10, 12]}]}')
    arguments = ["anonymize", str(album / "a.png"), "-o", str(output), "--boxes", str(boxes)]
    arguments += ["--no-detect", "--write-boxes", "--write-masks"]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    ((name, regions, detect),) = fake.calls
    assert (name, regions[0].box_xyxy, detect) == ("a.png", (3, 4, 10, 12), False)  # type: ignore[index]
    assert (output / "a.boxes.json").exists()
    assert (output / "a.mask.png").exists()
