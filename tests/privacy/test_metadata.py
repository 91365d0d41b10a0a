"""Metadata: each kind is planted, seen to be there, and is nowhere in what is written.

Beside the search for the planted words there is a law: the bytes of a result are those of a picture
of the same pixels that never carried anything.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from camouflage.picture import FORMATS, Picture, load_heif
from camouflage.write import encode

SECRET = b"Erika-Mustermann-52.5163N"
WORD = SECRET.decode()
PIXELS = np.random.default_rng(3).integers(0, 255, (24, 32, 3), dtype=np.uint8)
CLEAN = Image.fromarray(PIXELS)
EXIF_HEADER = b"Exif\0\0"


def holds(data: bytes, secret: bytes = SECRET) -> bool:
    """Whether the word is in the bytes: plain, in UTF-16 as ICC has it, or deflated as in PNG."""
    wide = [secret.decode().encode(encoding) for encoding in ("utf-16-be", "utf-16-le")]
    return any(form in part for part in _with_inflated(data) for form in (secret, *wide))


def _with_inflated(data: bytes) -> list[bytes]:
    parts, at = [data], data.find(b"\x78")
    while at >= 0:
        with contextlib.suppress(zlib.error):
            parts.append(zlib.decompressobj().decompress(data[at:], 1 << 16))
        at = data.find(b"\x78", at + 1)
    return parts


def exif() -> bytes:
    """Description, maker note, position, comment, serial number, and a thumbnail in IFD 1."""
    plain = Image.Exif()
    plain[0x010E] = plain[0x013B] = WORD
    plain[0x0112] = 1
    camera = plain.get_ifd(0x8769)
    camera[0x927C] = b"MakerNote" + SECRET
    camera[0x9286] = b"ASCII\0\0\0" + SECRET
    camera[0xA431] = WORD
    place = plain.get_ifd(0x8825)
    place[1], place[2], place[0x1B] = "N", (52.0, 30.0, 58.7), b"ASCII\0\0\0" + SECRET
    tiff = plain.tobytes().removeprefix(EXIF_HEADER)
    tiff += b"\0" * (len(tiff) % 2)
    order = "<" if tiff[:2] == b"II" else ">"
    first = struct.unpack(order + "I", tiff[4:8])[0]
    count = struct.unpack(order + "H", tiff[first : first + 2])[0]
    end = first + 2 + 12 * count
    thumbnail = encoded("JPEG", CLEAN.resize((16, 12)), comment=SECRET)
    at = len(tiff) + 2 + 2 * 12 + 4
    second = struct.pack(order + "H", 2)
    second += struct.pack(order + "HHII", 0x0201, 4, 1, at)
    second += struct.pack(order + "HHII", 0x0202, 4, 1, len(thumbnail)) + bytes(4)
    tiff = tiff[:end] + struct.pack(order + "I", len(tiff)) + tiff[end + 4 :]
    return EXIF_HEADER + tiff + second + thumbnail


XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b"<dc:creator>" + SECRET + b"</dc:creator></x:xmpmeta><?xpacket end='w'?>"
)
IPTC = b"\x1c\x02\x50" + struct.pack(">H", len(SECRET)) + SECRET  # by-line
PHOTOSHOP = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC + b"\0" * (len(IPTC) % 2)
FILM = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + struct.pack(">I", 8 + len(SECRET)) + b"mdat" + SECRET


def personal_profile() -> bytes:
    """sRGB in all but its words, which are a person's (as calibration tools write them)."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    words = WORD.encode("utf-16-be")
    at = data.index("No copyright, use freely".encode("utf-16-be"))
    # In place of the copyright as far as it goes, and whole behind the last tag.
    grown = data[:at] + words[:48] + data[at + 48 :] + words
    return struct.pack(">I", len(grown)) + grown[4:]


def encoded(format_name: str, image: Image.Image = CLEAN, **options: object) -> bytes:
    lossless: dict[str, dict[str, object]] = {"WEBP": {"lossless": True}, "HEIF": {"quality": -1}}
    buffer = io.BytesIO()
    image.save(buffer, format_name, **{**lossless.get(format_name, {}), **options})
    return buffer.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg_with(*segments: bytes) -> bytes:
    plain = encoded("JPEG")
    return plain[:2] + b"".join(segments) + plain[2:]


def chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def png_with(*chunks: bytes, late: bool = False) -> bytes:
    plain = encoded("PNG")
    at = len(plain) - 12 if late else 33  # before IEND, or behind IHDR
    return plain[:at] + b"".join(chunks) + plain[at:]


def png_text(**options: object) -> bytes:
    info = PngImagePlugin.PngInfo()
    if options.pop("international", False):
        info.add_itxt("XML:com.adobe.xmp", XMP.decode(), **options)
    else:
        info.add_text("Comment", WORD, **options)
    return encoded("PNG", pnginfo=info)


def webp_with(kind: bytes, content: bytes) -> bytes:
    data = encoded("WEBP", exif=exif()) + kind + struct.pack("<I", len(content)) + content
    data += b"\0" * (len(content) % 2)
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def tiff_with(**tags: object) -> bytes:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    directory = ImageFileDirectory_v2()
    for tag, value in tags.items():
        number = int(tag[1:])
        directory[number] = value
        directory.tagtype[number] = 2 if isinstance(value, str) else 7
    return encoded("TIFF", tiffinfo=directory)


def bmp_with_gap() -> bytes:
    """Bytes between the header and the pixels, which no reader looks at."""
    plain = encoded("BMP")
    offset = struct.unpack("<I", plain[10:14])[0]
    moved = plain[:10] + struct.pack("<I", offset + len(SECRET)) + plain[14:offset]
    return moved + SECRET + plain[offset:]


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def phones_jpeg() -> bytes:
    """A main picture, and a second one of the person behind it (stereo, depth or HDR gain)."""
    second = Image.open(io.BytesIO(encoded("JPEG", CLEAN.rotate(90), comment=SECRET)))
    buffer = io.BytesIO()
    CLEAN.save(buffer, "MPO", save_all=True, append_images=[second])
    return buffer.getvalue() + SECRET


def planted() -> dict[str, Callable[[], bytes]]:
    """File name to the maker of its bytes, for every kind and every format that can carry it."""
    icc = personal_profile
    files: dict[str, Callable[[], bytes]] = {
        "exif.jpg": lambda: encoded("JPEG", exif=exif()),
        "xmp.jpg": lambda: encoded("JPEG", xmp=XMP),
        "xmp-long.jpg": lambda: jpeg_with(
            segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 40 + XMP)
        ),
        "iptc.jpg": lambda: jpeg_with(segment(0xED, b"Photoshop 3.0\0" + PHOTOSHOP)),
        "comment.jpg": lambda: encoded("JPEG", comment=SECRET),
        "icc.jpg": lambda: encoded("JPEG", icc_profile=icc()),
        "credentials.jpg": lambda: jpeg_with(segment(0xEB, b"JP\0\x01\0\0\0\x01" + SECRET)),
        "thumbnail.jpg": lambda: jpeg_with(segment(0xE0, b"JFXX\0\x10" + SECRET)),
        "unknown.jpg": lambda: jpeg_with(segment(0xE9, SECRET)),
        "trailing.jpg": lambda: encoded("JPEG") + SECRET,
        "motion.jpg": lambda: encoded("JPEG", xmp=b"<GCamera:MotionPhoto/>" + XMP) + FILM,
        "phone.jpg": phones_jpeg,
        "exif.png": lambda: encoded("PNG", exif=exif()),
        "text.png": lambda: png_text(),
        "text-deflated.png": lambda: png_text(zip=True),
        "xmp.png": lambda: png_text(international=True),
        "xmp-deflated.png": lambda: png_text(international=True, zip=True),
        "text-late.png": lambda: png_with(chunk(b"tEXt", b"Author\0" + SECRET), late=True),
        "icc.png": lambda: encoded("PNG", icc_profile=icc()),
        "credentials.png": lambda: png_with(chunk(b"caBX", SECRET)),
        "unknown.png": lambda: png_with(chunk(b"prVt", SECRET)),
        "time.png": lambda: png_with(chunk(b"tIME", SECRET[:7])),
        "palette.png": lambda: png_with(chunk(b"sPLT", SECRET + b"\0\x08")),
        "trailing.png": lambda: encoded("PNG") + SECRET,
        "exif.webp": lambda: encoded("WEBP", exif=exif()),
        "xmp.webp": lambda: encoded("WEBP", xmp=XMP),
        "icc.webp": lambda: encoded("WEBP", icc_profile=icc()),
        "unknown.webp": lambda: webp_with(b"PRIV", SECRET),
        "trailing.webp": lambda: encoded("WEBP") + SECRET,
        "tags.tif": lambda: tiff_with(t270=WORD, t305=WORD, t315=WORD, t33432=WORD),
        "xmp.tif": lambda: tiff_with(t700=XMP),
        "iptc.tif": lambda: tiff_with(t33723=IPTC),
        "photoshop.tif": lambda: tiff_with(t34377=PHOTOSHOP),
        "private.tif": lambda: tiff_with(t65000=SECRET),
        "exif.tif": lambda: encoded("TIFF", exif=exif()),
        "icc.tif": lambda: encoded("TIFF", icc_profile=icc()),
        "trailing.tif": lambda: encoded("TIFF") + SECRET,
        "gap.bmp": bmp_with_gap,
        "trailing.bmp": lambda: encoded("BMP") + SECRET,
    }
    for suffix in {".avif", ".heic"} & set(FORMATS):
        name = FORMATS[suffix]
        if name == "HEIF":
            load_heif()
        files |= {
            f"exif{suffix}": lambda name=name: encoded(name, exif=exif()),
            f"xmp{suffix}": lambda name=name: encoded(name, xmp=XMP),
            f"icc{suffix}": lambda name=name: encoded(name, icc_profile=icc()),
            f"box{suffix}": lambda name=name: encoded(name) + box(b"udta", SECRET),
            f"film{suffix}": lambda name=name: encoded(name) + FILM,
        }
    return files


PLANTED = planted()


def test_what_finds_the_words_finds_them() -> None:
    """A search that finds nothing anywhere would pass every test below."""
    wide = WORD.encode("utf-16-be")
    assert all(holds(b"x" + form + b"x") for form in (SECRET, wide, zlib.compress(SECRET)))
    assert not holds(encoded("PNG"))


def test_the_planted_exif_is_what_readers_see() -> None:
    """The hand-made directory of the thumbnail, the position and the maker's note are real."""
    seen = Image.open(io.BytesIO(encoded("JPEG", exif=exif()))).getexif()
    assert SECRET in seen.get_ifd(0x8769)[0x927C]
    assert SECRET in seen.get_ifd(0x8825)[0x1B]
    assert seen.get_ifd(0x8825)[2] == (52.0, 30.0, 58.7)
    thumbnail = seen.get_ifd(ExifTags.IFD.IFD1)
    start = len(EXIF_HEADER) + thumbnail[0x0201]
    small = Image.open(io.BytesIO(exif()[start : start + thumbnail[0x0202]]))
    assert (small.size, small.info["comment"]) == ((16, 12), SECRET)


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_nothing_comes_through(name: str, tmp_path: Path, turn_folder) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / name).write_bytes(PLANTED[name]())
    word = SECRET[:7] if name == "time.png" else SECRET
    assert holds((folder / name).read_bytes(), word)
    assert turn_folder(folder, output)[name].state == "written"
    for path in output.iterdir():
        assert not holds(path.read_bytes(), word), path.name


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_the_result_is_that_of_the_pixels_alone(name: str, tmp_path: Path, turn_folder) -> None:
    """Equal bytes from a file of the same pixels without anything else leave no room to hide."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).write_bytes(PLANTED[name]())
    turned = Picture.open(folder / name).pixels ^ np.uint8(128)
    turn_folder(folder, tmp_path / "out")
    expected = encode(turned, suffix=Path(name).suffix)
    assert (tmp_path / "out" / name).read_bytes() == expected


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_the_pixels_are_those_of_a_clean_file(suffix: str, tmp_path: Path) -> None:
    """What is planted does not change a pixel either, so nothing can be read back from them."""
    for name in (name for name in PLANTED if name.endswith(suffix)):
        (tmp_path / name).write_bytes(PLANTED[name]())
        assert (Picture.open(tmp_path / name).pixels == PIXELS).all(), name


def test_a_written_jpeg_has_only_what_it_needs() -> None:
    data, at, kinds = encode(PIXELS, suffix=".jpg"), 2, set()
    while data[at + 1] != 0xDA:
        kinds.add(data[at + 1])
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    assert kinds == {0xE0, 0xDB, 0xC0, 0xC4}  # JFIF, tables, frame, tables


def test_a_written_png_has_only_what_it_needs() -> None:
    data, at, kinds = encode(PIXELS, suffix=".png"), 8, []
    while at < len(data):
        kinds.append(data[at + 4 : at + 8])
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}


def test_times_do_not_carry_over(tmp_path: Path, turn_folder) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    path = folder / "a.png"
    path.write_bytes(encoded("PNG"))
    os.utime(path, (978310861, 978310861))  # 2001
    turn_folder(folder, output)
    assert path.stat().st_mtime == 978310861
    for written in output.iterdir():
        assert written.stat().st_mtime > 1.5e9
        assert written.stat().st_atime > 1.5e9


def test_times_carry_over_if_asked(tmp_path: Path, turn_folder) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    path = folder / "a.png"
    path.write_bytes(encoded("PNG"))
    os.utime(path, (978310861, 978310861))
    turn_folder(folder, output, keep_times=True)
    assert (output / "a.png").stat().st_mtime == 978310861
    assert (output / "manifest.jsonl").stat().st_mtime > 1.5e9


def test_times_carry_over_to_a_result_of_an_earlier_run(tmp_path: Path, turn_folder) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    path = folder / "a.png"
    path.write_bytes(encoded("PNG"))
    os.utime(path, (978310861, 978310861))
    turn_folder(folder, output)
    made = (output / "a.png").stat()
    assert made.st_mtime > 1.5e9
    turn_folder(folder, output)
    assert (output / "a.png").stat().st_mtime_ns == made.st_mtime_ns, "nobody asked"
    turn_folder(folder, output, keep_times=True)
    kept = (output / "a.png").stat()
    assert (kept.st_mtime, kept.st_ino) == (978310861, made.st_ino)


@pytest.mark.skipif(sys.platform != "linux", reason="extended attributes are set by Linux's calls")
def test_extended_attributes_do_not_carry_over(tmp_path: Path, turn_folder) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    path = folder / "a.png"
    path.write_bytes(encoded("PNG"))
    try:
        os.setxattr(path, "user.xdg.origin.url", SECRET)
    except OSError:
        pytest.skip("this file system has no extended attributes")
    assert os.listxattr(path) == ["user.xdg.origin.url"]
    turn_folder(folder, output)
    written = list(output.iterdir())
    assert {file.name for file in written} == {"a.png", "manifest.jsonl"}
    assert not any("user" in name for file in written for name in os.listxattr(file))
