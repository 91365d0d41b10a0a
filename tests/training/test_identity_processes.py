"""Training in processes of their own: two at once, and one that is killed and goes on.

Of the identity ControlNet and of CAMOUFLaGE-Light.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from training.train import main

ROOT = Path(__file__).parents[2]
PATIENCE_S = 240  # a busy machine; about 20 s on an idle one


@pytest.fixture(name="command")
def _command(workplace, monkeypatch):
    """The command line of a configuration, and the environment in which it finds the witness."""
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def arguments(config: Path, *more: str) -> list[str]:
        return [sys.executable, "-m", "training.train", "fit", "--config", str(config), *more]

    return arguments


@pytest.fixture(params=["identity", "light"], name="kind")
def _kind(request):
    """Which of the two; checkpoints note their facts under that name."""
    return request.param


@pytest.fixture(name="small_config")
def _small_config(kind, identity_config, light_config):
    return {"identity": identity_config, "light": light_config}[kind]


def witness(folder: Path, pause_s: float = 0.0) -> list[dict]:
    folder.mkdir(exist_ok=True)
    settings = {"folder": str(folder), "pause_s": pause_s}
    return [{"class_path": "witness.Witness", "init_args": settings}]


def witnessed(folder: Path, rank: int = 0) -> list[dict]:
    path = folder / f"rank-{rank}.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def test_two_processes_see_different_samples_and_end_with_equal_weights(
    workplace, kind, small_config, command, tmp_path
):
    name, seen = f"two-{kind}", tmp_path / "seen"
    config = small_config(workplace, name, steps=3, interval=3, rate=1e-3, callbacks=witness(seen))
    options = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    result = subprocess.run(
        command(config, *options, "--data.batch_size=4"),
        cwd=workplace,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    first, second = (witnessed(seen, rank) for rank in (0, 1))
    assert [line["step"] for line in first] == [line["step"] for line in second] == [1, 2, 3]
    for one, other in zip(first, second, strict=True):
        assert one["weights"] == other["weights"]
        assert one["seen"] != other["seen"]
    assert len({line["weights"] for line in first}) == 3, "each step moves them"
    checkpoint = torch.load(workplace / "runs" / name / "last.ckpt", weights_only=False)
    assert checkpoint[kind]["samples"] == 3 * 4 * 2


def test_a_killed_run_goes_on_and_loses_one_interval_at_most(
    workplace, kind, small_config, command, tmp_path, monkeypatch
):
    """The same command starts and goes on."""
    interval, seen, name = 2, tmp_path / "seen", f"killed-{kind}"
    config = small_config(
        workplace, name, steps=500, interval=interval, rate=1e-3, callbacks=witness(seen, 0.2)
    )
    process = subprocess.Popen(
        command(config, "--ckpt_path=last"),
        cwd=workplace,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + PATIENCE_S
    while len(witnessed(seen)) < 5 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL
    reached = witnessed(seen)[-1]["step"]
    assert reached >= 5
    before = torch.load(workplace / "runs" / name / "last.ckpt", weights_only=False)
    kept = before["global_step"]
    assert 0 <= reached - kept <= interval
    (seen / "rank-0.jsonl").unlink()

    monkeypatch.chdir(workplace)
    steps = kept + 3
    main(["fit", "--config", str(config), "--ckpt_path=last", f"--trainer.max_steps={steps}"])
    assert [line["step"] for line in witnessed(seen)] == [kept + 1, kept + 2, kept + 3]
    assert witnessed(seen)[0]["samples"] == before[kind]["samples"] + 8
    files = {path.name for path in (workplace / "runs" / name).glob("*.ckpt")}
    assert "last.ckpt" in files
    assert not [name for name in files if "-v" in name]
    assert len(files) == 3, "the link and two whole files"
