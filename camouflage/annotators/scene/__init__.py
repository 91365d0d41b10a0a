"""The five maps of a whole scene that CAMOUFLaGE-Base is steered by, its caption, and its people.

Nothing heavy is imported and no weights are read before they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from camouflage.annotators.scene.caption import Captioner
from camouflage.annotators.scene.depth import DepthAnnotator
from camouflage.annotators.scene.lineart import LineartAnnotator
from camouflage.annotators.scene.network import freed
from camouflage.annotators.scene.normals import NormalsAnnotator
from camouflage.annotators.scene.openpose import OpenposeAnnotator
from camouflage.annotators.scene.people import Person, PersonDetector, person_mask
from camouflage.annotators.scene.pose import PoseAnnotator
from camouflage.annotators.scene.prepare import require_pictures
from camouflage.annotators.scene.segmentation import SegmentationAnnotator
from camouflage.errors import SettingError

__all__ = ["CONTROLS", "Person", "SceneAnnotators"]

CONTROLS = ("depth", "normals", "segmentation", "pose", "lineart")
"""The maps by the name of the control that reads them, in the paper's order."""

_CHOICES: dict[str, tuple[str | None, ...]] = {
    "pose": ("vitpose", "openpose"),
    "lineart": ("coarse", "fine"),
    "captioner": ("blip", "blip2", None),
}


class SceneAnnotators:
    """Every annotator of a scene, each loaded when it is first used and then kept.

    Args:
        folder_of: the local folder of an entry of the table of weights; `camouflage.weights.find`
            if not given.
        pose: "vitpose", or "openpose": as in the paper, for non-commercial use only.
        lineart: "coarse", or "fine" lines, which trace faces.
        captioner: "blip", "blip2", or None: `caption` is refused.
        detect_px: the working size of normals, line art and OpenPose: the short side. The others'
            is in their folders.
        device: where the networks run.
        dtype: of the captioner. The annotators run in float32: in bfloat16 a box moves by up to ten
            pixels of a large picture, and maps by several grey levels.
        frugal: keep no network once it has run, for a GPU with little memory. BLIP-2 is never kept.

    Raises:
        SettingError: a choice that there is not.
    """

    def __init__(
        self,
        folder_of: Callable[[str], Path] | None = None,
        *,
        pose: Literal["vitpose", "openpose"] = "vitpose",
        lineart: Literal["coarse", "fine"] = "coarse",
        captioner: Literal["blip", "blip2"] | None = "blip",
        detect_px: int = 512,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        frugal: bool = False,
    ) -> None:
        given = {"pose": pose, "lineart": lineart, "captioner": captioner}
        for name, value in given.items():
            if value not in _CHOICES[name]:
                raise SettingError(f"{name}: expected one of {_CHOICES[name]}, got {value!r}")
        self._folder_of = folder_of
        self._pose = pose
        self._lineart: Literal["coarse", "fine"] = lineart
        self._captioner: Literal["blip", "blip2"] | None = captioner
        self._sized = {"detect_px": detect_px}
        self._device, self._dtype = device, dtype
        self.frugal = frugal
        self._held: dict[str, Any] = {}

    @property
    def has_captioner(self) -> bool:
        """Whether `caption` says anything."""
        return self._captioner is not None

    def needed(
        self, names: Iterable[str] = (), *, caption: bool = False, people: bool = False
    ) -> list[str]:
        """The entries of the table of weights for the maps ``names``, to require them beforehand.

        ``caption``: also those of `caption`; ``people``: of `people` and `person_masks`. Raises
        `SettingError` as the calls do.
        """
        _require_known(names := list(names))
        entries = {entry for name in names for entry in self._entries(name)}
        if caption:
            entries.add(self._caption_entry())
        if people:
            entries |= {"detector-person", "annotator-segmentation"}
        return sorted(entries)

    def __call__(
        self, pictures: Sequence[NDArray[np.uint8]], names: Collection[str]
    ) -> dict[str, list[NDArray[np.uint8]]]:
        """The maps ``names`` of pictures (H, W, 3) RGB uint8, each the size of its picture.

        Only what is asked for is loaded and run; pictures of one size are one batch. Raises
        `SettingError` for a name without an annotator and for what is no picture; `MissingExtra`,
        `WeightsError` and `NonFiniteResult` as the annotators do.
        """
        _require_known(names)
        require_pictures(pictures)
        return {name: self._run(name, lambda found: found(pictures)) for name in names}

    def caption(self, pictures: Sequence[NDArray[np.uint8]]) -> list[str]:
        """A caption a picture, without names and text; it may be empty.

        Raises `SettingError` where there is no captioner.
        """
        self._caption_entry()
        require_pictures(pictures)
        return self._run("caption", lambda captioner: captioner(pictures))

    def people(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Person]]:
        """The people that the detector sees in each picture, best first."""
        return self._run("people", lambda detector: detector(pictures))

    def person_masks(self, pictures: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.bool_]]:
        """(H, W) bool a picture: True where the segmentation sees a person."""
        classes = self._run("segmentation", lambda annotator: annotator.classes(pictures))
        return [person_mask(one) for one in classes]

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> SceneAnnotators:
        """Move what is loaded, and load there what comes later."""
        self._device = self._device if device is None else device
        self._dtype = self._dtype if dtype is None else dtype
        for name, held in self._held.items():
            held.to(device=self._device, dtype=self._dtype_of(name))
        return self

    def unload(self) -> None:
        """Forget every network; what is used again is loaded again."""
        self._held.clear()
        freed()

    def _caption_entry(self) -> str:
        if self._captioner is None:
            raise SettingError("there is no captioner: choose blip or blip2, or give a prompt")
        return f"captioner-{self._captioner}"

    def _entries(self, name: str) -> list[str]:
        if name == "pose":
            vitpose = ["annotator-pose", "detector-person"]
            return vitpose if self._pose == "vitpose" else ["annotator-openpose"]
        return [f"annotator-{name}"]

    def _dtype_of(self, name: str) -> torch.dtype:
        return self._dtype if name == "caption" else torch.float32

    def _run(self, name: str, call: Callable[[Any], Any]) -> Any:
        """``call`` with the network ``name``, which is not kept where memory is short."""
        try:
            return call(self._get(name))
        finally:
            if self.frugal:
                self.unload()
            elif name == "caption" and self._captioner == "blip2":
                self._held.pop(name, None)
                freed()

    def _get(self, name: str) -> Any:
        if name not in self._held:
            self._held[name] = self._load(name)
        return self._held[name]

    def _load(self, name: str) -> Any:
        place: dict[str, Any] = {"device": self._device, "dtype": self._dtype_of(name)}
        sized = {**place, **self._sized}
        folder = self._folder
        match name:
            case "depth":
                return DepthAnnotator.from_folder(folder("annotator-depth"), **place)
            case "normals":
                return NormalsAnnotator.from_folder(folder("annotator-normals"), **sized)
            case "segmentation":
                return SegmentationAnnotator.from_folder(folder("annotator-segmentation"), **place)
            case "pose" if self._pose == "openpose":
                return OpenposeAnnotator.from_folder(folder("annotator-openpose"), **sized)
            case "pose":
                detector = self._get("people")
                net = folder("annotator-pose")
                return PoseAnnotator.from_folder(net, detector=detector, **place)
            case "lineart":
                lines = self._lineart
                net = folder("annotator-lineart")
                return LineartAnnotator.from_folder(net, lines=lines, **sized)
            case "people":
                return PersonDetector.from_folder(folder("detector-person"), **place)
        kind = self._captioner or "blip"
        return Captioner.from_folder(folder(self._caption_entry()), kind=kind, **place)

    def _folder(self, entry: str) -> Path:
        if self._folder_of is not None:
            return self._folder_of(entry)
        from camouflage.weights import find

        return find(entry)


def _require_known(names: Iterable[str]) -> None:
    unknown = [name for name in names if name not in CONTROLS]
    if unknown:
        raise SettingError(
            f"no annotator for {unknown}; there are {sorted(CONTROLS)}. Pass these maps yourself "
            "as control_images"
        )
