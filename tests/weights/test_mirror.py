"""A mirror and a hub that are servers on this machine, asked by huggingface_hub itself."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest

from camouflage.errors import WeightsError
from camouflage.weights import MIRROR, TABLE, fetch, find, table

VAE = TABLE["sd-vae-ft-mse"]


class Hub(ThreadingHTTPServer):
    """The part of the hub's protocol that downloads: the files of a folder, whatever is asked.

    With no folder it drops every connection. ``asked`` has the Authorization of each request for
    the repository of the autoencoder.
    """

    def __init__(self, folder: Path | None) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.folder = folder
        self.asked: list[str | None] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        folder = self.server.folder
        if VAE.repository not in self.path:
            self.send_error(404)  # huggingface_hub asks for other things too
            return
        self.server.asked.append(self.headers.get("Authorization"))
        if folder is None:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif "/tree/" in self.path:
            files = [
                {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": f.name}
                for f in folder.iterdir()
            ]
            self._send(json.dumps(files).encode(), "application/json")
        else:
            self._send((folder / self.path.rpartition("/")[2]).read_bytes(), "text/plain")

    do_HEAD = do_GET

    def _send(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        headers = {"Content-Length": len(content), "Content-Type": kind}
        headers |= {"ETag": hashlib.sha256(content).hexdigest(), "X-Repo-Commit": VAE.revision}
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args) -> None:
        """Nothing."""


@pytest.fixture
def serve() -> Iterator:
    servers: list[Hub] = []

    def start(folder: Path | None) -> Hub:
        servers.append(server := Hub(folder))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch):
    """Asks these two in the place of the mirror and of huggingface.co."""

    def set_both(mirror: Hub, hub: Hub) -> None:
        monkeypatch.setenv(MIRROR, mirror.address)
        template = huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE
        at_hub = template.replace(huggingface_hub.constants.ENDPOINT, hub.address)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", at_hub)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.address)

    return set_both


@pytest.fixture
def vae(sd15_folders: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small autoencoder as the published one; an empty cache, and a user who is logged in."""
    folder = Path(shutil.copytree(sd15_folders / VAE.name, tmp_path / "vae"))
    files = tuple(
        replace(f, sha256=hashlib.sha256((folder / f.name).read_bytes()).hexdigest())
        for f in VAE.files
    )
    monkeypatch.setitem(table.TABLE, VAE.name, replace(VAE, files=files))
    monkeypatch.setitem(sys.modules, "httpx", None)  # not a dependency
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between huggingface_hub's attempts
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    return folder


def test_a_mirror_does_not_see_the_token(
    vae: Path, serve, use, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, hub = serve(vae), serve(vae)
    use(mirror, hub)
    assert (find(VAE.name) / "config.json").read_bytes() == (vae / "config.json").read_bytes()
    assert mirror.asked
    assert set(mirror.asked) == {None}
    assert hub.asked == []
    monkeypatch.delenv(MIRROR)
    fetch(VAE.name, again=True)
    assert "Bearer hf_secret" in hub.asked


def test_after_a_mirror_that_drops_connections_comes_the_hub(vae: Path, serve, use) -> None:
    mirror, hub = serve(None), serve(vae)
    use(mirror, hub)
    assert fetch(VAE.name).is_dir()
    assert set(mirror.asked) == {None}
    assert hub.asked


def test_nobody_answers(vae: Path, serve, use) -> None:
    mirror, hub = serve(None), serve(None)
    use(mirror, hub)
    with pytest.raises(WeightsError, match=r"sd-vae-ft-mse: not here; .*the hub does not answer"):
        fetch(VAE.name)
    assert mirror.asked
    assert hub.asked
