"""Neighbours of what a client refuses arrive, whatever changes with it (rules 4 and 11)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from controlplane.xds import SnapshotCache
from controlplane.xds.effects import Effect, Request, Send
from controlplane.xds.kinds import ENDPOINT
from controlplane.xds.refusals import MAX_REFUSED, Suspects, refuse
from controlplane.xds.steps import Mode
from controlplane.xds.stream import Stream

BOTH = pytest.mark.parametrize("mode", [Mode.SOTW, Mode.DELTA])


class Client:
    """Takes a response whole, or refuses it whole where something in it is bad."""

    def __init__(self, mode: Mode, bodies: Mapping[str, bytes]) -> None:
        self.mode, self.names = mode, frozenset(bodies)
        self.has: dict[str, bytes] = {}
        self.sent: list[str] = []
        self.nacks = 0
        self.cache = SnapshotCache()
        self.cache.set("edge", {ENDPOINT: bodies})
        view = self.cache.view("edge")
        assert view is not None
        self.stream = Stream(mode, view)
        self._talk(self.stream.on_request(Request(ENDPOINT, names=self.names)))

    def show(self, bodies: Mapping[str, bytes]) -> None:
        self.cache.set("edge", {ENDPOINT: bodies})
        view = self.cache.view("edge")
        assert view is not None
        self._talk(self.stream.on_view(view))

    def _talk(self, effects: list[Effect]) -> None:
        for _ in range(1000):
            sent = [one for one in effects if isinstance(one, Send)]
            if not sent:
                return
            resources = sent[-1].step.resources
            self.sent += [one.name for one in resources]
            bad = any(one.body.startswith(b"bad") for one in resources)
            self.nacks += bad
            if not bad:
                self.has |= {one.name: one.body for one in resources}
            names = self.names if self.mode is Mode.SOTW else frozenset[str]()
            error = "bad" if bad else None
            answer = Request(ENDPOINT, nonce=sent[-1].nonce, error=error, names=names)
            effects = self.stream.on_request(answer)
        raise AssertionError("it does not end")


@BOTH
def test_what_is_good_arrives_though_what_is_bad_changes_with_it(mode: Mode) -> None:
    def bodies(number: int) -> dict[str, bytes]:
        good = {f"good-{i}": b"%d" % number for i in range(20)}
        return {**good, "same": b"bad", "changes": b"bad%d" % number}

    client, behind = Client(mode, bodies(0)), 0
    for number in range(1, 101):
        client.show(bodies(number))
        good = [body for name, body in client.has.items() if name.startswith("good")]
        behind += good != [b"%d" % number] * 20
    assert behind <= 6  # of 22 in halves: the changes that it takes to find the two
    assert client.sent.count("same") <= 10
    assert client.nacks <= 100 + 20
    client.show({**bodies(100), "changes": b"fine", "same": b"fine"})
    assert client.has["changes"] == client.has["same"] == b"fine"


@BOTH
def test_more_refused_resources_than_are_remembered_keep_nothing_from_a_good_one(
    mode: Mode,
) -> None:
    bad = {f"bad-{i}": b"fine" for i in range(MAX_REFUSED + 10)}
    client = Client(mode, {**bad, "good": b"0"})
    for name in bad:  # one after the other, so that each is refused alone
        bad[name] = b"bad"
        client.show({**bad, "good": b"0"})
    assert client.nacks == len(bad)
    for number in range(1, 51):
        client.show({**bad, "good": b"%d" % number})
        assert client.has["good"] == b"%d" % number
    assert client.nacks <= 3 * len(bad)


def test_what_is_remembered_has_a_bound_and_forgets_no_name() -> None:
    refused: tuple[Suspects, ...] = ()
    for number in range(3 * MAX_REFUSED):
        refused = refuse(refused, frozenset({(f"r{number}", "1")}))
    assert len(refused) == MAX_REFUSED
    assert len({name for one in refused for name, _ in one}) == 3 * MAX_REFUSED
