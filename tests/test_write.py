"""Writing: whole or not at all, and nothing but pixels."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from camouflage import write
from camouflage.errors import OutputError, OutputLost, SettingError
from camouflage.picture import FORMATS, Picture
from camouflage.write import encode, remove_partials, write_bytes, write_picture

PIXELS = np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8)
SECRET = b"SECRET-MARK"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_every_format_is_written_and_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / f"a{suffix}"
    digest = write_picture(PIXELS, path)
    picture = Picture.open(path)
    assert picture.sha256 == digest
    assert picture.format == FORMATS[suffix]
    if suffix in (".png", ".tif", ".bmp"):
        assert (picture.pixels == PIXELS).all()
    smooth = np.tile(np.arange(0, 240, 5, dtype=np.uint8)[None, :, None], (32, 1, 3))
    write_picture(smooth, path, overwrite=True)
    assert np.abs(Picture.open(path).pixels.astype(int) - smooth).mean() < 3


@pytest.mark.parametrize("suffix", [".jpg"] + [".avif"] * (".avif" in FORMATS))
def test_colour_has_full_resolution(tmp_path: Path, suffix: str) -> None:
    """Single columns of red and blue stay what they are: no 4:2:0."""
    stripes = np.zeros((16, 32, 3), np.uint8)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 200
    write_picture(stripes, tmp_path / f"a{suffix}")
    pixels = Picture.open(tmp_path / f"a{suffix}").pixels.astype(int)
    assert np.abs(pixels - stripes).mean() < 15


def planted(suffix: str) -> bytes:
    """A file with everything in it that must not come out."""
    image = Image.fromarray(PIXELS)
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    exif.get_ifd(0x8825)[29] = SECRET.decode()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + SECRET
    options: dict = {"exif": exif, "icc_profile": profile}
    if suffix == ".jpg":
        options |= {"comment": SECRET, "xmp": b"<x>" + SECRET + b"</x>"}
    elif suffix == ".png":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_text("Comment", SECRET.decode())
    elif suffix == ".webp":
        options["xmp"] = SECRET
    buffer = io.BytesIO()
    image.save(buffer, FORMATS[suffix], **options)
    return buffer.getvalue() + SECRET


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_metadata_does_not_come_through(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / f"in{suffix}"
    source.write_bytes(planted(suffix))
    assert source.read_bytes().count(SECRET) >= 3  # else nothing was planted
    result = tmp_path / f"out{suffix}"
    write_picture(Picture.open(source).pixels, result)
    data = result.read_bytes()
    assert SECRET not in data
    assert b"Exif" not in data
    image = Image.open(result)
    assert not dict(image.getexif()) or suffix == ".tif"  # TIFF's own layout is in tags
    assert {"icc_profile", "exif", "xmp", "comment", "Comment"}.isdisjoint(image.info)


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists"):
        write_picture(PIXELS, path)
    assert path.read_bytes() == b"mine"
    write_picture(PIXELS, path, overwrite=True)
    assert (Picture.open(path).pixels == PIXELS).all()


def test_a_dangling_link_is_an_existing_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(OutputError):
        write_picture(PIXELS, tmp_path / "a.png")
    assert not (tmp_path / "elsewhere.png").exists()


def test_a_file_made_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"

    def flushed(_: int) -> None:
        path.write_bytes(b"somebody else's")

    monkeypatch.setattr(write.os, "fsync", flushed)
    with pytest.raises(OutputError, match="exists"):
        write_bytes(b"ours", path)
    assert path.read_bytes() == b"somebody else's"
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"]


@pytest.fixture(params=["nameless", "named", "no link by descriptor"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A partial file without a name, where there is such a thing, or with one."""
    if request.param == "nameless" and not hasattr(os, "O_TMPFILE"):
        pytest.skip("of Linux")
    if request.param == "named":
        monkeypatch.setattr(write, "_nameless", lambda folder: None)
    if request.param == "no link by descriptor":
        link = os.link

        def picky(source: object, target: object, **options: object) -> None:
            if "src_dir_fd" in options:
                raise PermissionError(errno.EPERM, "Operation not permitted")
            link(source, target, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "link", picky)
    return request.param


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_partial_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, overwrite: bool
) -> None:
    """Looked at while it is written: by its name if it has one, and by the open file."""
    seen: list[tuple[int, list[tuple[str, int]]]] = []
    sync = os.fsync

    def watched(descriptor: int) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            assert os.pread(descriptor, 9, 0) == b"whole", "it is all there before it is flushed"
            names = [(p.name, mode_of(p)) for p in tmp_path.iterdir() if p.name != "a"]
            seen.append((stat.S_IMODE(status.st_mode), names))
        sync(descriptor)

    monkeypatch.setattr(write.os, "fsync", watched)
    if overwrite:
        (tmp_path / "a").write_bytes(b"old")
    before = os.umask(0)
    try:
        write_bytes(b"whole", tmp_path / "a", overwrite=overwrite)
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "a") == 0o666
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    mode, names = seen[-1]
    assert mode == 0o600
    if kind == "nameless":
        assert names == []
    else:
        (name, named_mode) = names[0]
        assert named_mode == 0o600
        assert name.startswith(".camouflage-")


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_rights_are_widened_when_nothing_is_hidden_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Else a run killed there leaves a hidden second name that all may read."""
    seen: list[list[str]] = []
    monkeypatch.setattr(
        os, "fchmod", lambda *_: seen.append([path.name for path in tmp_path.iterdir()])
    )
    write_bytes(b"x", tmp_path / "a")
    assert seen == [["a"]]


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_modes(tmp_path: Path, kind: str) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(b"x", tmp_path / "a")
        write_bytes(b"x", tmp_path / "b", private=True)
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "a") == 0o640
    assert mode_of(tmp_path / "b") == 0o600


def test_a_disk_without_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """USB sticks: a file whose rights cannot be widened is written all the same."""

    def refused(descriptor: int, mode: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refused)
    write_bytes(b"x", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_a_failed_replacement_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", refused)
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(OutputLost):
        write_bytes(b"new", tmp_path / "a", overwrite=True)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


def test_a_disk_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    write_bytes(b"x", tmp_path / "a")
    write_bytes(b"y", tmp_path / "b", overwrite=True)
    assert (tmp_path / "a").read_bytes() + (tmp_path / "b").read_bytes() == b"xy"
    with pytest.raises(OutputError, match="exists"):
        write_bytes(b"z", tmp_path / "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("code", sorted({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}))
def test_what_is_lost_and_what_is_not(code: int) -> None:
    lost = write.output_error(OSError(code, os.strerror(code)), "a.png")
    assert isinstance(lost, OutputLost)
    for other in (errno.ENAMETOOLONG, errno.EACCES, errno.EISDIR, errno.EINVAL, errno.EFBIG):
        error = write.output_error(OSError(other, os.strerror(other)), "a.png")
        assert not isinstance(error, OutputLost)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write.os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_picture(PIXELS, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="suffix"):
        write_picture(PIXELS, tmp_path / "a.gif")
    with pytest.raises(OutputError, match="JPEG"):
        encode(np.zeros((1, 70000, 3), np.uint8), suffix=".jpg")
    with pytest.raises(SettingError):
        encode(PIXELS.astype(np.float32), suffix=".jpg")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        write_picture(PIXELS, tmp_path / "file" / "a.png")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_half_written_files_of_killed_runs_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    (folder / ".camouflage-x.partial").write_bytes(b"half")
    (folder / "mine.partial").write_bytes(b"whole")
    assert remove_partials(tmp_path) == 1
    assert [file.name for file in folder.iterdir()] == ["mine.partial"]
