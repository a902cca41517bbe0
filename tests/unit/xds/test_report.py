"""Resource by resource: what a client should have, has, and since when its state holds."""

from __future__ import annotations

import pytest

from controlplane.xds.effects import Acked, Nacked, TypeStatus
from controlplane.xds.report import Report, reports
from controlplane.xds.status import State, state_of
from controlplane.xds.steps import Mode
from controlplane.xds.timeline import MAX_MESSAGE, Timeline, since
from tests.unit.xds.session import Session, url

BOTH = pytest.mark.parametrize("mode", list(Mode))


def told(session: Session) -> dict[str, tuple[str, str, str]]:
    """Name -> stage, what it should have, what it took. `-` for nothing."""

    def body(report: Report, side: str) -> str:
        one = getattr(report, side)
        return "-" if one is None else one.body.decode()

    return {
        one.name: (one.stage.value, body(one, "intended"), body(one, "taken"))
        for one in reports(session.stream.standings())
    }


def status(session: Session) -> TypeStatus:
    (one,) = session.stream.status()
    return one


@BOTH
def test_what_was_sent_is_awaited_until_the_client_took_it(mode: Mode) -> None:
    session = Session(mode, eds={"a": "1"})
    session.ask("eds", "a")
    assert told(session) == {"a": ("awaited", "1", "-")}
    assert state_of(status(session)) is State.STALE
    session.ack("eds", *names(mode, "a"))
    assert told(session) == {"a": ("in force", "1", "1")}
    assert state_of(status(session)) is State.SYNCED
    session.set(eds={"a": "2"})
    assert told(session) == {"a": ("awaited", "2", "1")}


def names(mode: Mode, *all_of_them: str) -> tuple[str, ...]:
    """State of the world: an ACK lists what is wanted; Delta: nothing new is asked for."""
    return all_of_them if mode is Mode.SOTW else ()


@BOTH
def test_what_was_refused_leaves_what_was_taken_before_whatever_is_taken_since(mode: Mode) -> None:
    session = Session(mode, eds={"a": "1", "b": "1"})
    session.ask("eds", "a", "b")
    session.ack("eds", *names(mode, "a", "b"))
    session.set(eds={"a": "bad", "b": "1"})
    session.nack("eds", *names(mode, "a", "b"))
    assert told(session) == {"a": ("refused", "bad", "1"), "b": ("in force", "1", "1")}
    assert state_of(status(session)) is State.STALE
    session.set(eds={"a": "bad", "b": "2"})
    assert told(session) == {"a": ("refused", "bad", "1"), "b": ("awaited", "2", "1")}
    session.ack("eds", *names(mode, "a", "b"))
    assert told(session) == {"a": ("refused", "bad", "1"), "b": ("in force", "2", "2")}
    session.set(eds={"a": "3", "b": "2"})
    session.ack("eds", *names(mode, "a", "b"))
    assert told(session) == {"a": ("in force", "3", "3"), "b": ("in force", "2", "2")}
    assert state_of(status(session)) is State.SYNCED


def test_a_set_that_was_refused_as_a_whole_is_refused_where_it_differs() -> None:
    session = Session(Mode.SOTW, cds={"a": "1", "b": "1"})
    session.ask("cds")
    session.ack("cds")
    session.set(cds={"a": "bad", "b": "1", "c": "1"})
    session.nack("cds")
    assert told(session) == {
        "a": ("refused", "bad", "1"),
        "b": ("in force", "1", "1"),
        "c": ("refused", "1", "-"),
    }
    session.set(cds={"a": "2", "b": "1"})
    assert told(session)["a"] == ("awaited", "2", "1")


def test_a_name_that_does_not_exist_is_absent_once_the_client_knows() -> None:
    session = Session(Mode.DELTA, eds={})
    session.ask("eds", "gone")
    assert told(session) == {"gone": ("not sent", "-", "-")}
    session.ack("eds")
    assert told(session) == {"gone": ("absent", "-", "-")}


@BOTH
def test_a_type_that_the_snapshot_lacks_is_not_sent_and_one_that_left_it_stays(mode: Mode) -> None:
    session = Session(mode, eds={"a": "1"})
    session.ask("lds", "in")
    assert told(session) == {"in": ("not sent", "-", "-")}
    assert state_of(status(session)) is State.NOT_SENT
    session = Session(mode, eds={"a": "1"})
    session.ask("eds", "a")
    session.ack("eds", *names(mode, "a"))
    session.forget("eds")
    assert told(session) == {"a": ("in force", "-", "1")}
    assert state_of(status(session)) is State.SYNCED


def test_what_a_client_came_with_is_known_by_its_version_or_by_our_own_content() -> None:
    session = Session(Mode.DELTA, eds={"a": "1", "b": "1"})
    version = session.resource_version("eds", "a")
    session.ask("eds", "a", "b", initial={"a": version, "b": "older"})
    assert told(session)["a"] == ("awaited", "1", "-")
    session.ack("eds")
    assert told(session) == {"a": ("in force", "1", "1"), "b": ("in force", "1", "1")}


def test_what_is_no_longer_wanted_is_not_told_of() -> None:
    session = Session(Mode.DELTA, eds={"a": "1", "b": "1"})
    session.ask("eds", "a", "b")
    session.ack("eds", drop=["b"])
    assert set(told(session)) == {"a"}


@BOTH
def test_a_removal_that_is_held_back_is_neither_synced_nor_forgotten(mode: Mode) -> None:
    session = Session(mode, cds={"a": "1"}, rds={"r": "1"})
    session.ask("cds")
    session.ack("cds")
    session.ask("rds", "r")
    session.ack("rds", *names(mode, "r"))
    session.set(cds={}, rds={"r": "2"})
    assert told(session)["a"] == ("awaited", "-", "1")
    assert state_of(session.stream.status()[0]) is State.STALE
    session.ack("rds", *names(mode, "r"))
    session.ack("cds")
    assert "a" not in told(session)
    assert state_of(session.stream.status()[0]) is State.SYNCED


def test_a_removal_that_waits_after_the_news_was_taken_is_not_synced_yet() -> None:
    session = Session(Mode.DELTA, cds={"a": "1"}, rds={"r": "1"})
    session.ask("cds")
    session.ack("cds")
    session.ask("rds", "r")
    session.ack("rds")
    session.set(cds={"b": "1"}, rds={"r": "2"})
    assert session.ack("cds") == ["acked cds"]
    session.nack("rds")
    assert state_of(session.stream.status()[0]) is State.STALE
    session.set(rds={"r": "3"})
    assert session.ack("rds") == ["acked rds", "send cds -a"]
    session.ack("cds")
    assert state_of(session.stream.status()[0]) is State.SYNCED


URL = url("eds")


def at(**fields: object) -> TypeStatus:
    facts: dict[str, object] = {
        "type_url": URL,
        "wildcard": False,
        "names": 1,
        "sent_version": "1",
        "acked_version": "1",
        "nack": "",
        "waiting": False,
        "intended_version": "1",
    }
    return TypeStatus(**{**facts, **fields})  # type: ignore[arg-type]


def test_since_when_a_state_holds_is_when_what_made_it_happened() -> None:
    timeline = Timeline(changed_s=1.0)
    assert since(at(sent_version=""), timeline.by_type, timeline.changed_s) == 1.0
    timeline.asked(URL, 2.0)
    timeline.asked(URL, 2.5)
    unsent = at(sent_version="", acked_version="")
    assert since(unsent, timeline.by_type, timeline.changed_s) == 2.0
    session = Session(Mode.SOTW, eds={"a": "1"})
    session.ask("eds", "a")
    timeline.note(session.last["eds"], 3.0)
    assert since(at(waiting=True), timeline.by_type, timeline.changed_s) == 3.0
    timeline.note(Acked(URL, "1"), 4.0)
    assert since(at(), timeline.by_type, timeline.changed_s) == 4.0
    timeline.changed_s = 5.0
    held = at(intended_version="2")
    assert since(held, timeline.by_type, timeline.changed_s) == 5.0
    assert since(at(), timeline.by_type, timeline.changed_s) == 4.0
    timeline.note(Nacked(URL, "2", "x" * 100_000), 6.0)
    assert since(at(nack="x", sent_version="2"), timeline.by_type, timeline.changed_s) == 6.0
    times = timeline.by_type[URL]
    assert (len(times.nack), times.nacked_version) == (MAX_MESSAGE, "2")


def test_a_message_of_a_type_that_was_never_asked_for_is_not_noted() -> None:
    timeline = Timeline(changed_s=1.0)
    timeline.note(Acked(URL, "1"), 4.0)
    assert not timeline.by_type
