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
from typing import Any

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError, features

from camouflage.errors import PictureError, PictureTooLarge, SettingError

FORMATS: dict[str, str] = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
"""Suffix to format: what is read (by content, whatever the name says) and what can be written."""
if features.check("avif"):
    FORMATS[".avif"] = "AVIF"

DEFAULT_MAX_MEGAPIXELS = 100.0
HARD_MAX_MEGAPIXELS = 178.0  # Pillow itself refuses above 2 * Image.MAX_IMAGE_PIXELS
_MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
_SIXTEEN_BIT = {"I;16", "I;16L", "I;16B", "I;16N"}
_ORIENTATION_TAG = 0x0112
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
        white, 16-bit grey is divided by 257, a wide-gamut profile is converted to sRGB (a damaged
        profile is ignored), the EXIF orientation is applied. Of a phone's multi-picture JPEG the
        main picture is read.

        Raises:
            PictureTooLarge: more than ``max_megapixels`` by its header, before any decoding.
            PictureError: not a regular file, empty, damaged, truncated, animated, of several
                pages, or of a format or pixel type that is not supported.
            OSError: the file is missing or may not be read.
        """
        path = Path(path)
        data = _read_bytes(path, max_bytes=_most_bytes(max_megapixels))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's bomb warning: the cap below is ours
            image = _decode(data, name=path.name, max_megapixels=max_megapixels)
            pixels = _upright_rgb(image, name=path.name)
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
            PictureError: a PIL picture of a pixel type that is not supported.
            SettingError: an array of another type or shape.
        """
        if isinstance(image, Image.Image):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pixels = _upright_rgb(image.copy(), name=name)
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
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise PictureError(f"{path.name}: expected a regular file")
        data = file.read(max_bytes + 1)
    if not data:
        raise PictureError(f"{path.name}: the file is empty")
    if len(data) > max_bytes:
        raise PictureTooLarge(f"{path.name}: more bytes than a picture within the cap can have")
    return data


def _decode(data: bytes, *, name: str, max_megapixels: float) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=sorted(set(FORMATS.values())))
        _check_header(image, name=name, max_megapixels=max_megapixels)
        image.load()
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureTooLarge(
            f"{name}: more pixels than the cap of {max_megapixels:g} megapixels"
        ) from error
    except UnidentifiedImageError as error:
        allowed = ", ".join(sorted(set(FORMATS.values())))
        raise PictureError(f"{name}: expected a picture of one of {allowed}") from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise a dozen types on damaged bytes
        raise PictureError(f"{name}: damaged or truncated ({type(error).__name__})") from error
    return image


def _check_header(image: Image.Image, *, name: str, max_megapixels: float) -> None:
    megapixels = image.width * image.height / 1e6
    if megapixels > max_megapixels:
        raise PictureTooLarge(
            f"{name}: expected at most {max_megapixels:g} megapixels, got {megapixels:.1f}; "
            "raise max_megapixels if the picture is meant to be that large"
        )
    if image.width < 1 or image.height < 1:
        raise PictureError(f"{name}: the picture has no pixels")
    # An MPO is a phone's JPEG with a preview, depth or stereo picture behind it: data that trails.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise PictureError(
            f"{name}: expected one still picture, got an animation or several pages; "
            "split it into single pictures first"
        )


def _upright_rgb(image: Image.Image, *, name: str) -> np.ndarray:
    """The pixels as read-only uint8 ``(H, W, 3)``: sRGB, on white, orientation applied."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        image = _on_white(_srgb(_eight_bit(image, name=name)))
        if orientation in _UPRIGHT:
            image = image.transpose(_UPRIGHT[orientation])
        pixels = np.asarray(image)
    except (PictureError, MemoryError):
        raise
    except Exception as error:  # damaged EXIF or colour data, in a dozen types
        raise PictureError(f"{name}: damaged or truncated ({type(error).__name__})") from error
    pixels.flags.writeable = False
    return pixels


def _eight_bit(image: Image.Image, *, name: str) -> Image.Image:
    if image.mode in _SIXTEEN_BIT:
        grey = np.asarray(image).astype(np.float32) / 257.0  # 65535 / 255
        return Image.fromarray(np.rint(grey).astype(np.uint8))
    if image.mode not in _MODES:
        raise PictureError(f"{name}: pixel type {image.mode} is not supported: use 8 or 16 bits")
    if image.mode in ("P", "PA", "La", "LA", "RGBa") or (image.has_transparency_data):
        return _with_profile(image.convert("RGBA" if image.has_transparency_data else "RGB"), image)
    return _with_profile(image.convert("RGB"), image) if image.mode in ("1", "YCbCr") else image


def _with_profile(converted: Image.Image, source: Image.Image) -> Image.Image:
    if "icc_profile" in source.info:
        converted.info["icc_profile"] = source.info["icc_profile"]
    return converted


def _srgb(image: Image.Image) -> Image.Image:
    """Convert by the embedded profile to sRGB, mode RGB or RGBA; without a usable one, plainly."""
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    colour = image.convert("RGB") if image.mode in ("RGBA", "RGBX") else image
    converted = _by_profile(colour, image.info.get("icc_profile")) or colour.convert("RGB")
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _by_profile(image: Image.Image, icc_profile: bytes | None) -> Image.Image | None:
    if not icc_profile:
        return None
    try:
        profile = ImageCms.getOpenProfile(io.BytesIO(icc_profile))
        facts: Any = profile.profile
        space, text = facts.xcolor_space, facts.profile_description or ""
        fits = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(space.strip()) == image.mode
        if not fits or "srgb" in text.lower():
            return None
        return ImageCms.profileToProfile(
            image,
            profile,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None  # a damaged profile: the colours are shown as sRGB, as browsers do


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")
