"""Six hundred damaged files through every reader: each has one state, and none comes out as it was.

The damage is drawn from a seed, so a failure can be repeated. The anonymizer moves every value by
half of the range, so whatever comes out like its input did not pass through it.
"""

from __future__ import annotations

import io
import json
import os
import random
import struct
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from camouflage.errors import PictureError
from camouflage.picture import FORMATS, Picture, load_heif

SEED, INPUTS, CAP_MEGAPIXELS = 20, 640, 2.0
PIXELS = np.random.default_rng(SEED).integers(0, 255, (40, 56, 3), dtype=np.uint8)
SIZES = (0, 1, 3, 255, 4_000, 16_383, 65_535, 100_000, 2**31 - 1, 2**32 - 1)


def originals() -> dict[str, tuple[str, bytes]]:
    """Name to suffix and bytes: each format, in the variants that other code reads."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "words"
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rgb = Image.fromarray(PIXELS)
    deep = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
    clear = Image.fromarray(np.dstack([PIXELS, PIXELS[..., 0]]))
    more = {"exif": exif, "icc_profile": icc}
    made: dict[str, tuple[str, Image.Image, dict]] = {
        "plain": (".jpg", rgb, more),
        "progressive": (".jpg", rgb, {"progressive": True, "xmp": b"<x/>", "comment": b"c"}),
        "cmyk": (".jpg", rgb.convert("CMYK"), {}),
        "phone": (".jpg", rgb, {"format": "MPO", "save_all": True, "append_images": [rgb]}),
        "plain ": (".png", rgb, more),
        "palette": (".png", rgb.quantize(16), {"transparency": 3}),
        "deep": (".png", deep, {}),
        "clear": (".png", clear, {}),
        "bits": (".png", rgb.convert("1"), {}),
        "lossy": (".webp", rgb, more),
        "lossless": (".webp", clear, {"lossless": True}),
        "raw": (".tif", rgb, more),
        "deflate": (".tif", rgb, {"compression": "tiff_adobe_deflate"}),
        "lzw": (".tif", deep, {"compression": "tiff_lzw"}),
        "jpeg": (".tif", rgb, {"compression": "jpeg"}),
        "fax": (".tif", rgb.convert("1"), {"compression": "group4"}),
        "plain  ": (".bmp", rgb, {}),
        "palette ": (".bmp", rgb.quantize(16), {}),
        "plain   ": (".avif", rgb, more),
        "plain    ": (".heic", rgb, more),
    }
    files = {}
    for name, (suffix, image, options) in made.items():
        if suffix in FORMATS:
            buffer = io.BytesIO()
            image.save(buffer, **{"format": FORMATS[suffix], **options})
            files[f"{suffix[1:]}-{name.strip()}"] = (suffix, buffer.getvalue())
    return files


def flipped(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(draw.choice((1, 2, 8, 40))):
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def truncated(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))] + bytes(draw.choice((0, 0, 50)))


def spliced(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    other = draw.choice(others)
    return data[: draw.randrange(len(data))] + other[draw.randrange(len(other)) :]


def header_edited(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(draw.randint(1, 6)):
        damaged[draw.randrange(min(len(damaged), 160))] = draw.choice((0, 1, 127, 128, 255))
    return bytes(damaged)


def size_edited(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """Wherever the header has the width or the height, it has another number."""
    damaged = data
    for form in (">I", "<I", ">H", "<H"):
        for size in (56, 40, 55, 39):  # WebP counts from 0
            number = draw.choice(SIZES) % 2 ** (8 * struct.calcsize(form))
            at = damaged.find(struct.pack(form, size), 0, 600)
            if at >= 0 and draw.random() < 0.7:
                new = struct.pack(form, number)
                damaged = damaged[:at] + new + damaged[at + len(new) :]
    return damaged if damaged != data else header_edited(data, others, draw)


def moved(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """A piece is missing, there twice, or blank."""
    start = draw.randrange(len(data))
    end = min(len(data), start + draw.choice((1, 7, 64, 400)))
    piece = draw.choice((b"", data[start:end] * 2, bytes(end - start)))
    return data[:start] + piece + data[end:]


DAMAGES: tuple[Callable[[bytes, list[bytes], random.Random], bytes], ...] = (
    flipped, truncated, spliced, header_edited, size_edited, moved,
)  # fmt: skip


def damaged_files(folder: Path) -> dict[str, str]:
    """Fill the folder; return the name of each file's original."""
    draw = random.Random(SEED)
    files = originals()
    everything = [data for _, data in files.values()]
    made: dict[str, str] = {}
    while len(made) < INPUTS:
        number = len(made)
        original = list(files)[number % len(files)]
        suffix, data = files[original]
        damage = DAMAGES[number // len(files) % len(DAMAGES)]
        bad = damage(data, everything, draw)
        if bad in everything:
            continue
        name = f"{number:03d}-{original}-{damage.__name__}{suffix}"
        (folder / name).write_bytes(bad)
        made[name] = original
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if ".heic" in FORMATS:
        load_heif()
    return tmp_path_factory.mktemp("damaged")


def pixels_of(path: Path) -> np.ndarray | None:
    try:
        return Picture.open(path, max_megapixels=CAP_MEGAPIXELS).pixels
    except PictureError:
        return None


def alike(first: np.ndarray | None, second: np.ndarray | None) -> bool:
    """Nearer to one another than lossy writing of turned values can make them."""
    if first is None or second is None or first.shape != second.shape:
        return False
    return float(np.abs(first.astype(int) - second).mean()) < 40


def peak_mib() -> float:
    if sys.platform != "linux":
        return 0.0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_damaged_files(
    folder: Path, tmp_path: Path, turn_folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = damaged_files(folder)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # waits for the disk are tested elsewhere
    before = peak_mib()
    outcomes = turn_folder(folder, tmp_path, max_megapixels=CAP_MEGAPIXELS)
    assert peak_mib() - before < 200

    assert sorted(outcomes) == sorted(made)
    states = Counter(outcome.state for outcome in outcomes.values())
    assert set(states) == {"written", "failed"}
    assert min(states.values()) > INPUTS // 10, states  # both ways were gone
    lines = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    noted = Counter(line["input"] for line in lines if "state" in line)
    assert noted == Counter(dict.fromkeys(made, 1))

    written = {path.name for path in tmp_path.iterdir()} - {"manifest.jsonl"}
    assert written == {name for name, o in outcomes.items() if o.state == "written"}
    undamaged = {name: data for name, (_, data) in originals().items()}
    for name in written:
        result = (tmp_path / name).read_bytes()
        assert result not in ((folder / name).read_bytes(), undamaged[made[name]]), name
        assert not alike(pixels_of(tmp_path / name), pixels_of(folder / name)), name


def test_no_failure_is_a_bug_of_ours(folder: Path) -> None:
    """What cannot be read raises no other error, and names the file without its folder."""
    if not any(folder.iterdir()):
        damaged_files(folder)
    errors: list[tuple[str, PictureError]] = []
    for path in folder.iterdir():
        try:
            Picture.open(path, max_megapixels=CAP_MEGAPIXELS)
        except PictureError as error:
            errors.append((path.name, error))
    assert all(name in str(error) and str(folder) not in str(error) for name, error in errors)
    kinds = Counter(type(error).__name__ for _, error in errors)
    assert kinds["PictureTooLarge"] > 5, kinds
    assert kinds["PictureError"] > 100, kinds


def test_the_undamaged_files_are_written(tmp_path: Path, turn_folder) -> None:
    """Else the damage is not what is tested."""
    source = tmp_path / "in"
    source.mkdir()
    for name, (suffix, data) in originals().items():
        (source / f"{name}{suffix}").write_bytes(data)
    outcomes = turn_folder(source, tmp_path / "out", max_megapixels=CAP_MEGAPIXELS)
    assert {outcome.state for outcome in outcomes.values()} == {"written"}
    for path in source.iterdir():
        assert not alike(pixels_of(tmp_path / "out" / path.name), pixels_of(path)), path.name
        assert alike(pixels_of(path), pixels_of(path))
