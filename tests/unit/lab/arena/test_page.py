from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

from controlplane.lab.arena.contestants import REFERENCE
from controlplane.lab.arena.page import page
from controlplane.lab.arena.results import Heat
from controlplane.lab.arena.table import markdown
from controlplane.lab.arena.tally import Tally
from tests.unit.lab.arena.made import heat


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_needs_nothing_beside_it_and_shows_what_was_refused() -> None:
    heats = [heat(seed, {"learned": 0.8, "cswrr": 1.3}) for seed in (1, 2, 3)]
    kept = {
        name: replace(one, seconds_mean_ms=(1.0, None, 3.0), seconds_p99_ms=(2.0, None, 9.0))
        for name, one in heats[0].lanes.items()
    }
    heats[0] = replace(heats[0], lanes=kept)
    heats.append(Heat("sparse", 1, {}, {}, {}, ("could not be played: <no Envoy>",)))
    tally = Tally(heats, REFERENCE)
    made = page(tally, markdown(tally, "Made by a test."))
    links = Links()
    links.feed(made)
    assert links.open == []
    assert len(links.found) == 4
    assert all(one.startswith("data:image/svg+xml;base64,") for one in links.found)
    assert not re.search(r"<script|https?://", made)
    assert "&lt;no Envoy&gt;" in made
    assert "1 of 4 heats do not count" in made
    assert "Made by a test." in made


def test_the_same_numbers_make_the_same_report() -> None:
    tally = Tally([heat(1, {"model": 0.9})], REFERENCE)
    assert page(tally, "") == page(tally, "")
