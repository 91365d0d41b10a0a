"""``--boxes FILE.json``: which places of which pictures, and the files that say what was treated.

::

    {
      "album/a.jpg": [
        {"box_xyxy": [181, 58, 270, 178]},
        {"box_xyxy": [30, 40, 90, 120], "score": 0.9,
         "points_xy": [[44, 64], [72, 63], [58, 78], [48, 93], [70, 92]]},
        {"mask": "masks/a.png"}
      ],
      "b.jpg": []
    }

A name is an input's path below its folder, or its file's name if only one input has it. An empty
list says that nobody is in the picture. Coordinates are pixels of the upright picture, boxes
half-open. A mask is a PNG of the picture's size beside the JSON file or below, without
transparency, in which every value but 0 says: redraw.
"""

from __future__ import annotations

import hashlib
import io
import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from camouflage.errors import SettingError
from camouflage.subjects.given import GivenRegion

_Pixel = Annotated[int, Field(ge=0, le=10**6)]
_Place = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
_ORIENTATION_TAG = 0x0112


class _Region(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    box_xyxy: Annotated[list[_Pixel], Field(min_length=4, max_length=4)] | None = None
    points_xy: (
        Annotated[
            list[Annotated[list[_Place], Field(min_length=2, max_length=2)]],
            Field(min_length=5, max_length=5),
        ]
        | None
    ) = None
    score: Annotated[float, Field(ge=0, le=1)] | None = None
    mask: str | None = None


_REGIONS = TypeAdapter(list[_Region])


@dataclass(frozen=True, kw_only=True)
class Places:
    """What the user says of the inputs of a run. ``detect``: whether faces are looked for as well.

    ``given``: of each input that is named, by its path below the output folder, what the file has
    for it, not checked yet. ``folder``: where the file lies.
    """

    detect: bool = True
    given: Mapping[str, Any] = field(default_factory=dict, repr=False)
    folder: Path = Path()

    @classmethod
    def load(cls, path: Path, names: Sequence[str], *, detect: bool = True) -> Places:
        """Read a JSON file for the inputs called ``names``.

        Raises `SettingError` if it is not such a file, names a picture twice, or one that is not
        among the inputs or may be one of several.
        """
        given = {}
        for name, value in _parsed(path).items():
            match = _match(name, names, file=path.name)
            if match in given:
                raise SettingError(f"{path.name} names {match} twice: keep one of its lists")
            given[match] = value
        return cls(detect=detect, given=given, folder=path.parent)

    def regions(self, name: str, size_hw: tuple[int, int]) -> tuple[GivenRegion, ...] | None:
        """The regions of a picture, its masks read; None if the file does not name it.

        Raises `SettingError` for what cannot be, of that picture alone.
        """
        if name not in self.given:
            return None
        try:
            checked = _REGIONS.validate_python(self.given[name])
        except ValidationError as error:
            problems = (
                f"{'.'.join(str(part) for part in problem['loc']) or 'regions'}: {problem['msg']}"
                for problem in error.errors(include_url=False, include_input=False)
            )
            raise SettingError(
                f'expected a list of {{"box_xyxy": [x0, y0, x1, y1]}} or {{"mask": "file.png"}}: '
                f"{'; '.join(problems)}"
            ) from error
        return tuple(self._region(region, size_hw) for region in checked)

    def digest(self, name: str) -> str:
        """sha256 of all that is said of a picture, mask files included; empty if nothing is."""
        if self.detect and name not in self.given:
            return ""
        stated = [self.detect, name in self.given, self.given.get(name)]
        digest = hashlib.sha256(json.dumps(stated, sort_keys=True).encode())
        for mask in _mask_names(self.given.get(name)):
            try:
                digest.update(hashlib.sha256(self._mask_path(mask).read_bytes()).digest())
            except (OSError, SettingError):
                digest.update(b"none")
        return digest.hexdigest()

    def _region(self, region: _Region, size_hw: tuple[int, int]) -> GivenRegion:
        box, points = region.box_xyxy, region.points_xy
        return GivenRegion(
            box_xyxy=None if box is None else (box[0], box[1], box[2], box[3]),
            points_xy=None if points is None else np.array(points),
            score=region.score,
            mask=None if region.mask is None else self._mask(region.mask, size_hw),
        )

    def _mask(self, name: str, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
        path = self._mask_path(name)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SettingError(f"the mask {path.name} cannot be read: {error.strerror}") from error
        return read_mask(data, size_hw=size_hw, name=path.name)

    def _mask_path(self, name: str) -> Path:
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts or "\\" in name or "\0" in name:
            raise SettingError(
                f"expected a mask's path relative to the JSON file, below its folder and with "
                f"forward slashes, got one that ends in {inside.name!r}"
            )
        path = self.folder / inside
        if path.exists() and not path.is_file():  # a named pipe would wait for ever
            raise SettingError(f"the mask {path.name} is no regular file")
        return path


def read_mask(data: bytes, *, size_hw: tuple[int, int], name: str) -> NDArray[np.bool_]:
    """bool (H, W) from the bytes of a PNG, True where its value is not 0 (of a palette: the index).

    Not by `Picture`, which is made for photographs: white under what is transparent and 16 bits
    made 8 would turn a mask's values.

    Raises `SettingError`: not a PNG, of another size, transparent, turned by EXIF, or damaged.
    """
    height, width = size_hw
    try:
        image = Image.open(io.BytesIO(data), formats=["PNG"])
        if image.size != (width, height):
            raise SettingError(
                f"expected a mask of the upright picture's size, {width} x {height} px, "
                f"got {image.width} x {image.height}: {name}"
            )
        if image.mode not in ("1", "L", "P", "RGB", "I;16", "I"):
            raise SettingError(f"expected a mask without transparency, got {image.mode}: {name}")
        if image.getexif().get(_ORIENTATION_TAG, 1) != 1:
            raise SettingError(f"expected a mask that is upright as it is stored: {name}")
        values = np.asarray(image)
    except (SettingError, MemoryError):
        raise
    except Exception as error:  # the decoder raises a dozen types on damaged bytes
        raise SettingError(f"the mask {name} is no PNG, or damaged") from error
    mask = values != 0
    return mask.any(axis=2) if mask.ndim == 3 else mask


def mask_png(mask: NDArray[np.bool_]) -> bytes:
    """A grey PNG, 255 where ``mask``, bool (H, W), is True and 0 elsewhere."""
    buffer = io.BytesIO()
    Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))).save(buffer, "PNG")
    return buffer.getvalue()


def boxes_json(name: str, regions: Sequence[GivenRegion]) -> bytes:
    """What `Places.load` reads: the regions of the picture ``name``, boxes only."""
    described = []
    for region in regions:
        if region.box_xyxy is None or region.points_xy is None:
            raise SettingError("expected regions that were treated: boxes with points")
        # str() of a float32 is the shortest text that gives the same float32 back.
        points = [[float(str(value)) for value in point] for point in region.points_xy]
        box = [int(value) for value in region.box_xyxy]
        described.append({"box_xyxy": box, "points_xy": points, "score": region.score})
    lines = ",\n".join(f"    {json.dumps(region)}" for region in described)
    inside = f"[\n{lines}\n  ]" if lines else "[]"
    return f"{{\n  {json.dumps(name)}: {inside}\n}}\n".encode()


def _parsed(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        values = json.loads(text, object_pairs_hook=_no_doubles, parse_constant=_no_constant)
    except SettingError as error:
        raise SettingError(f"{path.name}: {error}") from error
    except OSError as error:
        raise SettingError(f"{path.name} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, nested without end
        raise SettingError(f"{path.name}: expected JSON: {error}") from error
    if not isinstance(values, dict):
        raise SettingError(f'{path.name}: expected {{"picture.jpg": [regions], ...}}')
    return values


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    doubles = sorted({key for key in keys if keys.count(key) > 1})
    if doubles:
        raise SettingError(f"a key is given twice: {', '.join(doubles)}")
    return dict(pairs)


def _no_constant(text: str) -> float:
    raise SettingError(f"expected numbers, got {text}")


def _match(name: str, names: Sequence[str], *, file: str) -> str:
    """The input that is meant: by its path, or by its file's name if that is one input's only."""
    same = unicodedata.normalize("NFC", name)
    paths = [n for n in names if unicodedata.normalize("NFC", n) == same]
    ends = [n for n in names if unicodedata.normalize("NFC", PurePosixPath(n).name) == same]
    matches = paths or ends
    if not matches:
        raise SettingError(f"{file} names {name}, which is none of the inputs")
    if len(matches) > 1:
        raise SettingError(f"{file} names {name}, which may be {matches[0]} or {matches[1]}")
    return matches[0]


def _mask_names(regions: object) -> list[str]:
    entries = regions if isinstance(regions, list) else []
    masks = [entry.get("mask") for entry in entries if isinstance(entry, dict)]
    return [mask for mask in masks if isinstance(mask, str)]
