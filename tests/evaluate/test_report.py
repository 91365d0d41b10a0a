"""The page and the Markdown: whole, safe with any name, and alive where nothing is known."""

from __future__ import annotations

import copy
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from camouflage.evaluate.charts import looks
from camouflage.evaluate.evaluation import Evaluation
from camouflage.evaluate.report import Row, html, pictures_of
from camouflage.evaluate.tables import DASH, cell, markdown

NASTY = "<script>alert(1)</script> | $\\frac{$ \udcff"
VOID = {"meta", "br", "img", "line", "path", "rect", "use"}


def interval(mean: float | None) -> dict[str, Any]:
    if mean is None:
        return {"mean": None, "low": None, "high": None, "n": 0}
    return {"mean": mean, "low": mean * 0.5, "high": min(mean * 1.5, 1.0), "n": 12}


def attacks(rate: float | None) -> dict[str, Any]:
    both = {"worst": interval(rate), "optimistic": interval(rate)}
    return {
        "other_photos": {**both, "chance": None if rate is None else 0.1},
        "closed": {**both, "chance": 0.1},
        **{name: both for name in ("reid@1", "reid@5", "reid@10", "map@50")},
        "verification": {"0.01": {"thresholds": [0.6], "rate": interval(rate)}, "0.001": None},
        "psr": None,
        "tar@far": {"0.01": rate},
        "roc": {"far": [1e-2, 1e-1], "tar": [None, rate], "auc": rate},
        "retrained": None,
    }


def method(
    rate: float | None, shift: float | None, encoders: list[str], *, baseline: bool = False
) -> dict[str, Any]:
    stratum = {"other_photos": interval(rate), "found": interval(0.5)}
    return {
        "baseline": baseline,
        "attempted": 12,
        "states": {"written": 11, "missing": 1},
        "reidentification": {name: attacks(rate) for name in encoders},
        "likeness": {"found": interval(0.0 if shift is None else 0.9), "shift": interval(shift)},
        "diversity": {"spread": None, "collisions": None},
        "seeds": None,
        "strata": {"turned": {"from 9 degrees": stratum, "below 9 degrees": stratum}},
    }


def results(encoders: list[str], methods: dict[str, dict[str, Any]]) -> dict[str, Any]:
    names = list(methods)
    return {
        "version": 1,
        "originals": "photos",
        "photos_per_person": 2,
        "copies_left_out": 0,
        "attributes": {"sex": "probability", "age": "expectation"},
        "probes": 12,
        "people": 6,
        "gallery": 24,
        "probes_without_a_face": 1,
        "encoders": [
            {"name": name, "sha256": "0", "note": f"note of {name}", "whole_picture": False}
            for name in encoders
        ],
        "controls": {
            name: {"closed": 1.0, "other_photos": 1.0, "strangers": 0.1, "chance": 0.1}
            for name in encoders[:1]
        },
        "methods": methods,
        "paired": [
            {"first": a, "second": b, "reidentification_p": 0.01, "shift_p": None}
            for i, a in enumerate(names)
            for b in names[i + 1 :]
        ],
    }


def usual(encoders: list[str]) -> dict[str, Any]:
    return results(
        encoders,
        {
            "clean": method(1.0, 0.0, encoders, baseline=True),
            "solid": method(0.1, None, encoders, baseline=True),
            "ours": method(0.2, 0.05, encoders),
            "scale=0.5": method(0.4, 0.03, encoders),
            "scale=1": method(0.2, 0.06, encoders),
            NASTY: method(0.3, None, encoders),
        },
    )


class Page(HTMLParser):
    """The texts, addresses and ids of a page; an element that is not closed rightly is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open += [tag] if tag not in VOID else []
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]
        self.ids += [v or "" for k, v in attrs if k == "id"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page() -> str:
    return html(usual(["dlib", "other & <b>"]), None)


def test_page_is_whole_and_names_every_method_and_recogniser(page: str):
    read = Page(page)
    assert not read.open
    assert len(read.ids) == len(set(read.ids))
    for name in ("clean", "solid", "ours", "scale=0.5", "scale=1", "dlib", "other & <b>"):
        assert name in read.text
    assert page.count("<svg role=") == 2 + 2 + 2  # a scatter and a ROC each, one swept setting


def test_page_asks_for_nothing_from_outside(page: str):
    pictures = {"ours": [row("best", 1.0), row("failure", float("nan"), result=False)]}
    for text in (page, html(usual(["dlib"]), pictures)):
        assert "http://" not in text
        assert "https://" not in text
        assert "default-src 'none'" in text
        assert all(a.startswith(("data:", "#")) for a in Page(text).addresses)


def test_names_are_only_text(page: str):
    assert not {"script", "iframe"} & set(Page(page).tags)
    assert "&lt;script&gt;" in page
    assert page.encode()  # a name that is no Unicode does not keep the page from being written


def row(kind: str, distance: float, *, result: bool = True) -> Row:
    thumb = np.full((16, 16, 3), 90, np.uint8)
    return Row(
        name=f"{kind} <i>.jpg",
        original=thumb,
        result=thumb if result else None,
        kind=kind,
        distance=distance,
    )


def test_pictures_are_in_the_page_and_said_to_be_originals():
    pictures = {"ours": [row("best", 1.25), row("failure", float("nan"), result=False)]}
    read = Page(html(usual(["dlib"]), pictures))
    assert "This page shows originals" in read.text
    assert "1.25" in read.text
    assert "no result" in read.text
    assert "failure <i>.jpg" in read.text
    assert sum(address.startswith("data:image/jpeg") for address in read.addresses) == 3


def test_no_pictures_no_warning(page: str):
    assert "This page shows originals" not in page
    assert "no photograph" in page


@pytest.mark.parametrize("count", [1, 3])
def test_without_baselines(count: int):
    encoders = [f"net {i}" for i in range(count)]
    read = Page(html(results(encoders, {"ours": method(0.2, 0.05, encoders)}), None))
    assert "ours" in read.text
    assert not read.open


def test_only_baselines():
    given = results(["dlib"], {"clean": method(1.0, 0.0, ["dlib"], baseline=True)})
    assert "Only the baselines" in html(given, {})


def test_nothing_known():
    missing = method(None, None, ["dlib"])
    missing |= {"states": {"missing": 12}, "likeness": {"found": interval(0.0)}, "strata": {}}
    given = results(["dlib"], {"ours": missing})
    given["controls"]["dlib"] = {"closed": 1.0, "other_photos": None, "strangers": None}
    read = Page(html(given, None))
    assert "No face is found" in read.text
    assert DASH in read.text
    assert "None" not in read.text
    assert "nan" not in markdown(given, command="x")


def test_the_page_is_the_same_twice_and_leaves_its_input_alone():
    given = usual(["dlib"])
    before = copy.deepcopy(given)
    assert html(given, None) == html(given, None)
    assert given == before


def test_markdown_has_a_row_a_method_in_each_table():
    given = usual(["dlib", "other"])
    text = markdown(given, command="camouflage evaluate photos")
    lines = text.splitlines()
    assert "    camouflage evaluate photos" in lines
    for name in ("clean", "solid", "ours", "scale=0.5", "scale=1"):
        mine = [line for line in lines if line.startswith(f"| {name} |")]
        assert len(mine) == 2 + 1 + 2  # a recogniser's tables, likeness, beside the papers
    assert "<script>" not in text
    assert "| 20.0% [10.0, 30.0] |" in text
    assert "from the paper, CelebA-HQ 1,000 pictures" in text


def test_markdown_tables_have_as_many_cells_in_every_row():
    text = markdown(usual(["dlib"]), command="x")
    for table in text.split("\n\n"):
        if table.startswith("| "):
            lines = table.replace("\\|", "").splitlines()
            assert len({line.count("|") for line in lines}) == 1


def test_cells():
    assert str(cell(None)) == DASH
    assert str(cell(interval(None))) == DASH
    assert str(cell(0.125)) == "12.5%"
    assert str(cell({"mean": 2.0, "low": 1.0, "high": 3.0}, "degrees")) == "2.0° [1.0, 3.0]"


def test_values_of_a_setting_share_a_colour_and_a_single_one_is_no_curve():
    drawn = looks({name: {"baseline": False} for name in ("a=1", "a=0.5", "b=1", "plain")})
    assert drawn["a=1"].colour == drawn["a=0.5"].colour
    assert [drawn[name].key for name in drawn] == ["a", "a", "", ""]
    assert len({look.colour for look in drawn.values()}) == 3
    assert drawn["a=0.5"].value == 0.5


def test_pictures_are_chosen_by_distance():
    count = 9
    thumb = np.zeros((4, 4, 3), np.uint8)
    written = [SimpleNamespace(state="written", found=True, thumb=thumb) for _ in range(count)]
    written[0].found = False
    written[1] = SimpleNamespace(state="missing", found=False, thumb=None)
    photos = [SimpleNamespace(photo=SimpleNamespace(name=f"{i}.jpg")) for i in range(count)]
    evaluation = SimpleNamespace(
        results={"methods": {"clean": {"baseline": True}, "ours": {"baseline": False}}},
        outcomes={"clean": written, "ours": written},
        probes=[SimpleNamespace(original=photo, thumb=thumb) for photo in photos],
        distances={"ours": np.array([9.0, np.nan, 2, 3, 4, 5, 6, 7, np.nan])},
    )
    chosen = pictures_of(cast(Evaluation, evaluation), each=2)
    assert list(chosen) == ["ours"]
    names = {
        kind: [one.name[0] for one in chosen["ours"] if one.kind == kind]
        for kind in ("best", "median", "worst", "failure")
    }
    assert names == {
        "best": ["7", "6"],
        "median": ["5", "4"],
        "worst": ["2", "3"],
        "failure": ["0", "1"],
    }
