"""Neighbours of what a client refuses arrive, whatever changes with it (rules 4 and 11)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from controlplane.xds import SnapshotCache
from controlplane.xds.effects import Effect, Request, Send
from controlplane.xds.kinds import ENDPOINT
from controlplane.xds.refusals import MAX_OUTDATED, NONE, TRIES, TRIES_AFRESH, refuse
from controlplane.xds.steps import Mode
from controlplane.xds.stream import Stream, View

Changes = Callable[[int], Mapping[str, bytes]]
BOTH = pytest.mark.parametrize("mode", [Mode.SOTW, Mode.DELTA])


class Client:
    """Takes a response whole, or refuses it whole where something in it is bad."""

    def __init__(self, mode: Mode, bodies: Mapping[str, bytes]) -> None:
        self.mode, self.names = mode, frozenset(bodies)
        self.has: dict[str, bytes] = {}
        self.sent: list[str] = []
        self.nacks = 0
        self.removed: list[set[str]] = []
        self.cache = SnapshotCache()
        self.stream = Stream(mode, self._view(bodies))
        self._talk(self.stream.on_request(Request(ENDPOINT, names=self.names)))

    def show(self, bodies: Mapping[str, bytes], before_each_answer: Changes | None = None) -> None:
        self._talk(self.stream.on_view(self._view(bodies)), before_each_answer)

    def pause(self) -> None:
        if self.stream.pauses():
            self._talk(self.stream.on_pause())

    def good(self) -> list[bytes]:
        return [body for name, body in self.has.items() if name.startswith("good")]

    def _view(self, bodies: Mapping[str, bytes]) -> View:
        self.cache.set("edge", {ENDPOINT: bodies})
        view = self.cache.view("edge")
        assert view is not None
        return view

    def _talk(self, effects: list[Effect], changes: Changes | None = None) -> None:
        for number in range(1000):
            sent = [one for one in effects if isinstance(one, Send)]
            if not sent:
                return
            if changes is not None and number < 20:
                assert not self.stream.on_view(self._view(changes(number)))
            self.removed += [set(sent[-1].step.removed)] if sent[-1].step.removed else []
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

    client = Client(mode, bodies(0))
    alone = client.nacks
    for number in range(1, 101):
        client.show(bodies(number))
        assert client.good() == [b"%d" % number] * 20
    assert client.sent.count("same") <= 6
    assert alone <= 10
    assert client.nacks == alone + 100
    client.show({**bodies(100), "changes": b"fine", "same": b"fine"})
    assert client.has["changes"] == client.has["same"] == b"fine"


@BOTH
def test_one_bad_resource_of_many_is_found_without_a_change(mode: Mode) -> None:
    client = Client(mode, {**{f"good-{i:02}": b"1" for i in range(99)}, "good-50x": b"bad"})
    assert client.good() == [b"1"] * 99
    assert client.nacks <= 8  # it, and its company each time that it was halved


@BOTH
def test_a_client_that_refuses_everything_is_left_in_peace(mode: Mode) -> None:
    names = [f"r{i}" for i in range(100)]
    client = Client(mode, dict.fromkeys(names, b"bad"))
    assert client.nacks == 1 + TRIES
    client.show(dict.fromkeys(names, b"bad again"))
    assert client.nacks == 1 + TRIES + TRIES_AFRESH
    for _ in range(100):
        client.pause()
    assert client.nacks < 1 + 4 * len(names)
    assert not client.stream.pauses()


@BOTH
def test_what_is_good_among_much_that_is_bad_arrives_in_time(mode: Mode) -> None:
    bad = {f"bad-{i}": b"bad" for i in range(100)}
    client = Client(mode, {**bad, "good-one": b"1"})
    assert not client.good()
    for _ in range(100):
        client.pause()
    assert client.good() == [b"1"]


@BOTH
def test_changes_that_come_before_each_answer_keep_no_suspect_waiting_for_ever(mode: Mode) -> None:
    client = Client(mode, {"good-a": b"bad", "bad-b": b"bad", "good-c": b"0"})
    fine = {"good-a": b"fine", "bad-b": b"bad"}
    client.show({**fine, "good-c": b"x"}, lambda number: {**fine, "good-c": b"%d" % number})
    early = client.sent[: client.sent.index("good-a", 5) + 1]
    assert early.count("good-c") <= 5
    assert client.has["good-a"] == b"fine"


@BOTH
def test_more_refused_resources_than_are_remembered_keep_nothing_from_a_good_one(
    mode: Mode,
) -> None:
    bad = {f"bad-{i}": b"fine" for i in range(MAX_OUTDATED + 10)}
    client = Client(mode, {**bad, "good": b"0"})
    for name in bad:  # one after the other, so that each is refused alone
        bad[name] = b"bad"
        client.show({**bad, "good": b"0"})
    assert client.nacks == len(bad)
    for number in range(1, 51):
        client.show({**bad, "good": b"%d" % number})
        assert client.has["good"] == b"%d" % number
    assert client.nacks == len(bad)


def test_a_removal_does_not_go_out_with_suspects() -> None:
    client = Client(Mode.DELTA, {"a": b"bad", "b": b"bad", "c": b"1"})
    client.show({"a": b"bad again", "b": b"bad again"})
    assert client.removed == [{"c"}]


def test_of_contents_that_nobody_would_be_sent_the_newest_are_remembered() -> None:
    refused = NONE
    for number in range(3 * MAX_OUTDATED):
        refused = refuse(refused, frozenset({("a", f"{number}")}), {"a": "new"})
    assert len(refused.contents) == MAX_OUTDATED
    assert refused.contents[-1] == frozenset({("a", f"{number}")})
    now = {f"r{number}": "1" for number in range(3 * MAX_OUTDATED)}
    for name in now:
        refused = refuse(refused, frozenset({(name, "1")}), now)
    assert len([one for one in refused.contents if one <= now.items()]) == len(now)
