"""What is known of one set of published weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from camouflage.weights.layouts import Layout

Role = Literal[
    "base",
    "autoencoder",
    "controlnet",
    "tokenizer",
    "annotator",
    "detector",
    "captioner",
    "image encoder",
]


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of a repository.

    Attributes:
        name: inside the repository.
        sha256: of its bytes; None where we found no published one, and then it is not checked.
        size_bytes: None where we found none published.
        becomes: the name of the safetensors file that :func:`convert` makes of it; empty for a file
            that is no pickle.
        holds: names of tensors that must be in what it becomes.
        required: False for one that an older or newer copy of the same model may lack.
        layout: how a pickle's tensors are named; :func:`convert` gives them the names that load.
        address: the page where it is published, if that is not the hub; then nothing fetches it.
    """

    name: str
    sha256: str | None = None
    size_bytes: int | None = None
    becomes: str = ""
    holds: tuple[str, ...] = ()
    required: bool = True
    layout: Layout = ""
    address: str = ""

    @property
    def local_name(self) -> str:
        """What it is called in a folder that is ready to be loaded."""
        return self.becomes or self.name


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One set of weights: where it is published, and what it may be used for.

    Attributes:
        name: what it is called here and on the command line.
        role: which part it plays.
        what: one line for people.
        repository: of the hub, ``owner/name``; of GitHub, if its files have an address.
        revision: the commit that the hashes are of; None where we know none, and then the newest
            is fetched.
        files: all that are needed.
        licence: of the weights, as the repository or the authors of the network state it.
        use: what the licence keeps one from, in a few words.
        commercial: False where it may not be used commercially, None where nothing is stated.
        size_bytes: of all files together, about; for the check of the disk.
        dtype: of the published numbers; None where we do not know.
        needs: the architecture, a key of :data:`camouflage.weights.architecture.NEEDS`.
        otherwise: a pickle of the same weights, published elsewhere, that :func:`convert` takes.
    """

    name: str
    role: Role
    what: str
    repository: str
    revision: str | None
    files: tuple[File, ...]
    licence: str
    use: str
    commercial: bool | None
    size_bytes: int
    dtype: str | None
    needs: str
    otherwise: tuple[File, ...] = ()

    @property
    def is_converted(self) -> bool:
        """Whether it is published as pickles, which must be turned into safetensors."""
        return any(file.becomes for file in self.files)

    @property
    def pickles(self) -> tuple[File, ...]:
        """What :func:`convert` reads: its own pickles, else those that are published elsewhere."""
        return tuple(file for file in self.files if file.becomes) or self.otherwise

    @property
    def by_hand(self) -> File | None:
        """The file that is not on the hub, so that it must be fetched by hand; None if all are."""
        return next((file for file in self.files if file.address), None)

    @property
    def patterns(self) -> list[str]:
        """The names to fetch, with the parts of weights that are split."""
        names = [file.name for file in self.files]
        weights = [n.removesuffix(".safetensors") for n in names if n.endswith(".safetensors")]
        parts = [f"{stem}{end}" for stem in weights for end in SPLIT]
        return [*names, *parts]


SPLIT = (".safetensors.index.json", "-?????-of-?????.safetensors")
"""What a file of weights that is split into parts is called, after its stem."""
