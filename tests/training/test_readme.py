"""The commands of training/README.md name options and files that exist."""

import re
import subprocess
from pathlib import Path

import pytest
import typer
from typer.main import get_command

import training.draw_pool
import training.export
import training.label_attributes
import training.prepare
import training.readout
import training.report
import training.report_identity
from camouflage.cli import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "training" / "README.md").read_text(encoding="utf-8")
COMMANDS = {
    "prepare": training.prepare.app,
    "export": training.export.app,
    "report": training.report.main,
    "report_identity": training.report_identity.main,
    "label_attributes": training.label_attributes.main,
    "draw_pool": training.draw_pool.main,
    "readout": training.readout.main,
}


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return [block.replace("\\\n", " ") for block in found]


def options(module: str, line: str) -> set[str]:
    """Those that the command in ``line`` knows."""
    app = COMMANDS[module]
    if not isinstance(app, typer.Typer):
        single = typer.Typer()
        single.command()(app)
        command = get_command(single)
    else:
        name = re.search(rf"training\.{module} (\S+)", line)[1]
        command = get_command(app).commands[name]
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("module", COMMANDS)
def test_commands_name_options_that_exist(module):
    text = "\n".join(blocks("sh"))
    lines = re.findall(rf"python -m training\.{module} .*", text)
    assert lines
    for line in lines:
        assert set(re.findall(r"--[a-z-]+", line)) <= options(module, line)


def test_commands_of_the_package_name_options_that_exist():
    lines = re.findall(r"^camouflage (.*)", "\n".join(blocks("sh")), re.MULTILINE)
    assert {line.split()[0] for line in lines} == {"models", "pool", "anonymize"}
    for line in lines:
        command, words = get_command(app), iter(line.split())
        while hasattr(command, "commands"):
            command = command.commands[next(words)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", line)) <= known


def test_configurations_that_are_named_exist():
    named = set(re.findall(r"configs/training/[\w-]+\.(?:yaml|txt)", README))
    assert named == {f"configs/training/{p.name}" for p in (ROOT / "configs/training").iterdir()}


def test_the_slurm_script_is_a_shell_script():
    (script,) = blocks("sbatch")
    assert script.startswith("#!/bin/bash\n#SBATCH")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    tasks = dict(re.findall(r"#SBATCH --([a-z-]+)=(\d+)$", script, re.MULTILINE))
    assert f"--trainer.num_nodes {tasks['nodes']} " in script
    assert f"--trainer.devices {tasks['ntasks-per-node']} " in script
    assert tasks["gpus-per-node"] == tasks["ntasks-per-node"]
