"""The only reader of image files: one upright sRGB picture, or an error.

What a picture file carries beside its pixels (EXIF, GPS, XMP, thumbnails, comments, profiles,
second frames, trailing bytes) ends here: :class:`Picture` has no place for it.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from camouflage.errors import PictureError, PictureTooLarge, SettingError
from camouflage.formats import FORMATS, load_heif
from camouflage.srgb import stated_profile, to_srgb
from camouflage.tiff import load_certain

DEFAULT_MAX_MEGAPIXELS = 100.0
HARD_MAX_MEGAPIXELS = 178.0  # Pillow itself refuses above 2 * Image.MAX_IMAGE_PIXELS
_MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_SIXTEEN_BIT = {"I;16", "I;16L", "I;16B", "I;16N"}
_ORIENTATION_TAG = 0x0112
_TILE_WIDTH = 322  # the height is the next tag
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """One upright picture in memory.

    ``pixels``: uint8 ``(H, W, 3)``, sRGB, upright, read-only. ``name``: the file's name without
    its folder. ``suffix``: lower case, with the dot, as the name has it. ``sha256``: of the file's
    bytes (of shape and pixels for a picture that came from memory). ``format``: what the bytes
    were, empty for a picture that came from memory.
    """

    pixels: np.ndarray = field(repr=False)
    name: str
    suffix: str
    sha256: str
    format: str

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise SettingError(f"expected pixels uint8 (H, W, 3), got {dtype} {tuple(shape)}")
        if self.pixels.flags.writeable:
            raise SettingError("expected read-only pixels: make a Picture by open or from_image")

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
    ) -> Picture:
        """Read a picture file.

        The format is found from the content, of those in :data:`FORMATS`. Transparency is laid on
        white, 16-bit grey is divided by 257 (16-bit colour keeps its upper bytes), colours are
        converted to sRGB by the profile or the numbers in the file (damaged ones are ignored), the
        EXIF orientation is applied. Of a phone's multi-picture JPEG the main picture is read. HEIC
        needs the extra ``heif``.

        Raises:
            PictureTooLarge: more than ``max_megapixels`` by its header, before any decoding.
            PictureError: not a regular file, empty, damaged, truncated, animated, of several
                pages, of a high dynamic range, or of a format or pixel type that is not supported.
            MissingExtra: HEIC, and the extra is not installed.
            OSError: the file is missing or may not be read.
        """
        path = Path(path)
        data = _read_bytes(path, max_bytes=_most_bytes(max_megapixels))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's bomb warning: the cap below is ours
            image = _decode(data, name=path.name, max_megapixels=max_megapixels)
            pixels = _upright_rgb(image, name=path.name, data=data)
        return cls(
            pixels=pixels,
            name=path.name,
            suffix=path.suffix.lower(),
            sha256=hashlib.sha256(data).hexdigest(),
            format=str(image.format),
        )

    @classmethod
    def from_image(cls, image: Image.Image | np.ndarray, *, name: str = "image.png") -> Picture:
        """Take a PIL picture, or an RGB uint8 array ``(H, W, 3)``; the pixels are copied.

        A PIL picture is treated as a file is: its orientation, profile and transparency are
        applied.

        Raises:
            PictureError: a PIL picture of a pixel type or colours that are not supported.
            SettingError: an array of another type or shape.
        """
        if isinstance(image, Image.Image):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pixels = _upright_rgb(image, name=name)
        else:
            pixels = np.array(image, order="C")
            pixels.flags.writeable = False
        digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        suffix = Path(name).suffix.lower()
        return cls(pixels=pixels, name=Path(name).name, suffix=suffix, sha256=digest, format="")


def _most_bytes(max_megapixels: float) -> int:
    """The largest file that is worth reading: 8 bytes a pixel and 64 MiB beside them."""
    if not 0 < max_megapixels <= HARD_MAX_MEGAPIXELS:
        raise SettingError(
            f"expected max_megapixels in (0, {HARD_MAX_MEGAPIXELS:g}], got {max_megapixels}"
        )
    return int(max_megapixels * 8e6) + (64 << 20)


def _read_bytes(path: Path, *, max_bytes: int) -> bytes:
    """Read a regular file, once, so that the hash and the pixels are of the same bytes."""
    # Without O_NONBLOCK, opening a named pipe would wait for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise PictureError(f"{path.name}: expected a regular file")
        if status.st_size > max_bytes:
            raise PictureTooLarge(f"{path.name}: more bytes than a picture within the cap can have")
        data = file.read(status.st_size)  # a larger number would be reserved in memory
    if not data:
        raise PictureError(f"{path.name}: the file is empty")
    return data


def _decode(data: bytes, *, name: str, max_megapixels: float) -> Image.Image:
    formats = set(FORMATS.values()) - {"HEIF"}
    if _is_heif(data):
        load_heif()
        formats.add("HEIF")
    try:
        _check_canvas(data, name=name, max_megapixels=max_megapixels)
        image = Image.open(io.BytesIO(data), formats=sorted(formats))
        _check_header(image, name=name, max_megapixels=max_megapixels)
        if image.format == "TIFF":
            image = load_certain(data, name=name)
        else:
            image.load()
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureTooLarge(
            f"{name}: more pixels than the cap of {max_megapixels:g} megapixels"
        ) from error
    except UnidentifiedImageError as error:
        allowed = ", ".join(sorted(formats))
        raise PictureError(f"{name}: expected a picture of one of {allowed}") from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise a dozen types on damaged bytes
        raise PictureError(f"{name}: damaged or truncated ({type(error).__name__})") from error
    return image


def _is_heif(data: bytes) -> bool:
    """By the brands of its first box; AVIF has the same box, and Pillow reads that itself."""
    if data[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(data[:4], "big"), len(data), 4096)
    brands = {data[at : at + 4] for at in (8, *range(16, end, 4))}
    return bool(brands & _HEIF_BRANDS) and not brands & {b"avif", b"avis"}


def _check_canvas(data: bytes, *, name: str, max_megapixels: float) -> None:
    """WebP's decoder takes memory for the whole canvas when it is opened, so that is checked."""
    if data[:4] != b"RIFF" or data[8:16] != b"WEBPVP8X":
        return
    width = 1 + int.from_bytes(data[24:27], "little")
    height = 1 + int.from_bytes(data[27:30], "little")
    _check_size(width, height, name=name, max_megapixels=max_megapixels)


def _check_size(width: int, height: int, *, name: str, max_megapixels: float) -> None:
    megapixels = width * height / 1e6
    if megapixels > max_megapixels:
        raise PictureTooLarge(
            f"{name}: expected at most {max_megapixels:g} megapixels, got {megapixels:.1f}; "
            "raise max_megapixels if the picture is meant to be that large"
        )


def _check_header(image: Image.Image, *, name: str, max_megapixels: float) -> None:
    _check_size(image.width, image.height, name=name, max_megapixels=max_megapixels)
    if image.format == "TIFF":  # a tile may be larger than its picture, and is decoded whole
        tags = getattr(image, "tag_v2", {})
        tile_wh = (tags.get(_TILE_WIDTH, 1), tags.get(_TILE_WIDTH + 1, 1))
        _check_size(*tile_wh, name=name, max_megapixels=max_megapixels)
    if image.width < 1 or image.height < 1:
        raise PictureError(f"{name}: the picture has no pixels")
    if image.mode not in _MODES | _SIXTEEN_BIT:
        raise PictureError(f"{name}: pixel type {image.mode} is not supported: use 8 or 16 bits")
    # An MPO is a phone's JPEG with a preview, depth or stereo picture behind it: data that trails.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise PictureError(
            f"{name}: expected one still picture, got an animation or several pages; "
            "split it into single pictures first"
        )


def _upright_rgb(image: Image.Image, *, name: str, data: bytes = b"") -> np.ndarray:
    """The pixels as read-only uint8 ``(H, W, 3)``: sRGB, on white, orientation applied.

    ``data``: the bytes of the file, for what Pillow does not tell of its colours.
    """
    if image.mode not in _MODES | _SIXTEEN_BIT:
        raise PictureError(f"{name}: pixel type {image.mode} is not supported: use 8 or 16 bits")
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        profile = stated_profile(image, data)
        colour, alpha = _colour_and_alpha(image)
        upright = _on_white(to_srgb(colour, profile), alpha)
        if orientation in _UPRIGHT:
            upright = upright.transpose(_UPRIGHT[orientation])
        pixels = np.asarray(upright)
    except PictureError as error:
        raise PictureError(f"{name}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # damaged EXIF or colour data, in a dozen types
        raise PictureError(f"{name}: damaged or truncated ({type(error).__name__})") from error
    pixels.flags.writeable = False
    return pixels


def _colour_and_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Modes L, RGB or CMYK, and L or None: what a profile can be applied to, and the rest."""
    if image.mode in _SIXTEEN_BIT:
        return _sixteen_bit(image)
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        both = image.convert("LA" if grey else "RGBA")
        return both.convert("L" if grey else "RGB"), both.getchannel("A")
    as_it_is = image.mode in ("L", "RGB", "CMYK")  # a conversion to its own mode would copy it
    return (image if as_it_is else image.convert("L" if grey else "RGB")), None


def _sixteen_bit(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    values = np.asarray(image)
    grey = Image.fromarray(np.rint(values.astype(np.float32) / 257.0).astype(np.uint8))  # to 255
    clear = image.info.get("transparency")
    alpha = Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))
    return grey, alpha if isinstance(clear, int) else None


def _on_white(image: Image.Image, alpha: Image.Image | None) -> Image.Image:
    if alpha is None:
        return image
    return Image.composite(image, Image.new("RGB", image.size, (255, 255, 255)), alpha)
