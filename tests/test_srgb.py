"""Colour: what a file says of it, by profile or by numbers, ends as sRGB or as an error."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from camouflage.errors import PictureError
from camouflage.picture import FORMATS, Picture, load_heif
from camouflage.srgb import make_profile, to_srgb

COLOURS = np.random.default_rng(1).integers(0, 256, (16, 24, 3), dtype=np.uint8)
SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
P3 = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
ADOBE = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
# Linear Display P3 to linear sRGB, as in CSS Color 4, section 18.
P3_TO_SRGB = np.array(
    [
        [1.2249401763, -0.2249401763, 0.0],
        [-0.0420569547, 1.0420569547, 0.0],
        [-0.0196375546, -0.0786360456, 1.0982736002],
    ]
)


def p3_as_srgb(colours: np.ndarray) -> np.ndarray:
    linear = _linear(colours / 255)
    linear = np.clip(linear @ P3_TO_SRGB.T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def _linear(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def png(folder: Path, *chunks: tuple[bytes, bytes], colours: np.ndarray = COLOURS) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, "PNG")
    data = buffer.getvalue()
    middle = b""
    for kind, content in chunks:
        check = struct.pack(">I", zlib.crc32(kind + content))
        middle += struct.pack(">I", len(content)) + kind + content + check
    (folder / "a.png").write_bytes(data[:33] + middle + data[33:])
    return Picture.open(folder / "a.png")


def numbers(gamma: float, points: tuple[float, ...]) -> list[tuple[bytes, bytes]]:
    packed = struct.pack(">8I", *(round(point * 100000) for point in points))
    return [(b"gAMA", struct.pack(">I", round(gamma * 100000))), (b"cHRM", packed)]


def test_a_made_profile_agrees_with_css() -> None:
    converted = np.asarray(to_srgb(Image.fromarray(COLOURS), make_profile(P3, 0.0)))
    assert np.abs(converted - p3_as_srgb(COLOURS)).max() < 1.5  # two roundings
    assert np.abs(converted.astype(int) - COLOURS).max() > 20  # else nothing was tested


def test_srgb_by_any_name_leaves_the_pixels() -> None:
    for profile in (
        make_profile(SRGB, 0.0),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    ):
        assert (np.asarray(to_srgb(Image.fromarray(COLOURS), profile)) == COLOURS).all()


def test_a_profile_that_only_bears_the_name_is_applied() -> None:
    """Linear light in the primaries of sRGB, as "sRGB-linear" profiles have it."""
    profile = make_profile(SRGB, 1.0)
    grey = Image.new("RGB", (2, 2), (55, 55, 55))  # 21.6 % of the light
    assert abs(int(np.asarray(to_srgb(grey, profile))[0, 0, 0]) - 128) <= 1


@pytest.mark.parametrize("points", [(), (0.3, 0.0) * 4, (0.3, 0.3) * 4, (9.0, 0.001) * 4])
def test_numbers_of_no_colour_space_make_no_profile(points: tuple[float, ...]) -> None:
    assert make_profile(points, 0.0) is None


def test_png_numbers(tmp_path: Path) -> None:
    assert np.abs(png(tmp_path, *numbers(0.45455, P3)).pixels - p3_as_srgb(COLOURS)).max() < 1.5
    assert (png(tmp_path, *numbers(0.45455, SRGB)).pixels == COLOURS).all()
    assert (png(tmp_path, *numbers(0.0, SRGB)).pixels == COLOURS).all()  # damaged
    linear = png(tmp_path, *numbers(1.0, SRGB), colours=np.full((4, 4, 3), 55, np.uint8)).pixels
    assert np.abs(linear.astype(int) - 128).max() <= 1


def test_png_srgb_chunk_counts_more_than_numbers(tmp_path: Path) -> None:
    chunks = [(b"sRGB", b"\0"), *numbers(1.0, P3)]
    assert (png(tmp_path, *chunks).pixels == COLOURS).all()


def test_png_codes_count_most(tmp_path: Path) -> None:
    profile = make_profile(SRGB, 1.0)
    assert profile is not None
    embedded = (b"iCCP", b"x\0\0" + zlib.compress(profile))
    coded = (b"cICP", bytes([12, 13, 0, 1]))
    picture = png(tmp_path, coded, embedded, *numbers(1.0, SRGB))
    assert np.abs(picture.pixels - p3_as_srgb(COLOURS)).max() < 1.5
    assert (png(tmp_path, (b"cICP", bytes([1, 13, 0, 1]))).pixels == COLOURS).all()


@pytest.mark.parametrize("codes", [(9, 16), (9, 18), (1, 99), (77, 13)])
def test_high_dynamic_range_and_unknown_codes_are_refused(
    tmp_path: Path, codes: tuple[int, int]
) -> None:
    with pytest.raises(PictureError, match=r"a\.png.*sRGB"):
        png(tmp_path, (b"cICP", bytes([*codes, 0, 1])))


@pytest.mark.parametrize("suffix", [s for s in (".avif", ".heic") if s in FORMATS])
def test_codes_of_avif_and_heic(tmp_path: Path, suffix: str) -> None:
    wide = np.zeros((32, 32, 3), np.uint8)
    wide[:, :16], wide[:, 16:] = (200, 80, 60), (60, 160, 90)
    buffer = io.BytesIO()
    if suffix == ".heic":
        load_heif()
    Image.fromarray(wide).save(buffer, FORMATS[suffix], quality=100)
    data = buffer.getvalue()
    at = data.index(b"colrnclx") + 8
    path = tmp_path / f"a{suffix}"
    for codes, expected in {(1, 13): wide, (12, 13): p3_as_srgb(wide)}.items():
        path.write_bytes(data[:at] + struct.pack(">HH", *codes) + data[at + 4 :])
        middle = Picture.open(path).pixels[8:24, [8, 24]].astype(int)
        assert np.abs(middle - expected[8:24, [8, 24]]).max() < 5  # the codec's
    path.write_bytes(data[:at] + struct.pack(">HH", 9, 16) + data[at + 4 :])
    with pytest.raises(PictureError, match="HDR"):
        Picture.open(path)


@pytest.mark.parametrize("mark", ["interop", "space"])
def test_adobe_rgb_by_its_exif_mark(tmp_path: Path, mark: str) -> None:
    exif = Image.Exif()
    camera = exif.get_ifd(0x8769)
    camera[0xA001] = 2 if mark == "space" else 0xFFFF
    if mark == "interop":
        camera[0xA005] = {1: "R03"}
    image = Image.new("RGB", (16, 16), (60, 160, 90))
    image.save(tmp_path / "a.jpg", exif=exif, quality=100)
    profile = make_profile(ADOBE, 563 / 256)
    expected = np.asarray(to_srgb(image, profile)).astype(int)
    assert np.abs(expected - np.asarray(image)).max() > 20
    assert np.abs(Picture.open(tmp_path / "a.jpg").pixels - expected).max() <= 4
    camera[0xA001] = 1
    camera[0xA005] = {1: "R98"}  # sRGB
    image.save(tmp_path / "a.jpg", exif=exif, quality=100)
    assert np.abs(Picture.open(tmp_path / "a.jpg").pixels - np.asarray(image)).max() <= 4


def test_a_grey_profile_is_applied_with_and_without_transparency(tmp_path: Path) -> None:
    data = bytearray(grey_profile(1.0))
    for mode in ("L", "LA", "I;16"):
        image = Image.new("LA", (4, 4), (55, 255)).convert(mode if mode != "I;16" else "L")
        if mode == "I;16":
            image = Image.fromarray(np.full((4, 4), 55 * 257, np.uint16))
        image.save(tmp_path / "a.png", icc_profile=bytes(data))
        pixels = Picture.open(tmp_path / "a.png").pixels.astype(int)
        assert np.abs(pixels - 128).max() <= 1, mode


def grey_profile(gamma: float) -> bytes:
    """The smallest grey profile (ICC.1:2010, 8.4.3): white and one curve."""
    white = b"XYZ \0\0\0\0" + struct.pack(">iii", 63190, 65536, 54061)
    curve = b"para" + struct.pack(">4xHxxi", 0, round(gamma * 65536))
    table = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"kTRC", 176, len(curve))
    header = struct.pack(">I4xI", 176 + len(curve), 0x04300000) + b"mntrGRAYXYZ "
    header += b"\0" * 12 + b"acsp" + b"\0" * 28 + white[8:]
    return header.ljust(128, b"\0") + table + white + curve


def test_a_colour_profile_on_a_grey_picture_is_applied() -> None:
    grey = Image.new("L", (2, 2), 55)
    assert abs(int(np.asarray(to_srgb(grey, make_profile(SRGB, 1.0)))[0, 0, 0]) - 128) <= 1


def test_a_damaged_profile_or_mark_is_ignored(tmp_path: Path) -> None:
    good = make_profile(P3, 0.0)
    assert good is not None
    for profile in (b"x", good[:140], good[:128] + b"\xff" * 40, good.replace(b"RGB ", b"Lab ")):
        assert (np.asarray(to_srgb(Image.fromarray(COLOURS), profile)) == COLOURS).all()
    image = Image.new("RGB", (16, 16), (60, 160, 90))
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 2
    pointer = b"\x87\x69\0\x04\0\0\0\x01"
    before, after = exif.tobytes().split(pointer)
    lost = before + pointer + b"\0\0\xff\xff" + after[4:]  # a directory that is not there
    image.save(tmp_path / "a.jpg", exif=lost, quality=100)
    assert np.abs(Picture.open(tmp_path / "a.jpg").pixels - np.asarray(image)).max() <= 4
