"""A run that is killed at any moment leaves no half file and no original, and is then finished."""

from __future__ import annotations

import functools
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")

MOMENTS = 20  # by the clock, and twice as many by lines of code
WRITTEN = ["a.png", "b.jpg", "deep/c.webp", "deep/d.tif", "e.bmp", "f.png"]
OTHERS = {"broken.png": "failed", "refused.png": "refused"}
Server = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright pictures, each of another size: what is redrawn is dark."""
    folder = tmp_path_factory.mktemp("album")
    (folder / "deep").mkdir()
    for number, name in enumerate([*WRITTEN, "refused.png"]):
        noise = np.random.default_rng(number).integers(200, 255, (60 + number, 80, 3), np.uint8)
        Image.fromarray(noise).save(folder / name)
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:200])
    return folder


@pytest.fixture(scope="module")
def server(album: Path) -> Iterator[Server]:
    script = Path(__file__).with_name("album_server.py")
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    ) as process:
        assert process.stdin
        assert process.stdout

        def ask(output: Path, **order: object) -> dict[str, Any]:
            order = {"album": str(album), "output": str(output), "key": "7", **order}
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


@pytest.fixture(scope="module")
def undisturbed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A whole run: its files, and how long it takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    server(folder / "warm")
    timed = server(folder / "timed")
    assert timed["states"] == {**dict.fromkeys(WRITTEN, "written"), **OTHERS}
    return {**timed, "files": contents(folder / "timed")}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the manifest, hidden ones as well."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.jsonl"
    }


def finished(output: Path) -> set[str]:
    """Inputs with an entry that stands whole in the manifest, of a state that needs no retry."""
    done = set()
    manifest = output / "manifest.jsonl"
    for line in manifest.read_text().split("\n") if manifest.exists() else ():
        if line.endswith("}") and json.loads(line).get("state") in ("written", "refused"):
            done.add(json.loads(line)["input"])
    return done


@functools.cache
def read(album: Path) -> tuple[list[bytes], list[np.ndarray]]:
    """All files of the album, and the pixels of those that are pictures."""
    files = [path for path in album.rglob("*") if path.is_file()]
    pictures = [path for path in files if path.name != "broken.png"]
    return (
        [path.read_bytes() for path in files],
        [np.asarray(Image.open(path).convert("RGB")).astype(float) for path in pictures],
    )


def originals_in(folder: Path, album: Path) -> list[str]:
    """Files with an original's bytes, or whose pixels are near an original's."""
    originals, pixels = read(album)
    found = []
    for name, data in contents(folder).items():
        shown = folder / name
        bad = any(data and data in original for original in originals)
        try:
            after = np.asarray(Image.open(shown).convert("RGB")).astype(float)
            near = [p for p in pixels if p.shape == after.shape and np.abs(p - after).mean() < 80]
            bad |= bool(near)
        except OSError:
            pass  # no picture
        found += [name] if bad else []
    return found


def check(
    server: Server, undisturbed: dict[str, Any], album: Path, output: Path, *, named: bool = False
) -> None:
    """What a killed run left, and that the next one finishes it."""
    assert not originals_in(output, album)
    left = contents(output)
    if named or not hasattr(os, "O_TMPFILE"):  # then a half file may stay: hidden, and private
        partials = [name for name in left if Path(name).match(".camouflage-*.partial")]
        assert len(partials) <= 1
        assert all((output / name).stat().st_mode & 0o777 == 0o600 for name in partials)
        left = {name: data for name, data in left.items() if name not in partials}
    # Nothing half done, under whatever name.
    assert left.items() <= undisturbed["files"].items(), sorted(left)
    done = finished(output)
    again = server(output)
    assert again["states"] == undisturbed["states"]
    assert contents(output) == undisturbed["files"]
    assert set(again["resumed"]) == done
    assert not again["redone"]
    names = {name.rpartition("/")[2] for name in [*WRITTEN, "refused.png"]}
    assert sorted(again["calls"]) == sorted(names - {n.rpartition("/")[2] for n in done})


def test_killed_by_the_clock(server, undisturbed, album: Path, tmp_path: Path) -> None:
    moments = random.Random(3)
    killed = 0
    for number in range(MOMENTS):
        # Every part of the run gets its share, at a random place in it.
        share = (number + moments.random()) / MOMENTS
        output = tmp_path / str(number)
        killed += server(output, seconds=share * undisturbed["took"])["killed"]
        check(server, undisturbed, album, output)
    assert killed > MOMENTS / 2, "the machine is too uneven: hardly a run was killed in time"


@pytest.mark.parametrize("named", [False, True], ids=["nameless", "named"])
def test_killed_between_any_two_lines(
    server, undisturbed, album: Path, tmp_path: Path, named: bool
) -> None:
    moments = random.Random(4 + named)
    lines = server(tmp_path / "counted", line=-1, named=named)["lines"]
    for number in range(MOMENTS):
        line = 1 + int((number + moments.random()) / MOMENTS * lines)
        output = tmp_path / str(number)
        assert server(output, line=min(line, lines), named=named)["killed"]
        check(server, undisturbed, album, output, named=named)


def test_an_original_would_be_found(album: Path, tmp_path: Path) -> None:
    """The check itself: a copy and a re-encoded picture under a hidden name."""
    (tmp_path / "copy").write_bytes((album / "a.png").read_bytes())
    Image.open(album / "b.jpg").save(tmp_path / ".x.partial", "JPEG", quality=60)
    (tmp_path / "half").write_bytes((album / "f.png").read_bytes()[:300])
    assert sorted(originals_in(tmp_path, album)) == [".x.partial", "copy", "half"]
