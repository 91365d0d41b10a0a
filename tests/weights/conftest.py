"""A hub that answers from a folder, and weights of some bytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from camouflage.weights import MODELS


class FakeHub:
    """In the place of ``snapshot_download``: a folder a repository; what was asked is in calls."""

    def __init__(self) -> None:
        self.folders: dict[str, Path] = {}
        self.is_cached = False
        self.error: Exception | None = None
        self.calls: list[dict] = []

    def __call__(self, repository: str, *, local_files_only: bool = False, **asked) -> str:
        if local_files_only:
            if self.is_cached and repository in self.folders:
                return str(self.folders[repository])
            raise LocalEntryNotFoundError("not here")
        self.calls.append({"repository": repository, **asked})
        if self.error is not None:
            raise self.error
        if repository not in self.folders:
            raise LocalEntryNotFoundError("no network")
        if asked.get("local_dir"):
            shutil.copytree(self.folders[repository], asked["local_dir"], dirs_exist_ok=True)
            return str(asked["local_dir"])
        return str(self.folders[repository])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake)
    return fake


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of one's models."""
    folder = tmp_path / "models"
    monkeypatch.setenv(MODELS, str(folder))
    return folder


@pytest.fixture
def lineart(tmp_path: Path) -> Path:
    """The two pickles of line art as they are published, wrapped as training programs do."""
    folder = tmp_path / "published"
    folder.mkdir()
    state = {"module.model0.1.weight": torch.arange(6.0).reshape(2, 3)}
    torch.save({"epoch": 3, "model": state}, folder / "sk_model.pth")
    torch.save({"model0.1.weight": torch.ones(2)}, folder / "sk_model2.pth")
    return folder


def edit(path: Path, **changed) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
