"""For all tests: no network, and no deadline for a single example, which a busy machine misses."""

from __future__ import annotations

import os
import socket

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when huggingface_hub is imported
os.environ.setdefault("WANDB_MODE", "offline")
if "PYTEST_XDIST_WORKER" in os.environ:  # several processes at once, one thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from .small_sd15 import sd15_folders, sd15_models

__all__ = ["sd15_folders", "sd15_models"]

settings.register_profile("camouflage", deadline=None)
settings.load_profile("camouflage")

_connect = socket.socket.connect


def _closed(self: socket.socket, address):
    local = isinstance(address, (str, bytes)) or address[0] in ("127.0.0.1", "::1", "localhost")
    if not local:  # loggers talk to a process of their own
        raise OSError(f"the network is closed in tests: {address}")
    return _connect(self, address)


@pytest.fixture(autouse=True, scope="session")
def _no_network():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", _closed)
        patch.setattr(socket.socket, "connect_ex", _closed)
        yield
