"""What a TrafficPolicy takes, and what is said of what it does not take."""

from __future__ import annotations

import pytest

from controlplane.resources.traffic_policy import TrafficPolicy
from tests.envoy.edge import backend, gateway, policy, route, to
from tests.unit.resources.documents import joined, read

BASE = (
    gateway("name: http, port: 80, protocol: HTTP"),
    backend("a", 1),
    backend("b", 2),
    route("a", f"[{{name: both, {to('a', 'b')}}}, {{{to('a')}}}]"),
)


def faults(spec: str, target: str = "HTTPRoute/a") -> list[tuple[str, str, str]]:
    """Field, message and advice of what is wrong."""
    made = policy("TrafficPolicy", "p", target, f"  {spec}\n")
    problems = read({"a.yaml": joined(*BASE, made)}).problems
    assert all(one.file == "a.yaml" and one.line > 0 for one in problems)
    return [(one.field, one.message, one.advice) for one in problems]


TCP = "healthCheck: {active: {type: TCP, tcp: "
HTTP = "healthCheck: {active: {type: HTTP, http: "
HASH = "loadBalancer: {type: ConsistentHash, consistentHash: "


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        ("circuitBreaker: {maxConnections: 0}", "circuitBreaker.maxConnections", "equal to 1"),
        (
            "circuitBreaker: {maxParallelRetries: 3, retryBudget: {budgetPercent: 10}}",
            "circuitBreaker",
            "both bound retries",
        ),
        ("circuitBreaker: {retryBudget: {budgetPercent: 101}}", "", "100"),
        ("tcpKeepalive: {idleTime: 1500ms}", "tcpKeepalive", "whole seconds"),
        ("timeout: {tcp: {connectTimeout: 0s}}", "timeout.tcp.connectTimeout", "0.001"),
        ("timeout: {http: {requestTimeout: 5}}", "timeout.http.requestTimeout", "a duration"),
        ("connection: {bufferLimit: 1}", "connection.bufferLimit", "1024"),
        ("healthCheck: {active: {type: HTTP}}", "healthCheck.active", "http is given"),
        ("healthCheck: {active: {type: Thrift}}", "healthCheck.active.type", "not taken"),
        ("healthCheck: {active: {type: GRPC, tcp: {}}}", "healthCheck.active", "type TCP alone"),
        ("healthCheck: {active: {type: TCP, redis: {}}}", "healthCheck.active", "type Redis"),
        (TCP + "{send: {type: Binary, text: x}}}}", "", "type Text has text alone"),
        (TCP + "{send: {type: Binary, binary: '!'}}}}", "", "bytes in base64"),
        (HTTP + "{path: /, method: HEAD, expectedResponse: {text: x}}}}", "", "has no body"),
        (
            HTTP + "{path: /, requestHeaders: [{name: a, value: b}, {name: A, value: c}]}}}",
            "",
            "a is written twice",
        ),
        (TCP + "{receive: {text: x}}}}", "healthCheck.active.tcp", "receive needs send"),
        (HTTP + "{path: healthz}}}", "healthCheck.active.http.path", "begins with '/'"),
        (HTTP + "{path: /, expectedStatuses: [200, 200]}}}", "", "200 is written twice"),
        (HTTP + "{path: /, method: CONNECT}}}", "healthCheck.active.http.method", "not taken"),
        ("healthCheck: {panicThreshold: 101}", "healthCheck.panicThreshold", "100"),
        ("loadBalancer: {type: RoundRobin}", "loadBalancer.type", '"RoundRobin" is not taken'),
        (
            "loadBalancer: {type: LeastRequest, slowStart: {window: 10s}}",
            "loadBalancer",
            "guard.warmup of a BalancingPolicy",
        ),
        ("loadBalancer: {type: ConsistentHash}", "loadBalancer", "consistentHash is given"),
        (HASH + "{type: Header}}", "loadBalancer.consistentHash", "header is given"),
        (HASH + "{type: SourceIP, tableSize: 1000}}", "loadBalancer.consistentHash", "no prime"),
        ("retry: {retryOn: {triggers: [retriable-status-codes]}}", "", "needs httpStatusCodes"),
        ("retry: {retryOn: {triggers: [5xxx]}}", "retry.retryOn.triggers[0]", "not taken"),
        ("retry: {perRetry: {backOff: {baseInterval: 1s, maxInterval: 1ms}}}", "", "at least"),
        ("retry: {hedgeOnPerTryTimeout: true}", "retry", "needs perRetry.timeout"),
        ("faultInjection: {}", "faultInjection", "delay, abort or both"),
        ("faultInjection: {abort: {httpStatus: 500, grpcStatus: 1}}", "", "exactly one"),
        ("faultInjection: {delay: {fixedDelay: 1h}}", "", "300"),
        ("admissionControl: {aggression: 0}", "admissionControl.aggression", "1"),
        (
            "responseOverride: [{match: {statusCodes: []}, response: {body: {inline: x}}}]",
            "",
            "one",
        ),
        ("sessionPersistence: {strict: 1}", "sessionPersistence.strict", "true or false"),
    ],
)
def test_what_does_not_fit_is_refused_where_it_stands(spec: str, field: str, words: str) -> None:
    ((where, message, advice), *_) = faults(spec)
    assert field in where
    assert words in f"{message} {advice}"


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("retry: {}", "retry"),
        ("requestBuffer: {limit: 1}", "requestBuffer"),
        ("sessionPersistence: {}", "sessionPersistence"),
        ("timeout: {http: {requestTimeout: 1s}}", "timeout.http.requestTimeout"),
    ],
)
def test_what_is_of_requests_is_not_said_of_a_backend(spec: str, word: str) -> None:
    ((_, message, _),) = faults(spec, "Backend/a")
    assert message.startswith(f"{word} says something of requests")


def test_sessions_that_a_rule_cannot_keep_are_reported() -> None:
    ((field, message, _),) = faults("sessionPersistence: {}")
    assert field == "spec.sessionPersistence"
    assert message == "rule 0 of default/a has several Backends; it keeps no sessions"
    assert not faults("sessionPersistence: {}", "Gateway/edge")


def test_a_policy_that_says_nothing_is_taken() -> None:
    made = policy("TrafficPolicy", "p", "HTTPRoute/a", "")
    loaded = read({"a.yaml": joined(*BASE, made)})
    assert not loaded.problems
    assert list(loaded.declared.all(TrafficPolicy)) == ["default/p"]


ASKED = "healthCheck: {active: {type: GRPC}}"


def test_who_is_spoken_to_in_http_1_is_not_asked_by_grpc_and_it_is_told() -> None:
    (first, second) = faults(ASKED)
    field, message, advice = first
    assert field == "spec.healthCheck.active"
    assert "Backend default/a is spoken to in HTTP/1.1" in message
    assert "appProtocols: [kubernetes.io/h2c]" in advice
    assert "Backend default/b" in second[1]


def test_who_answers_calls_or_says_h2c_is_asked_by_grpc() -> None:
    made = policy("TrafficPolicy", "p", "Gateway/edge", f"  {ASKED}\n")
    spoken = [
        backend("a", 1).replace("spec: {", "spec: {appProtocols: [kubernetes.io/h2c], "),
        backend("b", 2),
        backend("away", 3),
        route("a", f"[{{{to('a')}}}]", hosts="[a.test]"),
        route("b", f"[{{{to('b')}}}]", hosts="[b.test]").replace("HTTPRoute", "GRPCRoute"),
    ]
    assert read({"a.yaml": joined(BASE[0], *spoken, made)}).problems == ()
