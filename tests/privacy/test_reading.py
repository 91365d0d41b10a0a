"""Reading: every kind of input of an archive ends in one state, and nothing of it slips through."""

from __future__ import annotations

import importlib.util
import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camouflage import listing
from camouflage.errors import MissingExtra, OutputError, PictureError, PictureTooLarge
from camouflage.formats import FORMATS, format_of, load_heif
from camouflage.picture import Picture
from camouflage.write import encode

HEIF = importlib.util.find_spec("pillow_heif") is not None
needs_heif = pytest.mark.skipif(not HEIF, reason="the extra heif is not installed")
PIXELS = np.random.default_rng(5).integers(0, 255, (20, 32, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)
SUFFIXES = [s for s in (".jpg", ".png", ".webp", ".tif", ".bmp", ".avif", ".heic") if s in FORMATS]


def encoded(suffix: str, image: Image.Image = PICTURE, **options: object) -> bytes:
    if suffix == ".heic":
        load_heif()
    buffer = io.BytesIO()
    image.save(buffer, FORMATS.get(suffix, suffix[1:]), **options)
    return buffer.getvalue()


def one(turn_folder: Callable, tmp_path: Path, name: str, data: bytes, **options: float):
    """The outcome of a single file, and what stands in the output beside the manifest."""
    (tmp_path / "in").mkdir(exist_ok=True)
    (tmp_path / "in" / name).write_bytes(data)
    outcome = turn_folder(tmp_path / "in", tmp_path / "out", **options)[name]
    return outcome, sorted(f.name for f in (tmp_path / "out").iterdir() if f.suffix != ".jsonl")


# --- what is read, and what is not ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["GIF", "PPM", "ICO", "TGA", "PCX", "JPEG2000", "PDF", "SGI"])
def test_other_formats_are_not_read_under_any_name(name: str, tmp_path: Path, turn_folder) -> None:
    """A decoder that is not on the list is never asked, whatever a file calls itself."""
    buffer = io.BytesIO()
    PICTURE.save(buffer, name)
    outcome, written = one(turn_folder, tmp_path, "a.png", buffer.getvalue())
    assert (outcome.state, written) == ("failed", [])
    assert "JPEG" in outcome.message  # it says what is expected


@pytest.mark.parametrize("named", SUFFIXES)
@pytest.mark.parametrize("content", SUFFIXES)
def test_renamed_pictures_are_read_and_written_as_named(
    content: str, named: str, tmp_path: Path, turn_folder
) -> None:
    data = encoded(content)
    outcome, written = one(turn_folder, tmp_path, f"a{named}", data)
    assert (outcome.state, written) == ("written", [f"a{named}"])
    picture = Picture.open(tmp_path / "out" / f"a{named}")
    assert picture.format == FORMATS[named]
    assert picture.size_hw == (20, 32)


def test_an_empty_file(tmp_path: Path, turn_folder) -> None:
    outcome, written = one(turn_folder, tmp_path, "a.jpg", b"")
    assert (outcome.state, outcome.message, written) == ("failed", "the file is empty", [])


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if s not in (".jpg", ".bmp")])
def test_animations_and_pages_fail(suffix: str, tmp_path: Path, turn_folder) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    data = encoded(suffix, frames[0], save_all=True, append_images=frames[1:])
    outcome, written = one(turn_folder, tmp_path, f"a{suffix}", data)
    assert (outcome.state, written) == ("failed", [])
    assert "several pages" in outcome.message


def test_a_phones_second_picture_is_left_behind(tmp_path: Path, turn_folder) -> None:
    data = encoded(".MPO", save_all=True, append_images=[Image.new("RGB", (64, 64), "red")])
    outcome, _ = one(turn_folder, tmp_path, "a.jpg", data)
    assert outcome.state == "written"
    assert Picture.open(tmp_path / "out" / "a.jpg").format == "JPEG"
    assert Picture.open(tmp_path / "out" / "a.jpg").size_hw == (20, 32)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_pixel(suffix: str, tmp_path: Path, turn_folder) -> None:
    outcome, _ = one(turn_folder, tmp_path, f"a{suffix}", encoded(suffix, Image.new("RGB", (1, 1))))
    assert outcome.state == "written"
    assert Picture.open(tmp_path / "out" / f"a{suffix}").size_hw == (1, 1)


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if s not in (".webp", ".heic")])
@pytest.mark.parametrize("size_wh", [(30_000, 2), (2, 30_000)])
def test_thirty_thousand_pixels(
    suffix: str, size_wh: tuple[int, int], tmp_path: Path, turn_folder
) -> None:
    outcome, _ = one(
        turn_folder, tmp_path, f"a{suffix}", encoded(suffix, Image.new("RGB", size_wh, "teal"))
    )
    assert outcome.state == "written"
    assert Picture.open(tmp_path / "out" / f"a{suffix}").size_hw == size_wh[::-1]


@pytest.mark.parametrize("suffix", [s for s in (".webp", ".heic") if s in FORMATS])
def test_a_size_that_a_format_cannot_have_is_an_error(suffix: str) -> None:
    """The file is a PNG of that width that is called by another name."""
    with pytest.raises(OutputError, match="30000 x 2"):
        encode(np.zeros((2, 30_000, 3), np.uint8), suffix=suffix)


PACKINGS = {
    **{suffix: {} for suffix in SUFFIXES},
    "progressive.jpg": {"progressive": True},
    "lossless.webp": {"lossless": True},
    "lzw.tif": {"compression": "tiff_lzw"},
    "deflate.tif": {"compression": "tiff_adobe_deflate"},
    "jpeg.tif": {"compression": "jpeg"},
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_truncated_by_every_tenth_byte(packing: str, tmp_path: Path) -> None:
    """A part of a picture is never taken for a picture: it fails, or no pixel of it is missing."""
    suffix = f".{packing.split('.')[-1]}"
    whole = encoded(suffix, **PACKINGS[packing])
    path = tmp_path / f"a{suffix}"
    path.write_bytes(whole)
    expected = Picture.open(path).pixels
    failed = 0
    for length in range(0, len(whole), 10):
        path.write_bytes(whole[:length])
        try:
            picture = Picture.open(path)
        except PictureError:
            failed += 1
        else:
            assert (picture.pixels == expected).all(), length
    assert failed > 0.9 * len(whole) / 10


# --- rights, links, names -------------------------------------------------------------------------


def test_a_file_that_may_not_be_read(
    tmp_path: Path, turn_folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(encoded(".png"))
    (folder / "b.png").write_bytes(encoded(".png"))
    (folder / "a.png").chmod(0)
    if os.access(folder / "a.png", os.R_OK):  # as root, or on a disk without rights
        really = os.open

        def refuse(path, *args, **options):
            if os.fspath(path) == os.fspath(folder / "a.png"):
                raise PermissionError(13, "Permission denied", os.fspath(path))
            return really(path, *args, **options)

        monkeypatch.setattr(os, "open", refuse)
    outcomes = turn_folder(folder, tmp_path / "out")
    assert {name: o.state for name, o in outcomes.items()} == {
        "a.png": "failed",
        "b.png": "written",
    }
    assert outcomes["a.png"].message == "Permission denied"  # and not the folder
    assert not (tmp_path / "out" / "a.png").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text exist on Linux")
def test_a_name_that_is_no_text(tmp_path: Path, turn_folder) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    outcome, written = one(turn_folder, tmp_path, name, encoded(".png"))
    assert (outcome.state, written) == ("written", [name])
    again = turn_folder(tmp_path / "in", tmp_path / "out")[name]
    assert (again.state, again.resumed) == ("written", True)


@pytest.mark.parametrize(
    "name", ["a.hif", "a.apng", "a.avifs", "a.mpo", "a.jxl", "A.HEIC", "a.gif"]
)
def test_what_may_hold_people_is_an_input(name: str, tmp_path: Path, turn_folder) -> None:
    outcome, written = one(turn_folder, tmp_path, name, b"what this is nobody knows")
    assert (outcome.state, written) == ("failed", [])


# --- bombs ----------------------------------------------------------------------------------------


def png(
    width: int, height: int, *, depth: int = 8, kind: int = 2, rows: bytes = b"", **more: bytes
):
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))]
    parts += [(name.encode(), content) for name, content in more.items()]
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in parts:
        check = struct.pack(">I", zlib.crc32(name + content))
        data += struct.pack(">I", len(content)) + name + content + check
    return data


def tiff(width: int, height: int, *tags: tuple[int, int, int, int], body: bytes = b"") -> bytes:
    """Little-endian, one directory; ``tags``: number, type, count, value; the body is at 8."""
    entries = sorted([(256, 4, 1, width), (257, 4, 1, height), *tags])
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    body += b"\0" * (len(body) % 2)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory


def tile_bomb() -> bytes:
    """A picture of 16 x 16 px in one tile of 12,000 x 12,000 zeros, which deflates to 140 kB."""
    body = zlib.compress(bytes(144_000_000), 9)
    tags = [(258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    tags += [(322, 4, 1, 12_000), (323, 4, 1, 12_000), (324, 4, 1, 8), (325, 4, 1, len(body))]
    return tiff(16, 16, *tags, body=body)


def jpeg_of(width: int, height: int) -> bytes:
    data = encoded(".jpg")
    at = data.index(b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def webp_of(width: int, height: int) -> bytes:
    """An animation's canvas, the one size in WebP that may be larger than 16,383."""
    flags = b"\x02\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    frame = encoded(".webp", lossless=True)[12:]
    place = bytes(6) + (31).to_bytes(3, "little") + (19).to_bytes(3, "little") + bytes(4)
    body = b"WEBPVP8X" + struct.pack("<I", 10) + flags + b"ANIM" + struct.pack("<I", 6) + bytes(6)
    body += b"ANMF" + struct.pack("<I", 16 + len(frame)) + place + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def ispe_of(suffix: str, width: int, height: int) -> bytes:
    data = encoded(suffix)
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


def bombs() -> dict[str, bytes]:
    grey = [(258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 16)]
    bmp = bytearray(encoded(".bmp"))
    bmp[18:26] = struct.pack("<ii", 100_000, 100_000)
    zeros = zlib.compress(bytes(150 << 20), 9)
    files = {
        "a.png": png(100_000, 100_000),
        "a2.png": png(12_000, 12_000),  # above our cap, below Pillow's
        "b.jpg": jpeg_of(65_500, 65_500),
        "b2.jpg": jpeg_of(12_000, 12_000),
        "c.tif": tiff(100_000, 100_000, *grey, body=bytes(16)),
        "d.tif": tile_bomb(),
        "e.bmp": bytes(bmp),
        "f.webp": webp_of(65_000, 65_000),
        "g.webp": webp_of(12_000, 12_000),
        "h.png": png(1, 1, zTXt=b"x\0\0" + zeros, rows=bytes(4)),
        "i.png": png(1, 1, iCCP=b"x\0\0" + zeros, rows=bytes(4)),
        "j.png": png(8, 8, rows=bytes(150 << 20)),
    }
    for suffix in {".avif", ".heic"} & set(FORMATS):
        files[f"k{suffix}"] = ispe_of(suffix, 100_000, 100_000)
        files[f"l{suffix}"] = ispe_of(suffix, 15_000, 15_000)
    return files


# Run in a process of its own: the largest memory a process ever had is a number that only grows.
READ_ALL = """
import resource, sys
from pathlib import Path
from camouflage.picture import FORMATS, Picture, load_heif
from camouflage.errors import PictureError
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
if ".heic" in FORMATS:
    load_heif()
before = peak()
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
most = size + (700 << 20)
resource.setrlimit(resource.RLIMIT_AS, (most, most))  # what is only reserved counts as well
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        Picture.open(path)
        outcome = "read"
    except PictureError as error:
        outcome = type(error).__name__
    print(path.name, outcome, peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    made = bombs()
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, str(tmp_path)], capture_output=True, text=True, check=True
    )
    outcomes = {
        name: (what, int(mib)) for name, what, mib in map(str.split, done.stdout.splitlines())
    }
    assert sorted(outcomes) == sorted(made)
    assert max(mib for _, mib in outcomes.values()) < 100, outcomes
    claims = {name for name in outcomes if name[0] in "abcdefg"}
    assert {outcomes[name][0] for name in claims} == {"PictureTooLarge"}, outcomes


def test_a_cap_for_each_format(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        path = tmp_path / f"a{suffix}"
        path.write_bytes(encoded(suffix, Image.new("RGB", (200, 100))))
        assert Picture.open(path, max_megapixels=0.02).size_hw == (100, 200)
        with pytest.raises(PictureTooLarge, match=r"0\.019"):
            Picture.open(path, max_megapixels=0.019)


# --- HEIC, with and without its extra -------------------------------------------------------------


@pytest.fixture
def without_heif(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without pillow-heif."""
    for suffix in (".heic", ".heif", ".hif"):
        monkeypatch.delitem(FORMATS, suffix, raising=False)
    monkeypatch.setattr(listing, "NOT_READ", listing.NOT_READ | {".heic", ".heif", ".hif"})
    monkeypatch.setitem(sys.modules, "pillow_heif", None)


def test_the_machine_without_the_extra_is_as_the_tests_make_it() -> None:
    script = """
import sys
sys.modules["pillow_heif"] = None
from camouflage.formats import FORMATS
from camouflage.listing import NOT_READ
print(*sorted({".heic", ".heif", ".hif"} & (NOT_READ - set(FORMATS))))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [".heic", ".heif", ".hif"]


HEIC_START = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf"


@pytest.mark.parametrize("name", ["a.heic", "a.HEIF", "a.hif", "a.jpg"])
@pytest.mark.usefixtures("without_heif")
def test_heic_without_the_extra_names_it(name: str, tmp_path: Path, turn_folder) -> None:
    outcome, written = one(turn_folder, tmp_path, name, HEIC_START + bytes(200))
    assert (outcome.state, written) == ("failed", [])
    assert "camouflage-anonymizer[heif]" in outcome.message


@pytest.mark.usefixtures("without_heif")
def test_what_is_named_heic_cannot_be_written_without_the_extra(
    tmp_path: Path, turn_folder
) -> None:
    """A JPEG by the name of .heic would be read; its result could not have the same name."""
    outcome, written = one(turn_folder, tmp_path, "a.heic", encoded(".jpg"))
    assert (outcome.state, written) == ("failed", [])
    assert "[heif]" in outcome.message
    with pytest.raises(MissingExtra):
        format_of(".heic")
    with pytest.raises(OutputError):
        encode(PIXELS, suffix=".heic")


@needs_heif
def test_heic_with_the_extra(tmp_path: Path, turn_folder) -> None:
    smooth = np.tile(np.arange(0, 128, 4, dtype=np.uint8)[None, :, None], (20, 1, 3))
    data = encoded(".heic", Image.fromarray(smooth), quality=95)
    for name in ("a.heic", "b.HEIF", "c.hif"):
        outcome, _ = one(turn_folder, tmp_path, name, data)
        assert outcome.state == "written"
        picture = Picture.open(tmp_path / "out" / name)
        assert picture.format == "HEIF"
        assert np.abs(picture.pixels.astype(int) - (smooth ^ 128)).mean() < 4


@needs_heif
def test_heic_that_was_cut_off_or_is_none(tmp_path: Path, turn_folder) -> None:
    for data in (HEIC_START, HEIC_START + bytes(500), encoded(".heic")[:400]):
        outcome, written = one(turn_folder, tmp_path, "a.heic", data)
        assert (outcome.state, written) == ("failed", [])


@needs_heif
@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_heic_is_turned_upright_once(turns: int, mirrored: bool, tmp_path: Path) -> None:
    """By the boxes irot (times 90 degrees, anticlockwise) and imir, which count; not by EXIF."""
    corners = np.zeros((64, 128, 3), np.uint8)
    corners[:32, :64], corners[:32, 64:], corners[32:, :64] = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(".heic", Image.fromarray(corners), quality=95, exif=exif)
    boxes = [struct.pack(">I4sB", 9, b"irot", turns)]
    boxes += [struct.pack(">I4sB", 9, b"imir", 1)] * mirrored  # left to right
    (tmp_path / "a.heic").write_bytes(with_properties(data, boxes))
    expected = np.rot90(corners, turns)
    expected = expected[:, ::-1] if mirrored else expected
    pixels = Picture.open(tmp_path / "a.heic").pixels
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 6


def with_properties(data: bytes, boxes: list[bytes]) -> bytes:
    """The HEIC file with further essential properties of its first item (ISO 23008-12, 9.3)."""
    at = data.index(b"ipma")
    count = data[at + 14]  # version, flags, number of items, item, number of its properties
    before = sum(1 for _ in _boxes(data, data.index(b"ipco") + 4, _end(data, b"ipco")))
    new = bytes(0x80 | (before + 1 + i) for i in range(len(boxes)))
    end = at + 15 + count
    data = data[: at + 14] + bytes([count + len(new)]) + data[at + 15 : end] + new + data[end:]
    inside = _end(data, b"ipco")
    data = data[:inside] + b"".join(boxes) + data[inside:]
    grown = len(new) + sum(map(len, boxes))
    for kind, more in {
        b"ipma": len(new), b"ipco": grown - len(new), b"iprp": grown, b"meta": grown,
    }.items():  # fmt: skip
        data = _added(data, data.index(kind) - 4, more)
    return _moved(data, grown)


def _end(data: bytes, kind: bytes) -> int:
    at = data.index(kind) - 4
    return at + int.from_bytes(data[at : at + 4], "big")


def _boxes(data: bytes, at: int, end: int):
    while at < end:
        yield at
        at += int.from_bytes(data[at : at + 4], "big")


def _added(data: bytes, at: int, more: int) -> bytes:
    number = int.from_bytes(data[at : at + 4], "big") + more
    return data[:at] + number.to_bytes(4, "big") + data[at + 4 :]


def _moved(data: bytes, by: int) -> bytes:
    """Every base offset in iloc (version 0 or 1, all numbers of 4 bytes) is ``by`` further on."""
    at = data.index(b"iloc") + 4
    version, sizes = data[at], data[at + 4 : at + 6]
    assert version in (0, 1)
    assert sizes == b"\x44\x40"  # offset, length, base offset; no index
    items, at = int.from_bytes(data[at + 6 : at + 8], "big"), at + 8
    for _ in range(items):
        at += 6 if version else 4
        data = _added(data, at, by)
        at += 6 + 8 * int.from_bytes(data[at + 4 : at + 6], "big")
    return data
