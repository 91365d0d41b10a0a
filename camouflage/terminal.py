"""What the commands say to people, and how they end. Nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from camouflage.errors import SettingError


def shown(name: str) -> str:
    """A name for people, safe on a terminal: what is not printable stands as its code."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def say(message: str) -> None:
    """Lines on stderr; names in them may be somebody else's, and move no cursor."""
    typer.echo("\n".join(shown(line) for line in message.split("\n")), err=True)


def leave(message: str, *, status: int) -> NoReturn:
    """Say why, and end the command with that exit status."""
    say(f"camouflage: {message}")
    raise typer.Exit(status)


@contextmanager
def wrong_usage_is_2() -> Iterator[None]:
    """`SettingError` ends the command with exit status 2."""
    try:
        yield
    except SettingError as error:
        leave(str(error), status=2)
