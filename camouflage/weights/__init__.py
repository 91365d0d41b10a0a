"""Where weights come from and whether they are what they should be. The only place that downloads.

Weights are safetensors (the two embedded networks of other projects: ONNX, and dlib's own format,
pinned by hash). A folder with a ``SHA256SUMS`` file is loaded only if every file in it has the hash
that is written there; ``mini`` and everything that `training.export` makes have one. Nothing is
unpickled but by :func:`convert`, which knows the hash first, and no code of a model's folder is
run.
"""

from camouflage.weights.architecture import check_fits, check_folder_is, config_of
from camouflage.weights.embedded import CENTERFACE, DLIB_RECOGNISER, EmbeddedFile
from camouflage.weights.entry import Entry, File
from camouflage.weights.fetching import fetch
from camouflage.weights.folders import (
    LIBRARIES,
    check_folder,
    local_folder,
    mini_folder,
    mini_light_folder,
    readout_folder,
    start_pool_folder,
    transformers_folder,
    upscaler_folder,
    weights_of,
)
from camouflage.weights.header import shapes_of
from camouflage.weights.hub import HUB_ARGUMENTS, MIRROR
from camouflage.weights.load import check_loaded, load_model
from camouflage.weights.local import MODELS, models_folder, where
from camouflage.weights.pickles import convert
from camouflage.weights.resolve import find, require
from camouflage.weights.sums import SUMS, check_file, check_sums, file_sha256, write_sums
from camouflage.weights.table import CONTROLS, GROUPS, TABLE, entries_of, entry_of

__all__ = [
    "CENTERFACE",
    "CONTROLS",
    "DLIB_RECOGNISER",
    "GROUPS",
    "HUB_ARGUMENTS",
    "LIBRARIES",
    "MIRROR",
    "MODELS",
    "SUMS",
    "TABLE",
    "EmbeddedFile",
    "Entry",
    "File",
    "check_file",
    "check_fits",
    "check_folder",
    "check_folder_is",
    "check_loaded",
    "check_sums",
    "config_of",
    "convert",
    "entries_of",
    "entry_of",
    "fetch",
    "file_sha256",
    "find",
    "load_model",
    "local_folder",
    "mini_folder",
    "mini_light_folder",
    "models_folder",
    "readout_folder",
    "require",
    "shapes_of",
    "start_pool_folder",
    "transformers_folder",
    "upscaler_folder",
    "weights_of",
    "where",
    "write_sums",
]
