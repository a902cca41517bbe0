"""What clients can make the server remember, or look up, has bounds that they cannot move."""

from __future__ import annotations

from controlplane._pb.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from controlplane.xds.aliases import Domains
from controlplane.xds.effects import Send
from controlplane.xds.envelope import MAX_TEXT, Decoder, response
from controlplane.xds.kinds import ENDPOINT
from controlplane.xds.steps import Mode, Position
from tests.unit.xds.session import Session


def test_the_same_question_again_and_again_is_not_remembered_each_time() -> None:
    session = Session(Mode.DELTA, eds={"a": "1"})
    session.ask("eds", "a")
    for _ in range(1000):
        assert session.ack("eds", "a") == ["acked eds", "send eds a=1"]
        response(Mode.DELTA, session.last["eds"])
    (step,) = {id(sent.step): sent.step for sent in session.sent[1:]}.values()
    assert len(step.encoded) <= 16


def test_a_long_list_that_is_amended_again_and_again_is_not_remembered_each_time() -> None:
    names = [str(number) for number in range(3000)]
    session = Session(Mode.DELTA, eds={"a": "1"})
    session.ask("eds", *names)
    for name in names[:300]:
        session.ack("eds", drop=[name])
        session.ask("eds", name)
    memo = session.view()[ENDPOINT].memo
    kept = [position for position in memo if isinstance(position, Position)]
    assert sum(len(one.wants.names) + len(one.has.by_name) for one in kept) < 300_000


def test_short_lists_of_many_clients_are_remembered() -> None:
    session = Session(Mode.SOTW, eds={"a": "1"})
    for number in range(1000):
        session.connect()
        session.ask("eds", "a", str(number))
    assert len(session.view()[ENDPOINT].memo) > 1000


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
