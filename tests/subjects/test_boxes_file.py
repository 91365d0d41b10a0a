"""The JSON of given places: strict, and what is written can be read."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from camouflage.errors import CamouflageError, SettingError
from camouflage.subjects.boxes_file import Places, boxes_json, mask_png, read_mask
from camouflage.subjects.given import GivenRegion, average_points

SIZE_HW = (40, 60)
BOX = {"box_xyxy": [10, 10, 30, 35]}
POINTS = [[15, 20], [25, 20], [20, 25], [16, 30], [24, 30.5]]


def places(regions: object, folder: Path = Path("nowhere"), *, detect: bool = True) -> Places:
    return Places(given={"a.png": regions}, folder=folder, detect=detect)


def png(values: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_all_that_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/a.png").write_bytes(png(np.eye(40, 60, dtype=np.uint8)))
    entries = [BOX, {**BOX, "points_xy": POINTS, "score": 1}, {"mask": "m/a.png"}]
    plain, full, masked = places(entries, tmp_path).regions("a.png", SIZE_HW)  # type: ignore[misc]
    assert (plain.box_xyxy, plain.points_xy, plain.score) == ((10, 10, 30, 35), None, None)
    assert np.array_equal(full.points_xy, np.array(POINTS, np.float32))
    assert full.score == 1
    assert np.array_equal(masked.mask, np.eye(40, 60) > 0)
    assert places([]).regions("a.png", SIZE_HW) == ()
    assert places([]).regions("b.png", SIZE_HW) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {**BOX, "label": "face"},
        {"bbox": [10, 10, 30, 35]},
        {"box_xyxy": [10, 10, 30]},
        {"box_xyxy": [10.5, 10, 30, 35]},
        {"box_xyxy": ["10", 10, 30, 35]},
        {"box_xyxy": [True, 10, 30, 35]},
        {"box_xyxy": [30, 10, 10, 35]},
        {"box_xyxy": [10, 10, 10**30, 35]},
        {"box_xyxy": None},
        {**BOX, "points_xy": POINTS[:4]},
        {**BOX, "points_xy": [[1e300, 0]] * 5},
        {**BOX, "score": 2},
        {**BOX, "mask": "a.png"},
        {"mask": "a.png", "points_xy": POINTS},
        {"mask": 3},
        {},
        [],
        "a.png",
    ],
    ids=str,
)
def test_a_wrong_region_is_an_error(wrong, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(np.ones(SIZE_HW, np.uint8)))
    with pytest.raises(SettingError):
        places([wrong], tmp_path).regions("a.png", SIZE_HW)


@pytest.mark.parametrize("name", ["/etc/passwd", "../a.png", "b/../../a.png", "b\\a.png", "a\0"])
def test_masks_are_below_the_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(np.ones(SIZE_HW, np.uint8)))
    (tmp_path / "c").mkdir()
    with pytest.raises(SettingError, match="below its folder"):
        places([{"mask": name}], tmp_path / "c").regions("a.png", SIZE_HW)


@pytest.mark.parametrize(
    "values",
    [
        np.eye(40, 60, dtype=np.uint8),
        np.eye(40, 60, dtype=np.uint16),
        np.eye(40, 60, dtype=bool),
        np.eye(40, 60, dtype=np.uint8)[..., None] * np.array([0, 0, 1], np.uint8),
    ],
    ids=["grey", "16_bits", "1_bit", "blue"],
)
def test_every_value_but_0_is_in_a_mask(values) -> None:
    assert np.array_equal(read_mask(png(values), size_hw=SIZE_HW, name="m"), np.eye(40, 60) > 0)


def test_of_a_palette_the_index_counts_not_the_colour() -> None:
    image = Image.fromarray(np.eye(40, 60, dtype=np.uint8), "P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    mask = read_mask(buffer.getvalue(), size_hw=SIZE_HW, name="m")
    assert np.array_equal(mask, np.eye(40, 60) > 0)


def test_masks_that_mean_something_else_are_refused() -> None:
    turned = Image.Exif()
    turned[0x0112] = 3
    whole = np.ones(SIZE_HW, np.uint8)
    jpeg = io.BytesIO()
    Image.fromarray(whole).save(jpeg, "JPEG")
    for data, words in (
        (png(np.ones((*SIZE_HW, 4), np.uint8)), "transparency"),
        (png(np.ones((60, 40), np.uint8)), "size"),
        (png(whole, exif=turned), "upright"),
        (jpeg.getvalue(), "PNG"),
        (png(whole)[:-30], "damaged"),
        (b"", "PNG"),
    ):
        with pytest.raises(SettingError, match=words):
            read_mask(data, size_hw=SIZE_HW, name="m.png")


def test_names(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    names = ["a.png", "x/a.png", "x/b.png", "y/c.png", "z/c.png", "x/e\u0301.png"]

    def named(*given: str) -> set[str]:
        path.write_text(json.dumps({name: [] for name in given}))
        return set(Places.load(path, names).given)

    assert named("a.png", "b.png", "z/c.png") == {"a.png", "x/b.png", "z/c.png"}
    assert named("\u00e9.png") == {"x/e\u0301.png"}
    for wrong in (["c.png"], ["d.png"], ["b.png", "x/b.png"], ["A.png"]):
        with pytest.raises(SettingError):
            named(*wrong)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", '{"a": [], "a": []}', '{"a": [NaN]}', "[" * 10**5, '{"a": 1' + "0" * 5000],
)
def test_what_is_no_such_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(SettingError, match=r"boxes\.json"):
        Places.load(tmp_path / "boxes.json", ["a"])


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingError, match=r"boxes\.json"):
        Places.load(tmp_path / "boxes.json", ["a"])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(
            st.sampled_from(["box_xyxy", "points_xy", "score", "mask", "x"]), inner, max_size=4
        )
    ),
    max_leaves=30,
)


@settings(max_examples=300)
@given(value=json_values)
def test_anything_is_regions_or_an_error(value) -> None:
    described = places(value)
    described.digest("a.png")
    try:
        regions = described.regions("a.png", SIZE_HW)
    except CamouflageError:
        return
    assert all(isinstance(region, GivenRegion) for region in regions or ())


@given(
    boxes=st.lists(
        st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(1, 90), st.integers(1, 90)),
        max_size=4,
    ),
    shift=st.floats(-0.4, 0.4),
    score=st.floats(0, 1),
)
def test_what_is_written_is_read(boxes, shift, score) -> None:
    regions = [
        GivenRegion(
            box_xyxy=(x, y, x + w, y + h),
            points_xy=average_points((x, y, x + w, y + h)) + shift,
            score=score,
        )
        for x, y, w, h in boxes
    ]
    values = json.loads(boxes_json("x/a.png", regions))
    read = Places(given=values).regions("x/a.png", SIZE_HW)
    assert read is not None
    assert [(r.box_xyxy, r.score) for r in read] == [(r.box_xyxy, r.score) for r in regions]
    for ours, theirs in zip(read, regions, strict=True):
        assert np.array_equal(ours.points_xy, theirs.points_xy)  # type: ignore[arg-type]


def test_a_mask_is_written_and_read() -> None:
    mask = np.random.default_rng(0).random(SIZE_HW) > 0.5
    assert np.array_equal(read_mask(mask_png(mask), size_hw=SIZE_HW, name="m"), mask)


def test_the_digest_knows_all_that_counts(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    masked = places([{"mask": "a.png"}], tmp_path).digest("a.png")
    seen = {masked}
    (tmp_path / "a.png").write_bytes(b"2")
    seen |= {
        places([{"mask": "a.png"}], tmp_path).digest("a.png"),
        places([BOX]).digest("a.png"),
        places([BOX], detect=False).digest("a.png"),
        places([]).digest("a.png"),
        places([], detect=False).digest("a.png"),
        places([], detect=False).digest("b.png"),
        places([]).digest("b.png"),
    }
    assert len(seen) == 8
    assert places([]).digest("b.png") == "" == Places().digest("a.png")
