"""Reading: what comes in upright and in sRGB, and what is refused."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, features

from camouflage.errors import CamouflageError, PictureError, PictureTooLarge, SettingError
from camouflage.picture import Picture
from camouflage.tiff import FILLS, load_certain

# Four corners of different colours, so that every orientation shows.
CORNERS = np.zeros((24, 40, 3), np.uint8)
CORNERS[:12, :20], CORNERS[:12, 20:], CORNERS[12:, :20] = (255, 0, 0), (0, 255, 0), (0, 0, 255)

WRITERS = {
    ".jpg": {"quality": 95, "subsampling": 0},
    ".png": {},
    ".webp": {"lossless": True},
    ".tif": {},
    ".bmp": {},
}
if features.check("avif"):
    WRITERS[".avif"] = {"quality": 95, "subsampling": "4:4:4"}


def saved(folder: Path, name: str, image: Image.Image, **options: object) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def close(pixels: np.ndarray, expected: np.ndarray) -> bool:
    """Equal but for what a lossy format does at edges."""
    return pixels.shape == expected.shape and np.abs(pixels.astype(int) - expected).mean() < 6


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_is_read(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path, f"a{suffix}", Image.fromarray(CORNERS), **WRITERS[suffix])
    picture = Picture.open(path)
    assert close(picture.pixels, CORNERS)
    assert picture.pixels.dtype == np.uint8
    assert not picture.pixels.flags.writeable
    assert (picture.name, picture.suffix) == (f"a{suffix}", suffix)
    assert len(picture.sha256) == 64


@pytest.mark.parametrize("suffix", [s for s in WRITERS if s != ".bmp"] + ["z.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    """AVIF has boxes of its own for it, and a packed TIFF is turned by another decoder."""
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation](CORNERS)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = WRITERS.get(suffix, {"compression": "tiff_lzw"})
    path = saved(tmp_path, f"a{suffix}", stored, exif=exif, **options)
    assert close(Picture.open(path).pixels, CORNERS)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_pixel_type_becomes_rgb(tmp_path: Path, mode: str) -> None:
    grey = np.tile(np.array([[0, 255]], np.uint8), (8, 4))
    image = Image.fromarray(grey)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode != "L":
        image = image.convert("RGB").convert(mode)
    name = "a.tif" if mode == "CMYK" else "a.png"
    pixels = Picture.open(saved(tmp_path, name, image)).pixels
    assert close(pixels, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "L", "RGB", "I;16"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    """By a channel of its own, or by one value or palette entry that is clear."""
    half = Image.new("RGBA", (8, 4), (0, 0, 0, 255))
    half.paste((255, 0, 0, 0), (0, 0, 4, 4))
    options: dict = {}
    if mode in ("RGBA", "LA", "PA"):
        image = half.convert(mode) if mode != "PA" else half.quantize(4)
    else:
        red = half.convert("RGB")
        image = red.quantize(2) if mode == "P" else red.convert(mode if mode != "I;16" else "L")
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
        options["transparency"] = image.getpixel((0, 0))
    pixels = Picture.open(saved(tmp_path, "a.png", image, **options)).pixels
    assert (pixels[:, :4] == 255).all()
    assert (pixels[:, 4:] == 0).all()


def test_a_clear_black_of_one_bit_is_white(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.png", Image.new("1", (4, 4), 0), transparency=0)
    assert (Picture.open(path).pixels == 255).all()


def test_sixteen_bits_of_colour_keep_their_upper_bytes(tmp_path: Path) -> None:
    """A PNG of 16-bit RGB with a grey + alpha twin, and a TIFF, none of which Pillow can write."""
    for kind, channels in ((2, 3), (6, 4), (4, 2)):
        values = np.full((3, 5, channels), 0xFFFF, np.uint16)
        values[..., 0] = 0x12FF
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
        path = tmp_path / "a.png"
        path.write_bytes(png_file(struct.pack(">IIBBBBB", 5, 3, 16, kind, 0, 0, 0), rows))
        expected = [0x12, 0x12, 0x12] if kind == 4 else [0x12, 255, 255]
        assert (Picture.open(path).pixels == expected).all(), kind


def png_file(header: bytes, rows: bytes) -> bytes:
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        check = struct.pack(">I", zlib.crc32(kind + content))
        data += struct.pack(">I", len(content)) + kind + content + check
    return data


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_sixteen_bits_of_colour(tmp_path: Path, order: str) -> None:
    values = np.full((3, 5, 3), 0xFFFF, np.uint16)
    values[..., 0] = 0x12FF
    body = values.astype(f"{order}u2").tobytes() + struct.pack(f"{order}HHH", 16, 16, 16)
    short = [(256, 5), (257, 3), (259, 1), (262, 2), (277, 3), (278, 3)]
    entries = [struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in short]
    long = [(258, 3, 3, 8 + 90), (273, 4, 1, 8), (279, 4, 1, 90)]
    entries += [struct.pack(f"{order}HHII", *entry) for entry in long]
    entries.sort(key=lambda entry: struct.unpack(f"{order}H", entry[:2]))
    start = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    path = tmp_path / "a.tif"
    path.write_bytes(start + struct.pack(f"{order}I", 8 + len(body)) + body + directory)
    assert (Picture.open(path).pixels == [0x12, 255, 255]).all()


@pytest.mark.parametrize("mode", ["I", "F", "LAB", "HSV"])
def test_other_pixel_types_are_refused(tmp_path: Path, mode: str) -> None:
    with pytest.raises(PictureError, match="not supported"):
        Picture.from_image(Image.new(mode, (4, 4)))
    if mode != "HSV":
        with pytest.raises(PictureError, match=r"a\.tif.*not supported"):
            Picture.open(saved(tmp_path, "a.tif", Image.new(mode, (4, 4))))


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_inks_become_their_colours(tmp_path: Path, suffix: str) -> None:
    """CMYK as it is in a TIFF, and turned round as Adobe writes it into a JPEG."""
    for inks, colour in {(0, 255, 255, 0): (255, 0, 0), (0, 0, 0, 255): (0, 0, 0)}.items():
        image = Image.new("CMYK", (16, 16), inks)
        path = saved(tmp_path, f"a{suffix}", image)
        assert (b"Adobe" in path.read_bytes()) == (suffix == ".jpg")
        assert np.abs(Picture.open(path).pixels.astype(int) - colour).max() <= 3


def test_wide_gamut_is_converted(tmp_path: Path) -> None:
    """A profile whose red and green are exchanged must be applied, not only dropped."""
    path = saved(tmp_path, "a.png", Image.fromarray(CORNERS), icc_profile=exchanged_profile())
    pixels = Picture.open(path).pixels.astype(int)
    assert pixels[2, 2, 1] > 200 > 100 > pixels[2, 2, 0]  # the red corner is green


def exchanged_profile() -> bytes:
    """sRGB with the tags of red and green exchanged, and its description made another."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", data[128:132])[0]
    for start in range(132, 132 + 12 * count, 12):
        tag = bytes(data[start : start + 4])
        names = {b"rXYZ": b"gXYZ", b"gXYZ": b"rXYZ", b"rTRC": b"gTRC", b"gTRC": b"rTRC"}
        data[start : start + 4] = names.get(tag, tag)
    return bytes(data).replace("sRGB".encode("utf-16-be"), "wide".encode("utf-16-be"))


def test_damaged_profile_is_ignored(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.png", Image.fromarray(CORNERS), icc_profile=b"not a profile")
    assert close(Picture.open(path).pixels, CORNERS)


def test_the_cap_is_checked_before_decoding(tmp_path: Path) -> None:
    """A header of 30,000 x 30,000 px in a file of a few bytes."""
    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
    data += struct.pack(">I", zlib.crc32(chunk))
    path = tmp_path / "bomb.png"
    path.write_bytes(data + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))
    with pytest.raises(PictureTooLarge):
        Picture.open(path)


def test_the_cap_is_the_callers(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.png", Image.new("RGB", (200, 100)))
    assert Picture.open(path, max_megapixels=0.02).size_hw == (100, 200)
    with pytest.raises(PictureTooLarge, match=r"0\.01"):
        Picture.open(path, max_megapixels=0.01)
    with pytest.raises(SettingError):
        Picture.open(path, max_megapixels=0)


def test_a_file_of_too_many_bytes_is_not_read(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.png", Image.new("RGB", (20, 10)))
    os.truncate(path, 65 << 20)  # the disk keeps no bytes for it
    with pytest.raises(PictureTooLarge, match="bytes"):
        Picture.open(path, max_megapixels=0.01)


def test_bad_files_are_refused(tmp_path: Path) -> None:
    whole = saved(tmp_path, "whole.jpg", Image.fromarray(CORNERS)).read_bytes()
    bad = {
        "empty.jpg": b"",
        "truncated.jpg": whole[: len(whole) // 2],
        "text.png": b"this is no picture",
        "vector.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(PictureError, match=name):
            Picture.open(tmp_path / name)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_animations_and_pages_are_refused(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    path = saved(tmp_path, f"a{suffix}", frames[0], save_all=True, append_images=frames[1:])
    with pytest.raises(PictureError):
        Picture.open(path)


def test_a_phones_picture_with_a_second_frame_is_read(tmp_path: Path) -> None:
    second = Image.new("RGB", (40, 24), "white")
    path = tmp_path / "phone.jpg"
    Image.fromarray(CORNERS).save(
        path, format="MPO", save_all=True, append_images=[second], quality=95
    )
    assert np.abs(Picture.open(path).pixels.astype(int) - CORNERS).mean() < 40  # 4:2:0


def test_a_renamed_picture_is_read_by_its_content(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(CORNERS).save(buffer, "PNG")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    picture = Picture.open(tmp_path / "a.jpg")
    assert (picture.format, picture.suffix) == ("PNG", ".jpg")


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Picture.open(tmp_path / "missing.jpg")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jpg")
        with pytest.raises(PictureError, match="regular"):
            Picture.open(tmp_path / "pipe.jpg")


def test_pictures_from_memory() -> None:
    mine = CORNERS.copy()
    picture = Picture.from_image(mine)
    mine[:] = 0
    assert (picture.pixels == CORNERS).all()
    assert picture.sha256 == Picture.from_image(Image.fromarray(CORNERS)).sha256
    assert picture.sha256 != Picture.from_image(CORNERS[:, ::-1]).sha256
    with pytest.raises(SettingError):
        Picture.from_image(CORNERS.astype(np.float32))
    with pytest.raises(SettingError):
        Picture.from_image(CORNERS[..., 0])


def test_pixels_do_not_show_in_the_repr() -> None:
    assert "array" not in repr(Picture.from_image(CORNERS))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), suffix=st.sampled_from([".jpg", ".png", ".webp", ".tif", ".bmp"]))
def test_damaged_bytes_give_a_picture_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, suffix: str
) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {} if suffix == ".bmp" else {"exif": exif}
    Image.fromarray(CORNERS).save(buffer, Image.registered_extensions()[suffix], **options)
    damaged = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("fuzz") / f"a{suffix}"
    path.write_bytes(damaged[: data.draw(st.integers(1, len(damaged)))])
    try:
        picture = Picture.open(path, max_megapixels=1)
    except CamouflageError:
        return
    assert picture.pixels.ndim == 3


def damaged_tiffs(count: int) -> list[bytes]:
    """A byte or two of each is another."""
    random = np.random.default_rng(2)
    files = []
    for compression, mode in (("jpeg", "L"), ("jpeg", "CMYK"), ("group4", "1")):
        buffer = io.BytesIO()
        noise = random.integers(0, 256, (96, 96, 3)).astype(np.uint8)
        Image.fromarray(noise).convert(mode).save(buffer, "TIFF", compression=compression)
        whole = buffer.getvalue()
        for _ in range(count):
            data = bytearray(whole)
            for at in random.integers(8, len(data), random.integers(1, 3)):
                data[at] = random.integers(0, 256)
            files.append(bytes(data))
    return files


@pytest.mark.filterwarnings("ignore")  # Pillow's, of what is damaged
def test_a_damaged_tiff_shows_nothing_that_is_not_in_it(tmp_path: Path) -> None:
    """libtiff leaves what it cannot decode as it found it: bytes of another picture, perhaps. What
    comes of a file is the same each time, whatever was decoded before.
    """
    path = tmp_path / "a.tif"
    for data in damaged_tiffs(60):
        path.write_bytes(data)
        outcomes = set()
        for _ in range(4):
            try:
                outcomes.add(Picture.open(path).pixels.tobytes())
            except PictureError as error:
                outcomes.add(str(error))
        assert len(outcomes) == 1


def test_a_tiff_that_comes_out_differently_is_refused(tmp_path: Path, monkeypatch) -> None:
    """Since libtiff 4.7.2 hardly any file does."""
    path = saved(tmp_path, "a.tif", Image.fromarray(CORNERS))
    assert np.array_equal(Picture.open(path).pixels, CORNERS)

    def with_memory(data: bytes, fill: int) -> Image.Image:
        image = Image.open(io.BytesIO(data))
        image.load()
        image.putpixel((39, 23), (fill, 0, 0))
        return image

    monkeypatch.setattr("camouflage.tiff._loaded", with_memory)
    with pytest.raises(PictureError, match=r"a\.tif: damaged: not all of its pixels are in"):
        Picture.open(path)


def test_memory_is_filled_as_it_was_afterwards(monkeypatch) -> None:
    filled = []

    class Library:
        def mallopt(self, which: int, value: int) -> None:
            filled.append(value)

    monkeypatch.setattr("ctypes.CDLL", lambda _: Library())
    monkeypatch.setenv("MALLOC_PERTURB_", "165")
    buffer = io.BytesIO()
    Image.fromarray(CORNERS).save(buffer, "TIFF")
    load_certain(buffer.getvalue(), name="a.tif")
    assert filled == [FILLS[0], 165, FILLS[1], 165]
    assert FILLS[0] != FILLS[1]
