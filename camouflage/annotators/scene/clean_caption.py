"""A caption without the names of people and without text that was read from the picture."""

from __future__ import annotations

import re

from camouflage.annotators.scene.caption_words import CLEAR, NAMING, NOISE, OPENERS, ROLES, USUAL

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

_THERE_IS = re.compile(r"\s*there(?:['’]s| is| are| was| were)\s", re.IGNORECASE)
_TEDDY_BEAR = re.compile(r"\bteddy (?=bears?\b)", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]+(?:[-'][A-Za-z]+)*'?")


def without_names_and_text(caption: str) -> str:
    """``caption`` in lower case with nothing but usual words of captions left; may be empty.

    It is an allow-list: BLIP writes no capitals, so a name cannot be told from a word by its form.
    What goes, in this order:

    1. what is in quotation marks of any kind; after one that is never closed, all the rest;
    2. everything from a word that introduces text on: "that says", "reads", "with the words", ...;
    3. "there is" at the beginning, and the nonsense that BLIP puts in ("arafed");
    4. what is not in `caption_words.USUAL`: names of people, places, brands and events, rare words,
       numbers, addresses, handles, other scripts;
    5. each word with a capital letter, unless it begins a sentence and is a usual word there;
    6. what follows "named", "mr", "actor", ... or a word that went by 4 or 5, as it may be the rest
       of a name ("young", "stone", "brown"): up to a comma or a word that hardly is one ("in",
       "the", "standing", "shirt").

    It errs on the side of dropping: a caption only steers the drawing. What it cannot do: notice an
    ordinary word that is used as a name and stands alone or first ("tiger", "pink", "snow white"),
    text that is told without any of the words of rule 2, or a description that fits one person
    only. Such words stay, but never with a given name or a surname that is no usual word.
    """
    text = _THERE_IS.sub("", _before_text(_unquoted(caption)), count=1)
    kept: list[str] = []
    opens, in_name, must_drop = True, False, False
    for token in _TEDDY_BEAR.sub("teddy-", text).split():
        word = token.strip(".,;:!?()[]{}…-").replace("’", "'")
        begins, opens = opens, token[-1] in ".!?"
        lower = word.lower()
        if lower in NOISE or not any(char.isalpha() for char in word):
            continue
        if lower in NAMING:
            in_name = must_drop = True
            continue
        small = word == lower or (begins and lower in OPENERS)
        if must_drop or not small or not _all_in(USUAL, lower):
            in_name, must_drop = True, False
        elif not in_name or _all_in(CLEAR, lower):
            in_name = lower in ROLES
            kept.append(lower + ("," if token.endswith(",") else ""))
        in_name = in_name and not token.endswith(",")
    return " ".join(kept).replace("teddy-", "teddy ").strip(" ,")


def _all_in(words: frozenset[str], word: str) -> bool:
    """Whether ``word`` without "'s", or each of its parts between hyphens, is in ``words``."""
    stem = word.removesuffix("'s").removesuffix("'")
    if not _WORD.fullmatch(word):
        return False
    return stem in words or all(part in words for part in stem.split("-"))


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
