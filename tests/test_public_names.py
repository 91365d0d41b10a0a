"""What ``camouflage`` offers is what it says, and nothing heavy is loaded before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import camouflage


def test_names_are_sorted_and_there() -> None:
    assert camouflage.__all__ == sorted(camouflage.__all__)
    for name in camouflage.__all__:
        assert getattr(camouflage, name).__name__ == name


def test_every_listed_name_has_a_home() -> None:
    assert sorted(camouflage._HOME) == camouflage.__all__


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Anonymiser"):
        camouflage.Anonymiser  # noqa: B018


def test_import_loads_no_torch() -> None:
    code = "import sys, camouflage; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
