"""What the log tells of the xDS address, and how little of it in a storm."""

from __future__ import annotations

from structlog.testing import capture_logs

from controlplane.front.journal import Journal
from controlplane.model import OVERLAY
from controlplane.telemetry.throttle import Throttle
from controlplane.xds.envelope import Node
from controlplane.xds.kinds import CLUSTER, ROUTE
from controlplane.xds.status import Connected, Event, Left, Nack, Refusal, Reload, UnknownType
from controlplane.xds.steps import Mode

NODE = Node("edge-1", "default/edge")


def lines(*events: Event) -> list[tuple[str, str]]:
    journal = Journal(Throttle(), lambda: 0.0)
    with capture_logs() as captured:
        for event in events:
            journal(event)
    return [(one["log_level"], one["event"]) for one in captured]


def test_who_comes_and_goes_is_news_and_what_goes_wrong_a_warning() -> None:
    assert lines(
        Connected(NODE, "default/edge", Mode.DELTA, "ipv4:127.0.0.1:1"),
        Left(NODE, "default/edge", 1.0),
        Reload("tls", ""),
    ) == [
        ("info", "a client connected"),
        ("info", "a client's stream ended"),
        ("info", "files are in force"),
    ]
    bad = lines(
        Nack(NODE, "default/edge", ROUTE, "1", "no such cluster"),
        Refusal(None, "", "UNAUTHENTICATED", "no certificate"),
        Reload("tls", "not a certificate"),
        UnknownType(NODE, "default/edge", "my.Type"),
        UnknownType(NODE, OVERLAY, CLUSTER),
    )
    assert {level for level, _ in bad} == {"warning"}
    assert len({words for _, words in bad}) == 5


def test_a_storm_is_a_few_lines_and_how_many_more_there_were() -> None:
    now_s = 0.0
    journal = Journal(Throttle(most=3, window_s=10.0), lambda: now_s)
    with capture_logs() as captured:
        for number in range(1000):
            journal(Connected(Node(f"envoy-{number}", "edge"), "default/edge", Mode.SOTW, ""))
        journal(Refusal(NODE, "", "PERMISSION_DENIED", "another kind has its own lines"))
        now_s = 11.0
        journal(Connected(NODE, "default/edge", Mode.SOTW, ""))
    assert [one.get("not_shown_before") for one in captured] == [None, None, None, None, 997]
    assert captured[3]["code"] == "PERMISSION_DENIED"
