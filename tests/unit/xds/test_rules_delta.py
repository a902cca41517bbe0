"""Rules 23 to 30 of docs/xds.md: Delta."""

from __future__ import annotations

from controlplane.xds.steps import Mode
from tests.unit.xds.session import Session


def endpoints(*names: str, **bodies: str) -> Session:
    """A client that asked for these and took what there is."""
    session = Session(Mode.DELTA, eds=bodies)
    session.ask("eds", *names)
    session.ack("eds")
    return session


def test_rule_23_an_update_is_the_changed_resource_and_a_deletion_its_name() -> None:
    session = endpoints(a="1", b="1", c="1")
    assert session.set(eds={"a": "1", "b": "2"}) == ["send eds b=2 -c"]


def test_rule_24_a_name_that_does_not_exist_is_reported_once_and_sent_when_it_exists() -> None:
    session = Session(Mode.DELTA, eds={"a": "1"})
    assert session.ask("eds", "a", "x") == ["send eds a=1 -x"]
    session.ack("eds")
    assert session.set(eds={"a": "2"}) == ["send eds a=2"]
    session.ack("eds")
    assert session.set(eds={"a": "2", "x": "1"}) == ["send eds x=1"]
    session.ack("eds")
    assert session.set(eds={"a": "2"}) == ["send eds -x"]
    session.ack("eds")
    assert session.set(eds={"a": "2", "x": "1"}) == ["send eds x=1"]


def test_rule_25_subscribing_again_sends_again() -> None:
    session = endpoints("a", a="1")
    assert session.ask("eds", "a") == ["send eds a=1"]
    session.ack("eds")
    assert session.ask("eds", "a", "x") == ["send eds a=1 -x"]
    session.ack("eds")
    assert session.ask("eds", "x") == ["send eds -x"]


def test_rule_25_a_name_that_the_wildcard_covers_is_answered() -> None:
    session = endpoints(a="1")
    assert session.ask("eds", "a") == ["send eds a=1"]


def test_rule_26_a_pure_unsubscribe_is_not_answered_and_ends_pushes() -> None:
    session = endpoints("a", "b", a="1", b="1")
    assert session.ask("eds", drop=["a", "never asked for"]) == []
    assert session.set(eds={"a": "2", "b": "1"}) == []


def test_rule_27_a_subscription_counts_with_an_old_nonce_too() -> None:
    session = endpoints("a", a="1", b="1")
    old = session.last["eds"].nonce
    assert session.set(eds={"a": "2", "b": "1"}) == ["send eds a=2"]
    assert session.ask("eds", "b", nonce=old) == []
    assert session.ack("eds") == ["acked eds", "send eds b=1"]


def test_rule_28_a_reconnect_brings_what_changed_and_what_is_gone() -> None:
    session = endpoints(a="1", b="1", c="1")
    held = {name: session.resource_version("eds", name) for name in "abc"}
    session.set(eds={"a": "1", "b": "2", "d": "1"})
    session.connect()
    assert session.ask("eds", initial=held) == ["send eds b=2 d=1 -c"]


def test_rule_28_a_reconnect_to_equal_content_brings_nothing_and_is_still_a_wildcard() -> None:
    session = endpoints(a="1", b="1")
    held = {name: session.resource_version("eds", name) for name in "ab"}
    session.connect()
    assert session.ask("eds", initial=held) == []
    assert session.stream.status()[0].acked_version == session.version("eds")
    assert session.set(eds={"a": "1", "b": "1", "c": "1"}) == ["send eds c=1"]


def test_rule_28_a_reconnect_with_names_is_held_to_them() -> None:
    session = endpoints("a", "b", a="1", b="1", c="1")
    held = {name: session.resource_version("eds", name) for name in "ab"}
    session.connect()
    assert session.ask("eds", "a", "b", initial={**held, "c": "whatever"}) == []
    assert session.set(eds={"b": "1", "c": "2"}) == ["send eds -a"]


def test_rule_29_dropping_a_name_under_a_wildcard_is_answered_with_what_it_is() -> None:
    session = Session(Mode.DELTA, eds={"a": "1", "b": "1"})
    session.ask("eds", "*", "a", "x")
    session.ack("eds")
    assert session.ask("eds", drop=["a"]) == ["send eds a=1"]
    session.ack("eds")
    assert session.ask("eds", drop=["x"]) == ["send eds -x"]


def test_rule_29_dropping_the_wildcard_keeps_the_names() -> None:
    session = Session(Mode.DELTA, eds={"a": "1", "b": "1"})
    session.ask("eds", "*", "a")
    session.ack("eds")
    assert session.ask("eds", drop=["*"]) == []
    assert session.set(eds={"a": "2", "b": "2"}) == ["send eds a=2"]


def test_rule_29_names_added_to_an_unnamed_wildcard_leave_it_in_place() -> None:
    session = endpoints(a="1", b="1")
    session.ask("eds", "a")
    session.ack("eds")
    assert session.set(eds={"a": "1", "b": "2"}) == ["send eds b=2"]


def test_an_empty_wildcard_is_answered_so_that_the_client_can_start() -> None:
    session = Session(Mode.DELTA, cds={})
    assert session.ask("cds") == ["send cds"]
    assert session.ack("cds") == ["acked cds"]


def test_a_removal_that_went_with_something_refused_is_said_again_once() -> None:
    session = endpoints(a="1", b="1")
    assert session.set(eds={"b": "bad"}) == ["send eds b=bad -a"]
    assert session.nack("eds") == ["nacked eds bad", "send eds -a"]
    assert session.nack("eds") == ["nacked eds bad"]
    assert session.set(eds={"b": "good"}) == ["send eds b=good"]
