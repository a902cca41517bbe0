"""What clients can make the server remember, or look up, has bounds that they cannot move."""

from __future__ import annotations

from controlplane._pb.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
)
from controlplane.xds.aliases import Domains
from controlplane.xds.effects import Send
from controlplane.xds.envelope import MAX_TEXT, Decoder, response
from controlplane.xds.kinds import ENDPOINT, VIRTUAL_HOST
from controlplane.xds.memo import KEPT_BYTES
from controlplane.xds.steps import Mode
from controlplane.xds.versions import nothing_of
from tests.unit.xds.session import Session


def test_the_same_question_again_and_again_is_not_remembered_each_time() -> None:
    session = Session(Mode.DELTA, eds={"a": "1"})
    session.ask("eds", "a")
    for _ in range(1000):
        assert session.ack("eds", "a") == ["acked eds", "send eds a=1"]
        assert wire(session).nonce == session.last["eds"].nonce
    (step,) = {id(sent.step): sent.step for sent in session.sent[1:]}.values()
    assert step.wire.nonce == session.sent[-1].nonce


def test_a_long_list_that_is_amended_again_and_again_is_not_remembered_each_time() -> None:
    names = [str(number) for number in range(3000)]
    session = Session(Mode.DELTA, eds={"a": "1"})
    session.ask("eds", *names)
    for name in names[:300]:
        session.ack("eds", drop=[name])
        session.ask("eds", name)
    assert session.view()[ENDPOINT].memo.size <= KEPT_BYTES


def test_short_lists_of_many_clients_are_remembered() -> None:
    session = Session(Mode.SOTW, eds={"a": "1"})
    for number in range(1000):
        session.connect()
        session.ask("eds", "a", str(number))
    assert len(session.view()[ENDPOINT].memo) > 1000


def wire(session: Session) -> DeltaDiscoveryResponse:
    """What was sent last, as a client reads it."""
    return DeltaDiscoveryResponse.FromString(response(Mode.DELTA, session.sent[-1]))


def test_responses_with_ever_other_resources_are_not_all_kept() -> None:
    bodies = {str(number): "x" * 100_000 for number in range(40)}
    session = Session(Mode.DELTA, eds=bodies)
    for gone in bodies:
        session.connect()
        session.ask("eds", *(bodies.keys() - {gone}))
        response(Mode.DELTA, session.sent[-1])
    assert sum(len(sent.step.wire.raw) for sent in session.sent) <= KEPT_BYTES
    assert session.sent[-1].step.wire.raw


def test_of_a_type_that_the_snapshot_lacks_no_answer_is_kept() -> None:
    session = Session(Mode.SOTW, eds={})
    session.ask("vhds", "default/edge/a.example")
    response(Mode.SOTW, session.sent[-1])
    assert not session.sent[-1].step.wire.raw
    assert not len(nothing_of(VIRTUAL_HOST).memo)


def test_a_set_that_nobody_is_shown_any_more_keeps_no_answers() -> None:
    session = Session(Mode.SOTW, eds={"a": "1"})
    session.ask("eds", "a")
    response(Mode.SOTW, session.sent[-1])
    cache, old = session.cache, session.view()[ENDPOINT]
    cache.stage("group", {ENDPOINT: {"a": b"2"}}, share=0.5)
    assert len(old.memo)
    session.set(eds={"a": "3"})
    assert not len(old.memo)
    assert not session.sent[0].step.wire.raw


def test_requests_of_ever_other_names_are_not_all_remembered() -> None:
    read = Decoder(Mode.SOTW)
    for number in range(500):
        names = [f"{number:x}{each:x}" for each in range(1000)]
        raw = DiscoveryRequest(type_url=ENDPOINT, resource_names=names).SerializeToString()
        assert len(raw) < 16_384
        read.request(raw)
    assert sum(map(len, read._known)) <= 512 * 1024
    assert read.request(raw)[0] is read.request(raw)[0]


def test_of_a_long_refusal_the_beginning_is_kept() -> None:
    session = Session(Mode.DELTA, eds={"a": "1"})
    session.ask("eds", "a")
    sent = session.last["eds"]
    assert isinstance(sent, Send)
    refusal = DeltaDiscoveryRequest(type_url=ENDPOINT, response_nonce=sent.nonce)
    refusal.error_detail.message = "no" * 1_000_000
    request, _ = Decoder(Mode.DELTA).request(refusal.SerializeToString())
    session.stream.on_request(request)
    (status,) = session.stream.status()
    assert status.nack == "no" * (MAX_TEXT // 2)


class Counted(dict[str, str]):
    """Counts what is looked up in it."""

    lookups = 0

    def __contains__(self, key: object) -> bool:
        self.lookups += 1
        return super().__contains__(key)


def test_a_long_host_is_looked_up_no_more_often_than_domains_have_lengths() -> None:
    domains = Domains()
    for domain in ("*", "shop.example", "*.example", "*.a.test", "api.*"):
        domains.add(domain, domain)
    domains._names = counted = Counted(domains._names)
    assert domains.match("x" * 4000) == "*"
    assert counted.lookups <= 5
