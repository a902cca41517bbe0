"""Rules 13 to 22 of docs/xds.md: the state of the world."""

from __future__ import annotations

from controlplane.xds.steps import Mode
from tests.unit.xds.session import Session


def endpoints(*names: str, **bodies: str) -> Session:
    """A client that asked for these and took what there is."""
    session = Session(Mode.SOTW, eds=bodies)
    session.ask("eds", *names)
    session.ack("eds", *names)
    return session


def test_rule_13_clusters_and_listeners_are_always_the_full_set() -> None:
    session = Session(Mode.SOTW, cds={"a": "1", "b": "1"}, lds={"in": "1", "out": "1"})
    session.ask("cds")
    session.ack("cds")
    session.ask("lds")
    session.ack("lds")
    assert session.set(cds={"a": "2", "b": "1"}) == ["send cds a=2 b=1"]
    session.ack("cds")
    assert session.set(lds={"in": "1"}) == ["send lds in=1"]
    session.ack("lds")
    assert session.set(lds={}) == ["send lds"]


def test_rule_13_scoped_routes_too() -> None:
    session = Session(Mode.SOTW, srds={"a": "1", "b": "1"})
    session.ask("srds")
    session.ack("srds")
    assert session.set(srds={"a": "2", "b": "1"}) == ["send srds a=2 b=1"]
    session.ack("srds")
    assert session.set(srds={"b": "1"}) == ["send srds b=1"]


def test_rule_14_other_types_carry_only_what_changed_or_is_newly_asked_for() -> None:
    session = endpoints("a", "b", a="1", b="1")
    assert session.set(eds={"a": "1", "b": "2"}) == ["send eds b=2"]


def test_rule_15_an_added_name_is_answered_at_an_unchanged_version() -> None:
    session = endpoints("a", a="1", b="1")
    assert session.ask("eds", "a", "b", nonce=session.last["eds"].nonce) == ["send eds b=1"]


def test_rule_15_a_name_that_does_not_exist_is_sent_when_it_comes_into_being() -> None:
    session = endpoints("a", "new", a="1")
    assert session.set(eds={"a": "1", "new": "1"}) == ["send eds new=1"]


def test_rule_15_a_name_that_was_gone_is_sent_when_it_comes_back() -> None:
    session = endpoints("a", "b", a="1", b="1")
    assert session.set(eds={"a": "1"}) == []
    assert session.set(eds={"a": "1", "b": "1"}) == ["send eds b=1"]


def test_rule_15_names_that_all_do_not_exist_get_an_empty_response() -> None:
    session = Session(Mode.SOTW, eds={})
    assert session.ask("eds", "x") == ["send eds"]
    assert session.ack("eds", "x") == ["acked eds"]
    assert session.ask("eds", "y", nonce=session.last["eds"].nonce) == ["send eds"]


def test_rule_15_a_name_that_the_wildcard_covers_is_not_new() -> None:
    session = endpoints(a="1")
    assert session.ask("eds", "*", "a", nonce=session.last["eds"].nonce) == []


def test_rule_16_a_name_dropped_and_asked_for_again_is_sent_again() -> None:
    session = endpoints("a", "b", a="1", b="1")
    nonce = session.last["eds"].nonce
    assert session.ask("eds", "a", nonce=nonce) == []
    assert session.ask("eds", "a", "b", nonce=nonce) == ["send eds b=1"]


def test_rule_17_an_old_nonce_is_not_answered_and_the_ack_that_follows_is() -> None:
    session = endpoints("a", a="1", b="1")
    old = session.last["eds"].nonce
    assert session.set(eds={"a": "2", "b": "1"}) == ["send eds a=2"]
    assert session.ask("eds", "a", "b", nonce=old) == []
    assert session.ask("eds", "a", "b", nonce="made up") == []
    assert session.ack("eds", "a", "b") == ["acked eds", "send eds b=1"]


def test_rule_17_what_was_dropped_with_an_old_nonce_and_taken_back_is_sent_again() -> None:
    session = endpoints("a", "b", a="1", b="1")
    old = session.last["eds"].nonce
    assert session.set(eds={"a": "2", "b": "1"}) == ["send eds a=2"]
    assert session.ask("eds", "a", nonce=old) == []
    assert session.ask("eds", "a", "b", nonce=old) == []
    assert session.ack("eds", "a", "b") == ["acked eds", "send eds b=1"]


def test_rule_18_an_empty_list_is_the_wildcard_until_something_was_named() -> None:
    session = Session(Mode.SOTW, eds={"a": "1", "b": "1"})
    assert session.ask("eds") == ["send eds a=1 b=1"]
    session.ack("eds")
    nonce = session.last["eds"].nonce
    assert session.ask("eds", "a", nonce=nonce) == []
    assert session.set(eds={"a": "1", "b": "2"}) == []
    assert session.ask("eds", nonce=nonce) == []
    assert session.set(eds={"a": "2", "b": "3"}) == []


def test_rule_18_the_wildcard_and_a_name_are_both_until_the_wildcard_is_dropped() -> None:
    session = Session(Mode.SOTW, cds={"a": "1", "b": "1"})
    assert session.ask("cds", "*", "a") == ["send cds a=1 b=1"]
    session.ack("cds", "*", "a")
    nonce = session.last["cds"].nonce
    assert session.ask("cds", "a", nonce=nonce) == []
    assert session.set(cds={"a": "1", "b": "2"}) == []
    assert session.set(cds={"a": "2", "b": "2"}) == ["send cds a=2"]
    session.ack("cds", "a")
    nonce = session.last["cds"].nonce
    assert session.ask("cds", "*", nonce=nonce) == ["send cds a=2 b=2"]


def test_rule_19_the_first_request_of_a_stream_is_answered_though_it_is_current() -> None:
    session = endpoints("a", a="1")
    old = session.last["eds"].nonce
    session.connect()
    assert session.ask("eds", "a", nonce=old) == ["send eds a=1"]


def test_rule_20_endpoints_are_sent_again_after_the_ack_that_was_awaited() -> None:
    session = Session(Mode.SOTW, cds={"a": "1", "b": "1"}, eds={"a": "1", "b": "1"})
    session.ask("cds")
    session.ack("cds")
    session.ask("eds", "a", "b")
    session.ack("eds", "a", "b")
    session.set(eds={"a": "1", "b": "2"})
    assert session.set(cds={"a": "2", "b": "1"}) == ["send cds a=2 b=1"]
    assert session.ack("eds", "a", "b") == ["acked eds", "send eds a=1"]


def test_rule_21_a_repeated_ack_is_a_question_and_is_answered() -> None:
    session = endpoints("a", "b", a="1", b="1")
    nonce = session.last["eds"].nonce
    assert session.ask("eds", "a", "b", nonce=nonce) == ["send eds a=1 b=1"]
    assert session.ask("eds", "a", "b", nonce=nonce) == []
    assert session.ack("eds", "a", "b") == ["acked eds"]


def test_rule_21_a_question_after_a_nack_does_not_bring_what_was_refused() -> None:
    session = endpoints("a", "b", a="1", b="1")
    session.set(eds={"a": "bad", "b": "1"})
    session.nack("eds", "a", "b")
    nonce = session.last["eds"].nonce
    assert session.ask("eds", "a", "b", nonce=nonce) == ["send eds b=1"]


def test_rule_22_names_that_are_gone_do_not_hold_up_the_rest() -> None:
    session = endpoints("a", "b", a="1", b="1")
    session.set(eds={"b": "1", "c": "1"})
    nonce = session.last["eds"].nonce
    assert session.ask("eds", "a", "b", "c", nonce=nonce) == ["send eds c=1"]


def test_a_client_that_names_clusters_gets_a_new_one_after_it_refused_another() -> None:
    session = Session(Mode.SOTW, cds={"a": "1", "b": "1"})
    session.ask("cds", "a")
    session.nack("cds", "a")
    nonce = session.last["cds"].nonce
    assert session.ask("cds", "a", "b", nonce=nonce) == ["send cds a=1 b=1"]
