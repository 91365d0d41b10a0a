"""A caption without the names of people and without text that was read from the picture."""

from __future__ import annotations

import re

from camouflage.annotators.scene.caption_words import GIVEN, NAMING, OPENERS, ROLES, STOPS

_DOUBLE = frozenset('"“”„‟«»″')
_SINGLE = frozenset("'‘’‚‛`´′")

_WRITTEN = re.compile(
    r"\b(?:says?|saying|said|reads|spells?|spelling|spelled|written|words?|text|letters?|lettering"
    r"|inscriptions?|slogans?|captions?|captioned|label(?:l?ed|s)|titles?|titled|names?|signed"
    r"|quotes?|reading(?! (?:an?|the|in|on|to|at|from|with|his|her|their|books?|newspapers?"
    r"|magazines?|glasses)\b))\b",
    re.IGNORECASE,
)
"""What comes after one of these is text, or cannot be told from it."""

_WORD = re.compile(r"[A-Za-z]+(?:[-'’][A-Za-z]+)*")


def without_names_and_text(caption: str) -> str:
    """``caption`` in lower case without names of people and without quoted text; may be empty.

    What goes, in this order:

    1. what is in quotation marks of any kind; after one that is never closed, all the rest;
    2. everything from a word that introduces text on: "that says", "reads", "with the words", ...;
    3. what is no word of the letters a to z: numbers, addresses, handles, other scripts;
    4. each word with a capital letter, unless it begins a sentence and is a usual word there;
    5. the words after "named", "mr", "actor", ..., and after a frequent given name, up to a word
       that ends a name ("in", "the", "standing").

    It errs on the side of dropping: a caption only steers the drawing. What it cannot do: in a
    caption without capitals (BLIP writes none) it misses rare given names and surnames that stand
    alone; it keeps places, brands and events written in lower case; it does not notice text that
    is told without any of the words of rule 2, or a description that fits one person only.
    """
    kept: list[str] = []
    opens, in_name, must_drop = True, False, False
    for token in _before_text(_unquoted(caption)).split():
        word = token.strip(".,;:!?()[]{}…-").replace("’", "'")
        begins, opens = opens, token[-1] in ".!?"
        lower = word.lower()
        if lower in NAMING:
            in_name = must_drop = True
        elif lower.partition("'")[0] in GIVEN:
            in_name, must_drop = True, False
        elif in_name and (must_drop or not _ends_name(lower)):
            must_drop = False
        else:
            in_name = lower in ROLES
            usual = word == lower or (begins and lower in OPENERS)
            if usual and _WORD.fullmatch(word):
                kept.append(lower + ("," if token.endswith(",") else ""))
    return " ".join(kept).strip(" ,")


def _unquoted(text: str) -> str:
    """Rule 1. An apostrophe opens only where no letter is before it, closes where none follows."""
    kept: list[str] = []
    closing: frozenset[str] | None = None
    for index, char in enumerate(text):
        before, after = text[index - 1 : index], text[index + 1 : index + 2]
        if closing is None:
            if char in _DOUBLE:
                closing = _DOUBLE
            elif char in _SINGLE and not before.isalnum():
                closing = _SINGLE
            else:
                kept.append(char)
        elif char in closing and (closing is _DOUBLE or not after.isalnum()):
            closing = None
            kept.append(" ")
    return "".join(kept)


def _before_text(text: str) -> str:
    """Rule 2."""
    found = _WRITTEN.search(text)
    return text[: found.start()] if found else text


def _ends_name(word: str) -> bool:
    return word in STOPS or (word.endswith("ing") and len(word) > 4)
