"""Every block of the README runs, and its map of the code names what is there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from camouflage.cli import app
from camouflage.subjects.crops import align
from camouflage.subjects.faces import FaceDetector

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_python_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    astronaut = skimage.data.astronaut()
    Image.fromarray(astronaut).save("photo.jpg", quality=95)
    face = FaceDetector().detect(astronaut)[0]
    names: dict[str, object] = {"crop": align(face.points_xy, side=128).cut(astronaut)}
    for block in blocks("python"):
        exec(block, names)
    assert np.asarray(Image.open("anonymized.jpg")).shape == astronaut.shape
    assert names["picture"].size == (128, 128)  # type: ignore[attr-defined]


def test_shell_blocks_are_complete_commands() -> None:
    install_and_run, install_and_test = blocks("bash")
    assert "pip install" in install_and_run
    assert "camouflage demo" in install_and_run
    assert "pytest" in install_and_test


def test_shell_commands_name_options_that_exist() -> None:
    from typer.main import get_command

    commands = get_command(app).commands  # type: ignore[attr-defined]
    for line in re.findall(r"camouflage (anonymize|demo)\b(.*)", "\n".join(blocks("(?:ba)?sh"))):
        known = {name for option in commands[line[0]].params for name in option.opts}
        assert set(re.findall(r"--[a-z-]+", line[1])) <= known


def test_the_map_names_what_is_there() -> None:
    named = re.findall(r"^\| `([^`]+)`", README, re.MULTILINE)
    assert len(named) > 10
    for name in named:
        assert (ROOT / "camouflage" / name).exists(), f"README names {name}"


def test_links_and_pictures_are_there() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / target).exists(), f"README links {target}"


DOCUMENTS = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "camouflage" / "mini").rglob("*.md"))
    if path.name != "CHANGELOG.md"
)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_that_are_run_exist_with_their_options(path: Path) -> None:
    """Of this project's own: those of `training` have their test beside them."""
    for module, rest in re.findall(
        r"python -m (benchmarks\.\w+)([^`\n]*)", path.read_text(encoding="utf-8")
    ):
        source = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
        for option in re.findall(r"--(?:no-)?([a-z][a-z-]+)", rest):
            name = option.replace("-", "_")
            assert re.search(rf"\b{name}_?: Annotated\[", source) or f'"--{option}' in source, (
                f"{module} has no option --{option}"
            )
