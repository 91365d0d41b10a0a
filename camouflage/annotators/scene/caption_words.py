"""The words that `clean_caption` decides by. All lists are ours; they are short on purpose."""

from __future__ import annotations


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


NAMING = _set(
    """
    called dr featuring madam mr mrs ms named nicknamed prof sir starring
    """
)
"""A name follows: they go with it."""

ROLES = _set(
    """
    actor actress celebrity ceo footballer minister musician politician pope president prince
    princess rapper senator singer
    """
)
"""A name may follow: they stay, it goes."""

GIVEN = _set(
    """
    aaron abigail adam adele ahmed alan albert alexander alexis alice amanda amy ana andrea andrew
    angela angelina ann anna anne anthony antonio arthur ashley barack barbara benjamin bernie betty
    beyonce biden bob bobby brad bradley brandon brenda brian brittany bruce bryan caleb carl
    carlos caroline carolyn catherine charles charlotte cheryl chris christina christine
    christopher clinton cynthia daniel danielle dave david deborah debra denise dennis diana diane
    donald donna doris dorothy douglas dylan edward elijah elizabeth ellen elon emily emma eric
    ethan evelyn fatima gabriel gary george gerald gloria greg gregory hannah harold helen henry
    hillary isabella jacob jacqueline james jane janet janice jason jeff jeffrey jennifer jeremy
    jesse jessica jim joan joe john johnny jonathan jose joseph joshua joyce juan judith judy julia
    julie justin kanye karen kate katherine kathleen kathryn keith kelly kenneth kevin kim kimberly
    kyle larry laura lauren lawrence leonardo liam linda lisa lori lucas luis margaret maria marie
    marilyn martha mary matthew megan melania melissa merkel michael michelle mike mohamed mohammed
    muhammad nancy natalie nathan nicholas nicole noah obama olga olivia oprah pamela patricia
    patrick paul peter philip putin rachel ralph raymond rebecca richard rihanna robert roger ronald
    russell ruth ryan samantha samuel sandra sara sarah scott sean sharon shirley sophia stephanie
    stephen steve steven susan taylor teresa terry theresa thomas tim timothy tom trump tyler
    victoria vincent vladimir walter wayne william zachary
    """
)
"""Frequent given names, and a few people who are named often; not those that are words as well."""

STOPS = _set(
    """
    a above across against along an are around as at behind below beside between but by for from has
    have her his in inside into is its near next of on onto outside over that the their there these
    this through to under was were where which while who whose with
    """
)
"""What ends a name, besides words in -ing."""

OPENERS = _set(
    """
    a an baby black boy boys child children close couple crowd few five four girl girls group he
    here it kids large man many men old people person several she six small some somebody someone
    the there these they this three two view white woman women young
    """
)
"""Words that a sentence may begin with; other words with a capital are taken for names."""
