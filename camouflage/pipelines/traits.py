"""By what a face of a pool is like somebody: the tones of the skin, attributes, the age."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import nn

from camouflage.annotators import face_region
from camouflage.annotators.attributes import CELEBA_ATTRIBUTES, predict_attributes
from camouflage.annotators.attributes.network import AttributeReader
from camouflage.annotators.colour import skin_colour
from camouflage.annotators.landmarks import five_points
from camouflage.annotators.readout import WIDTH, Readout
from camouflage.annotators.skin import cheeks, oval, skin_in
from camouflage.audit.recogniser import Recogniser
from camouflage.subjects.faces import Face
from camouflage.swap import FacePool
from camouflage.swap.pool_folder import INDEX, RECORD
from camouflage.weights import file_sha256
from camouflage.write import write_bytes

FILE = "starts.safetensors"
"""Beside the pool: its traits, so that nobody has to wait for them."""

VERSION = "4"
"""Of the ways in which traits are measured."""

BATCH = 32
"""Faces at once: a pool may be larger than the memory."""

MALE, YOUNG = (CELEBA_ATTRIBUTES.index(name) for name in ("Male", "Young"))

MIRRORED = [1, 0, 2, 3, 4]
"""Rows of tones in a mirror."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Traits:
    """Of N faces: ``tones`` (N, 5, 3), ``attributes`` (N, 40), of which Male is `Readout`'s,
    ``ages`` (N,) in years, ``children`` (N,), whether they are a child's, ``skins`` (N,), how dark
    they are, ``east_asian`` (N,), whether they look it, ``beards`` (N,), whether they have one,
    ``hair`` (N,), the share of the face that hangs in it, and ``recognised`` (N, 128), what the
    audit's recogniser makes of them; float32.
    """

    tones: NDArray[np.float32]
    attributes: NDArray[np.float32]
    ages: NDArray[np.float32]
    children: NDArray[np.float32]
    skins: NDArray[np.float32]
    east_asian: NDArray[np.float32]
    beards: NDArray[np.float32]
    hair: NDArray[np.float32]
    recognised: NDArray[np.float32]

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """By name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def tones(colours: NDArray[np.float32], points_xy: NDArray[np.float64]) -> NDArray[np.float32]:
    """(5, 3) CIE L*a*b*, 8 bits, of a face's coarse ``colours`` (H, W, 3), those of `skin_colour`.

    On the right and the left cheek, the forehead, the chin and the tip of the nose, found by the
    landmarks (P, 2). Tells the colour of the skin and from where the light falls.
    """
    right, left, nose, right_mouth, left_mouth = five_points(points_xy)
    eyes, mouth = (right + left) / 2, (right_mouth + left_mouth) / 2
    places = (
        (right + right_mouth) / 2,
        (left + left_mouth) / 2,
        eyes - 0.45 * (mouth - eyes),
        mouth + 0.35 * (mouth - eyes),
        nose,
    )
    x, y = np.stack(places).astype(np.float32).T[:, :, None]
    here = cv2.remap(colours, x, y, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    whole = np.clip(np.round(here), 0, 255).astype(np.uint8)
    return cv2.cvtColor(whole, cv2.COLOR_RGB2LAB)[:, 0].astype(np.float32)


def traits_of(pool: FacePool, net: AttributeReader, readout: Readout) -> Traits:
    """Those of every face of ``pool``: a minute for some hundred."""
    shown, attributes, hair, rows = [], [], [], []
    recogniser = Recogniser(min_eye_distance_px=1e-3)
    for start in range(0, len(pool), BATCH):
        faces = [pool.face(index) for index in range(start, min(start + BATCH, len(pool)))]
        for face in faces:
            region = face_region(face.points_xy, face.side)
            own = oval(face.points_xy, face.side)
            measured = region & own
            colours = skin_colour(
                face.pixels,
                measured if measured.any() else region,
                typical=cheeks(face.points_xy, face.side),
            )
            shown.append(tones(colours, face.points_xy))
            skin = skin_in(face.pixels, face.points_xy).shown
            hair.append(1 - skin.sum() / max(own.sum(), 1))
            whole = Face(box_xyxy=(0, 0, face.side, face.side), points_xy=face.five_xy, score=1.0)
            rows.append(recogniser.embed(face.pixels, [whole]).rows[0])
        pictures, points = [face.pixels for face in faces], [face.five_xy for face in faces]
        attributes.append(predict_attributes(net, pictures, points))
    recognised = np.stack(rows).astype(np.float32)
    guess = readout(recognised)
    known = np.concatenate(attributes)
    known[:, MALE] = guess.male
    return Traits(
        tones=np.stack(shown),
        attributes=known,
        ages=guess.age,
        children=guess.child,
        skins=guess.skin,
        east_asian=guess.east_asian,
        beards=guess.beard,
        hair=np.array(hair, np.float32),
        recognised=recognised,
    )


def write_traits(folder: Path, pool: FacePool, net: AttributeReader, readout: Readout) -> None:
    """Keep the traits of ``pool``, which is ``folder/pool``, in ``folder``.

    Raises:
        OutputError: the file cannot be written.
    """
    found = traits_of(pool, net, readout).arrays()
    arrays = {name: np.ascontiguousarray(array) for name, array in found.items()}
    made_of = _made_of(pool, net, readout)
    write_bytes(save(arrays, metadata=made_of), folder / FILE, overwrite=True)


def read_traits(folder: Path, pool: FacePool, net: AttributeReader, readout: Readout) -> Traits:
    """What `write_traits` kept; measured anew if there is nothing, or it is of other faces or by
    another network.
    """
    kept = _kept(folder, _made_of(pool, net, readout))
    count = len(pool)
    shapes = [
        (count, len(MIRRORED), 3),
        (count, len(CELEBA_ATTRIBUTES)),
        (count,),
        (count,),
        (count,),
        (count,),
        (count,),
        (count,),
        (count, WIDTH),
    ]
    if kept is not None and [array.shape for array in kept.arrays().values()] == shapes:
        return kept
    return traits_of(pool, net, readout)


def _kept(folder: Path, made_of: dict[str, str]) -> Traits | None:
    try:
        with safe_open(folder / FILE, framework="numpy") as file:
            if file.metadata() != made_of:
                return None
            found = Traits(**{field.name: file.get_tensor(field.name) for field in fields(Traits)})
    except (SafetensorError, OSError):
        return None
    return found if all(np.isfinite(array).all() for array in found.arrays().values()) else None


def _made_of(pool: FacePool, net: AttributeReader, readout: Readout) -> dict[str, str]:
    """Hashes of what traits depend on."""
    weights = hashlib.sha256()
    assert isinstance(net, nn.Module)  # noqa: S101  every reader is one
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        weights.update(name.encode())
        weights.update(tensor.detach().float().cpu().numpy().tobytes())
    return {
        "version": VERSION,
        "faces": file_sha256(pool.folder / RECORD),
        "index": file_sha256(pool.folder / INDEX),
        "attribute_net": weights.hexdigest(),
        "readout": hashlib.sha256(readout.weights.tobytes() + readout.bias.tobytes()).hexdigest(),
    }
