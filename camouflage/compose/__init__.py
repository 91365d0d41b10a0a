"""From redrawn crops to one picture."""

from camouflage.compose.paste import Patch, compose

__all__ = ["Patch", "compose"]
