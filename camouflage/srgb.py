"""Colours become sRGB: by the profile in a file, or by the numbers it states instead of one.

Without either, or where they are damaged, the colours are taken for sRGB, as browsers do. High
dynamic range (PQ, HLG) is refused: shown as sRGB it would be wrong, and quietly so.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from camouflage.errors import PictureError

_D65, _D50 = (0.3127, 0.3290), (0.3457, 0.3585)
_SRGB = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_ADOBE_RGB = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
_CAMERA, _INTEROP, _COLOUR_SPACE = 0x8769, 0xA005, 0xA001  # EXIF
_DAMAGED_EXIF = (
    AttributeError, LookupError, OSError, SyntaxError, TypeError, ValueError, struct.error,
)  # fmt: skip
_CURVE = 0.0  # in place of a gamma: the curve of sRGB
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)

Chromaticities = tuple[float, ...]
"""x and y of white, red, green and blue."""

# ITU-T H.273, tables 2 and 3. Curves made for television are shown with that of sRGB, as usual.
_PRIMARIES: dict[int, Chromaticities] = {
    0: (*_D65, *_SRGB),
    1: (*_D65, *_SRGB),
    2: (*_D65, *_SRGB),
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
_GAMMAS = dict.fromkeys((0, 1, 2, 6, 11, 13, 14, 15), _CURVE) | {4: 2.2, 5: 2.8, 8: 1.0}


def to_srgb(image: Image.Image, icc_profile: bytes | None) -> Image.Image:
    """``image`` (mode L, RGB or CMYK) as sRGB, mode RGB, by ``icc_profile`` if it is usable.

    A profile that moves no colour by more than 2 of 255 is sRGB, whatever its name is, and leaves
    the pixels as they are.
    """
    converted = _by_profile(image, icc_profile) if icc_profile else None
    if converted is not None:
        return converted
    return image if image.mode == "RGB" else image.convert("RGB")


def _by_profile(image: Image.Image, icc_profile: bytes) -> Image.Image | None:
    try:
        profile: Any = ImageCms.getOpenProfile(io.BytesIO(icc_profile))
        mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(profile.profile.xcolor_space.strip())
        if image.mode == "L" and mode == "RGB":
            image = image.convert("RGB")
        if mode is None or mode != image.mode:
            return None
        transform: Any = ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if mode == "RGB" and _changes_nothing(transform):
            return None
        return ImageCms.applyTransform(image, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _changes_nothing(transform: Any) -> bool:
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(27, 27, 3)
    after = np.asarray(ImageCms.applyTransform(Image.fromarray(colours), transform))
    return bool(np.abs(after.astype(int) - colours).max() <= 2)


def stated_profile(image: Image.Image, data: bytes = b"") -> bytes | None:
    """An ICC profile of the colours that the file ``data`` of ``image`` states.

    In the order in which they count: a PNG's cICP, an embedded profile, the nclx box of AVIF and
    HEIC, a PNG's gAMA and cHRM, the EXIF mark of Adobe RGB. None if there is none of them.

    Raises:
        PictureError: high dynamic range, or a colour space that is not known.
    """
    coded = _png_cicp(data) if image.format == "PNG" else None
    embedded = image.info.get("icc_profile")
    if coded is None and embedded:
        return embedded
    coded = coded or _nclx(image, data)
    if coded is not None:
        if coded[0] not in _PRIMARIES or coded[1] not in _GAMMAS:
            raise PictureError(
                "expected colours of a standard dynamic range, got the H.273 codes "
                f"{coded[0]}, {coded[1]} (16 and 18 are HDR): convert the picture to sRGB first"
            )
        return make_profile(_PRIMARIES[coded[0]], _GAMMAS[coded[1]])
    if image.format == "PNG":
        return _png_numbers(image)
    return _exif_adobe_rgb(image)


def _png_cicp(data: bytes) -> tuple[int, int] | None:
    for kind, start, length in _png_chunks(data):
        if kind == b"IDAT":
            return None
        if kind == b"cICP" and length == 4:
            return data[start], data[start + 1]
    return None


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start of the content and its length."""
    at = 8
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], at + 8, length
        at += length + 12


def _nclx(image: Image.Image, data: bytes) -> tuple[int, int] | None:
    """Primaries and transfer of the first nclx box, that of the main picture in usual files."""
    if image.format == "HEIF":
        stated = image.info.get("nclx_profile") or {}
        if "color_primaries" not in stated:
            return None
        return int(stated["color_primaries"]), int(stated["transfer_characteristics"])
    at = data.find(b"colrnclx") if image.format == "AVIF" else -1
    if at < 0 or at + 12 > len(data):
        return None
    primaries, transfer = struct.unpack(">HH", data[at + 8 : at + 12])
    return primaries, transfer


def _png_numbers(image: Image.Image) -> bytes | None:
    gamma, points = image.info.get("gamma"), image.info.get("chromaticity")
    if "srgb" in image.info or not (gamma or points):
        return None
    exponent = 1 / gamma if gamma else 2.2
    usual = abs(exponent - 2.2) < 0.05  # many tools write it beside pixels that are sRGB
    return make_profile(points or (*_D65, *_SRGB), _CURVE if usual else exponent)


def _exif_adobe_rgb(image: Image.Image) -> bytes | None:
    """Cameras set to Adobe RGB often embed no profile: DCF 2.0 marks it by R03."""
    try:
        exif = image.getexif()
        camera = exif.get_ifd(_CAMERA)
        # Pillow may refuse to look for what is not there.
        mark = str(exif.get_ifd(_INTEROP).get(1, "")) if _INTEROP in camera else ""
        marked = mark.startswith("R03") or camera.get(_COLOUR_SPACE) == 2
    except _DAMAGED_EXIF:
        return None
    return make_profile((*_D65, *_ADOBE_RGB), 563 / 256) if marked else None


def make_profile(points: Chromaticities, gamma: float) -> bytes | None:
    """An ICC profile (ICC.1:2010) of an RGB space: three colorants at D50 and one curve.

    ``gamma``: of the curve, 0 for that of sRGB. None if no colour space has such numbers.
    """
    colorants = _colorants(points)
    if colorants is None or not (gamma == _CURVE or 0.1 <= gamma <= 10):
        return None
    linear_part = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    numbers = linear_part if gamma == _CURVE else (gamma,)
    curve = b"para" + struct.pack(">4xHxx", 3 if gamma == _CURVE else 0) + _fixed(numbers)
    tags = {b"wtpt": b"XYZ \0\0\0\0" + _fixed(_xyz(*_D50))}
    for name, colorant in zip(b"rgb", colorants.T, strict=True):
        tags[bytes([name]) + b"XYZ"] = b"XYZ \0\0\0\0" + _fixed(colorant)
        tags[bytes([name]) + b"TRC"] = curve
    return _profile(tags)


def _colorants(points: Chromaticities) -> np.ndarray | None:
    """XYZ of red, green and blue in columns, relative to D50."""
    if len(points) != 8 or not all(0 < y <= 1 for y in points[1::2]):
        return None
    white = _xyz(*points[:2])
    shape = np.stack([_xyz(*points[i : i + 2]) for i in (2, 4, 6)], 1)
    if abs(np.linalg.det(shape)) < 1e-3:
        return None
    matrix = shape * np.linalg.solve(shape, white)
    cones = np.diag((_BRADFORD @ _xyz(*_D50)) / (_BRADFORD @ white))
    adapted = np.linalg.inv(_BRADFORD) @ cones @ _BRADFORD @ matrix
    return adapted if np.abs(adapted).max() < 4 else None


def _xyz(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _fixed(numbers: Any) -> bytes:
    return b"".join(struct.pack(">i", round(float(number) * 65536)) for number in numbers)


def _profile(tags: dict[bytes, bytes]) -> bytes:
    table, body = b"", b""
    first = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", first + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    header = struct.pack(">I4xI", first + len(body), 0x04300000) + b"mntrRGB XYZ "
    header += b"\0" * 12 + b"acsp" + b"\0" * 28 + _fixed(_xyz(*_D50))
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
