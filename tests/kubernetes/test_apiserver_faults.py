"""What can be made to go wrong does, and is over when it should be."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.kubernetes.apiserver import ApiServer

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def http(api_server: ApiServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api_server.url, timeout=10.0) as client:
        yield client


def make(http: httpx.Client, name: str) -> dict[str, Any]:
    made: dict[str, Any] = http.post(MAPS, json={"metadata": {"name": name}}).json()
    return made


def names(http: httpx.Client, **params: str) -> list[str]:
    return [one["metadata"]["name"] for one in http.get(MAPS, params=params).json()["items"]]


def test_a_refusal_counts_down(http: httpx.Client, api_server: ApiServer) -> None:
    api_server.faults.throttle(retry_after_s=2, verbs=["list"], times=2)
    api_server.faults.fail(verbs=["create"])
    for _ in range(2):
        answer = http.get(MAPS)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
    assert http.get(MAPS).status_code == 200
    assert http.post(MAPS, json={"metadata": {"name": "a"}}).status_code == 500
    assert http.post(MAPS, json={"metadata": {"name": "a"}}).status_code == 201


def test_a_conflict_can_be_had_for_one_resource(http: httpx.Client, api_server: ApiServer) -> None:
    one = make(http, "a")
    rule = api_server.faults.conflict(resource="configmaps")
    assert http.put(f"{MAPS}/a", json=one).json()["reason"] == "Conflict"
    assert http.put(f"{MAPS}/a", json=one).status_code == 200
    assert rule.met == 1


def test_calls_are_counted_by_verb_and_resource(http: httpx.Client, api_server: ApiServer) -> None:
    make(http, "a")
    http.get(MAPS)
    http.get(f"{MAPS}/a")
    http.get(f"{MAPS}/b")
    calls = api_server.calls
    assert calls.table() == {
        ("create", "configmaps"): 1,
        ("list", "configmaps"): 1,
        ("get", "configmaps"): 2,
    }
    assert calls.count("get") == 2
    assert calls.recent[-1].name == "b"


def test_a_watch_cut_short_ends_within_a_line(http: httpx.Client, api_server: ApiServer) -> None:
    make(http, "a")
    with http.stream("GET", MAPS, params={"watch": "true"}) as answer:
        lines = answer.iter_lines()
        assert json.loads(next(lines))["type"] == "ADDED"
        api_server.drop_watches(cut_short=True)
        with pytest.raises((httpx.RemoteProtocolError, json.JSONDecodeError)):
            json.loads(next(lines))


def test_a_stalled_watch_says_nothing_until_it_goes_on(
    http: httpx.Client, api_server: ApiServer
) -> None:
    make(http, "a")
    start = http.get(MAPS).json()["metadata"]["resourceVersion"]
    with http.stream("GET", MAPS, params={"watch": "true", "resourceVersion": start}) as answer:
        api_server.faults.stalled = True
        make(http, "b")
        assert names(http) == ["a", "b"]
        api_server.faults.clear()
        assert json.loads(next(answer.iter_lines()))["object"]["metadata"]["name"] == "b"


def test_connections_are_refused_and_everything_is_still_there(
    http: httpx.Client, api_server: ApiServer
) -> None:
    make(http, "a")
    api_server.refuse_connections()
    with httpx.Client(base_url=api_server.url) as other, pytest.raises(httpx.ConnectError):
        other.get(MAPS)
    api_server.accept_connections()
    with httpx.Client(base_url=api_server.url) as other:
        assert names(other) == ["a"]


def test_stale_lists_are_old_unless_the_newest_is_asked_for(
    http: httpx.Client, api_server: ApiServer
) -> None:
    make(http, "a")
    api_server.stale_lists()
    make(http, "b")
    assert names(http, resourceVersion="0") == ["a"]
    assert names(http) == ["a", "b"]
    api_server.faults.clear()
    assert names(http, resourceVersion="0") == ["a", "b"]


def test_a_clock_that_is_wrong(http: httpx.Client, api_server: ApiServer) -> None:
    api_server.faults.skew_s = 3600.0
    stamp = make(http, "a")["metadata"]["creationTimestamp"]
    ahead = datetime.datetime.fromisoformat(stamp) - datetime.datetime.now(datetime.UTC)
    assert ahead > datetime.timedelta(minutes=50)


def test_revisions_of_the_future_are_not_there_yet(http: httpx.Client) -> None:
    answer = http.get(MAPS, params={"resourceVersion": "100000"})
    assert (answer.status_code, answer.json()["reason"]) == (504, "Timeout")
