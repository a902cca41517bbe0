"""The Gateway API's own list of features beside what is supported: a section of its page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tests.features.catalogue import ROOT, Feature, features, link

FILE = Path(__file__).with_name("gateway_api.yaml")
PAGE = ROOT / "docs" / "gateway-api.md"
BEGIN, END = "<!-- the list begins -->\n", "<!-- the list ends -->\n"
_COLUMNS = ("| feature | supported | requests | level |", "|---|---|---|---|")
_GROUP = "Gateway API: "


def api_features() -> tuple[Feature, ...]:
    """All of them, in the order of the file."""
    return tuple(replace(one, group=f"{_GROUP}{one.group}") for one in features(FILE))


def written(page: str, found: Sequence[Feature]) -> str:
    """The page with the list in its place."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}{_section(found)}{END}{rest.partition(END)[2]}"


def _section(found: Sequence[Feature]) -> str:
    out = [""]
    for group in dict.fromkeys(one.group for one in found):
        out += [f"### {group.removeprefix(_GROUP)}", "", *_COLUMNS]
        out += [*(_row(one) for one in found if one.group == group), ""]
    return "\n".join(out)


def _row(one: Feature) -> str:
    names = ", ".join(_name(name) for name in one.name.split(", "))
    supported = one.status + (f": {one.note}" if one.note else "")
    return f"| {names} | {supported} | {'<br>'.join(_requests(one))} | {one.level} |"


def _name(text: str) -> str:
    """A name, and words around it as they are."""
    name, space, rest = text.partition(" ")
    return f"`{name}`{space}{rest}"


def _requests(one: Feature) -> Iterator[str]:
    cases = ", ".join(f"`{case}`" for case in one.cases)
    for at, test in enumerate(one.tests):
        yield link(test) + (f": {cases}" if cases and not at else "")
