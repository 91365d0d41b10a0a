"""Known methods on people who are colours; what fails counts."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camouflage.errors import SettingError
from camouflage.evaluate.dataset import Photo
from camouflage.evaluate.figures import figures
from camouflage.evaluate.methods import BASELINES, FolderMethod, NoResult, baselines
from camouflage.evaluate.networks import NetworkSettings, Reading
from camouflage.evaluate.originals import Original, Seen
from camouflage.evaluate.protocol import changed_outside, jsonable, run
from camouflage.evaluate.rates import thresholds
from camouflage.evaluate.reidentify import ControlFailed

from .conftest import PEOPLE, SIDE, World, face_at, save_people


@dataclass
class Made:
    name: str
    change: object
    baseline: bool = False

    def result(self, original, pixels):
        return self.change(pixels)


def clean(pixels):
    return pixels


def somebody_else(pixels):
    changed = pixels.copy()
    changed[..., 0] = (pixels[..., 0].astype(int) + 60) % 160
    return changed


def hidden(pixels):
    """The detector finds nothing, the identity is untouched."""
    changed = pixels.copy()
    changed[..., 2] = 9
    return changed


def failing(pixels):
    raise NoResult("missing")


def another_shape(pixels):
    return np.full((SIDE, 3 * SIDE, 3), 200, np.uint8)


def measure(world, **methods):
    made = [Made(name, change) for name, change in {"clean": clean, **methods}.items()]
    outcomes = run(made, world.probes, world.tools)
    return figures(
        outcomes, world.gallery, world.probes, world.looker, baselines=frozenset({"clean"})
    )


def rate(found, method, kind="worst", definition="other_photos"):
    return found["methods"][method]["reidentification"]["eyes"][definition][kind]["mean"]


def test_the_outcomes_of_known_methods(world):
    found = measure(world, else_=somebody_else)
    for definition in ("other_photos", "closed", "reid@1"):
        assert rate(found, "clean", definition=definition) == 1
        assert rate(found, "else_", definition=definition) == 0
    assert found["methods"]["clean"]["likeness"]["shift"]["mean"] == 0
    assert found["methods"]["else_"]["likeness"]["found"]["mean"] == 1
    assert found["methods"]["clean"]["reidentification"]["eyes"]["psr"]["rate"] == 0
    assert found["methods"]["else_"]["diversity"]["spread"] > 0.5
    assert found["controls"]["eyes"]["closed"] == 1


def test_hiding_from_the_detector_is_no_anonymization(world):
    found = measure(world, hidden=hidden)
    assert rate(found, "hidden") == 1, "the original's points are used again"
    assert rate(found, "hidden", "optimistic") == 0
    assert found["methods"]["hidden"]["likeness"]["found"]["mean"] == 0
    assert found["methods"]["hidden"]["likeness"]["people_kept"]["mean"] == 0
    assert found["methods"]["hidden"]["likeness"]["shift"]["n"] == 0


@pytest.mark.parametrize("change", [failing, another_shape])
def test_what_fails_counts_as_re_identified(world, change):
    found = measure(world, bad=change)
    for definition in ("other_photos", "closed"):
        assert rate(found, "bad", definition=definition) == 1
        assert rate(found, "bad", "optimistic", definition) == 0
    verified = found["methods"]["bad"]["reidentification"]["eyes"]["verification"]["0.01"]
    assert verified["rate"]["mean"] == 1
    state = "missing" if change is failing else "shape"
    assert found["methods"]["bad"]["states"] == {state: len(world.probes)}


def test_a_missing_result_counts_in_the_paper_s_rates_too(world):
    found = measure(world, bad=failing)
    for definition in ("reid@1", "reid@5", "reid@10", "map@50"):
        assert rate(found, "bad", definition=definition) == 1
        assert rate(found, "bad", "optimistic", definition) == 0


def test_a_result_where_nothing_is_seen_is_asked_with_a_black_crop(world):
    found = measure(world, black=lambda pixels: np.zeros_like(pixels))
    darkest = min(PEOPLE.values())
    chosen = [p.original.photo.person for p in world.probes]
    expected = np.mean([PEOPLE[name] == darkest for name in chosen])
    assert rate(found, "black", definition="reid@1") == pytest.approx(expected)


def test_one_face_for_all_is_seen_as_such(world):
    one = measure(world, one=lambda pixels: np.full_like(pixels, (99, 0, 0)))
    assert one["methods"]["one"]["diversity"]["spread"] == 0
    assert one["methods"]["one"]["diversity"]["collisions"] in (1.0, None)


def test_a_control_that_fails_stops_everything(world):
    made = [Made("clean", somebody_else)]
    outcomes = run(made, world.probes, world.tools)
    with pytest.raises(ControlFailed):
        figures(outcomes, world.gallery, world.probes, world.looker, baselines=frozenset())


def test_copies_of_a_photograph_are_no_second_photograph(tmp_path):
    folder = save_people(tmp_path / "photos")
    first = folder / "person 0" / "0.png"
    (folder / "person 0" / "copy.png").write_bytes(first.read_bytes())
    world = World(folder)
    assert len(world.gallery.originals) == 4 * len(PEOPLE)


def test_an_original_that_cannot_be_read_stops_the_run(tmp_path):
    folder = save_people(tmp_path / "photos")
    (folder / "person 0" / "0.png").write_bytes(b"no picture")
    with pytest.raises(SettingError, match="original cannot be read"):
        World(folder)


def test_rows_are_kept_by_content(tmp_path):
    folder = save_people(tmp_path / "photos")
    first = World(folder, cache=tmp_path / "cache.npz")
    assert first.eyes.embedded == 4 * len(PEOPLE)
    again = World(folder, cache=tmp_path / "cache.npz")
    assert again.eyes.embedded == 0
    assert np.array_equal(first.gallery.rows["eyes"], again.gallery.rows["eyes"])
    assert (tmp_path / "cache.npz").stat().st_mode & 0o077 == 0
    Image.fromarray(np.full((SIDE, SIDE, 3), (77, 0, 0), np.uint8)).save(
        folder / "person 0" / "0.png"
    )
    changed = World(folder, cache=tmp_path / "cache.npz")
    assert changed.eyes.embedded == 1


def test_a_damaged_cache_is_an_error(tmp_path):
    folder = save_people(tmp_path / "photos")
    (tmp_path / "cache.npz").write_bytes(b"x")
    with pytest.raises(SettingError, match=r"cache.npz"):
        World(folder, cache=tmp_path / "cache.npz")


def test_results_are_read_from_folders(world, tmp_path):
    out = tmp_path / "out"
    for i, probe in enumerate(world.probes):
        path = out / probe.original.photo.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if i == 0:
            path.write_bytes(b"damaged")
        elif i > 1:
            pixels = np.asarray(Image.open(probe.original.photo.path))
            Image.fromarray(somebody_else(pixels)).resize((2 * SIDE, 2 * SIDE), 0).save(path)
    method = FolderMethod.load("tool", out, world.dataset.photos)
    outcomes = run([method], world.probes, world.tools)["tool"]
    assert [o.state for o in outcomes[:3]] == ["unreadable", "missing", "written"]
    assert outcomes[2].found, "a result of twice the size is looked at in the original's"
    with pytest.raises(SettingError):
        FolderMethod.load("tool", tmp_path / "photos" / "nothing", world.dataset.photos)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SettingError, match="no result"):
        FolderMethod.load("tool", empty, world.dataset.photos)


def test_thresholds_come_from_other_people():
    """One half of the people is spread ten times as far as the other."""
    rng = np.random.default_rng(0)
    people = np.repeat([f"p{i:02}" for i in range(20)], 3)
    wide = np.array([int(name[1:]) % 2 for name in people])
    rows = rng.normal(size=(60, 4)) * np.where(wide, 10.0, 1.0)[:, None]
    limit = thresholds(rows, people, 0.01)
    assert limit["p00"] > 3 * limit["p01"], "the near ones are judged by the far ones' threshold"


def test_seeds_that_give_one_face_are_seen(world):
    same = [Made("m", somebody_else)]
    first, second = (run(same, world.probes, world.tools)["m"] for _ in range(2))
    outcomes = {
        "clean": run([Made("clean", clean)], world.probes, world.tools)["clean"],
        "m": first,
    }
    found = figures(
        outcomes, world.gallery, world.probes, world.looker,
        baselines=frozenset({"clean"}), seeds={"m": [second]},
    )  # fmt: skip
    assert found["methods"]["m"]["seeds"]["spread"] == 0


def test_groups_are_strata_of_their_own(world):
    outcomes = run([Made("clean", clean)], world.probes, world.tools)
    groups = {name: "even" if i % 2 == 0 else "odd" for i, name in enumerate(PEOPLE)}
    found = figures(
        outcomes, world.gallery, world.probes, world.looker, baselines=frozenset(), groups=groups
    )
    strata = found["methods"]["clean"]["strata"]["group"]
    assert {label: one["other_photos"]["n"] for label, one in strata.items()} == {
        "even": 8, "odd": 8,
    }  # fmt: skip


def test_pairs_of_methods_are_compared_on_the_same_probes(world):
    found = measure(world, else_=somebody_else, bad=failing)
    pair = {(p["first"], p["second"]): p["reidentification_p"] for p in found["paired"]}
    assert pair["clean", "else_"] < 0.001
    assert pair["clean", "bad"] == 1


def test_two_methods_of_one_name_are_refused(world):
    with pytest.raises(SettingError, match="two methods"):
        run([Made("a", clean), Made("a", clean)], world.probes, world.tools)


def test_everything_can_be_written_as_json(world):
    found = measure(world, bad=failing, hidden=hidden)
    text = json.dumps(jsonable(found), allow_nan=False)
    assert json.loads(text)["probes"] == len(world.probes)


def test_bytes_outside_are_compared_outside_only():
    original = np.zeros((100, 100, 3), np.uint8)
    result = original.copy()
    result[40:60, 40:60] = 255
    face = face_at(50, 50, 20)
    assert changed_outside(original, result, [face]) == 0
    result[:10] = 3
    assert changed_outside(original, result, [face]) == pytest.approx(
        1000 / (10000 - 44**2), rel=0.05
    )
    result[:10] = 2
    assert changed_outside(original, result, [face]) == 0, "what a JPEG's rounding does"


@pytest.mark.parametrize("index", range(1, len(BASELINES)))
def test_a_baseline_changes_the_face_and_nothing_in_place(index):
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    given = noise.copy()
    face = face_at(80, 80, 50)
    original = Original(
        photo=Photo(name="a", person="a", path=Path("a")), sha256="0" * 64, size_hw=(160, 160),
        seen=Seen(faces=(face,), main=face),
    )  # fmt: skip
    crops = [np.full((128, 128, 3), 90, np.uint8)]
    result = baselines(crops, crops[0])[index].result(original, given)
    assert np.array_equal(given, noise)
    x0, y0, x1, y1 = face.box_xyxy
    assert (result[y0:y1, x0:x1] != noise[y0:y1, x0:x1]).mean() > 0.3
    assert np.array_equal(result[:8], noise[:8])


class Mood:
    """A network that reads one label of every face."""

    settings = NetworkSettings(
        name="mood", model=Path("m"), input_px=16, alignment="box",
        readings={"mood": Reading(output="o", kind="label")},
    )  # fmt: skip

    def read(self, pixels, face):
        return {"mood": 1.0}


@pytest.mark.parametrize("change", [failing, hidden, another_shape])
def test_what_fails_has_lost_its_attributes(tmp_path, change):
    world = World(save_people(tmp_path / "photos"), attributes=[Mood()])
    found = measure(world, bad=change)
    assert found["methods"]["clean"]["likeness"]["mood"]["mean"] == 1
    assert found["methods"]["bad"]["likeness"]["mood"]["mean"] == 0


def test_a_result_that_cannot_be_read_counts_in_every_rate(world):
    def unreadable(pixels):
        raise NoResult("unreadable")

    for definition in ("other_photos", "closed", "reid@1", "map@50"):
        assert rate(measure(world, bad=unreadable), "bad", definition=definition) == 1


def test_the_retrained_attacker_counts_what_is_missing(world):
    first = world.probes[0].original.photo.name

    def some(pixels):
        if pixels[0, 0, 0] == 0 and pixels[32, 32, 0] == PEOPLE["person 0"]:
            raise NoResult("missing")
        return somebody_else(pixels)

    assert first == "person 0/0.png"
    outcomes = run([Made("clean", clean), Made("m", some)], world.probes, world.tools)
    found = figures(
        outcomes, world.gallery, world.probes, world.looker, baselines=frozenset({"clean"})
    )
    assert found["methods"]["m"]["states"]["missing"] == 1
    attacked = found["methods"]["m"]["reidentification"]["eyes"]["retrained"]
    assert attacked["n"] == len(world.probes) - 1, "her other result has nothing to learn from"
    assert attacked["mean"] >= 1 / attacked["n"]
