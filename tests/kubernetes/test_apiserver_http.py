"""The test server over bare HTTP: what no client shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.kubernetes import samples
from tests.kubernetes.apiserver import ApiServer

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def http(api_server: ApiServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api_server.url, timeout=10.0) as client:
        yield client


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"n": name}}, "data": data}


def test_an_object_lives_its_life(http: httpx.Client) -> None:
    made = http.post(MAPS, json=config_map("a", x="1"))
    assert made.status_code == 201
    first = made.json()
    assert first["metadata"]["uid"]
    assert http.post(MAPS, json=config_map("a")).json()["reason"] == "AlreadyExists"
    changed = http.put(f"{MAPS}/a", json={**first, "data": {"x": "2"}})
    assert changed.status_code == 200
    stale = http.put(f"{MAPS}/a", json=first)
    assert (stale.status_code, stale.json()["reason"]) == (409, "Conflict")
    assert http.get(f"{MAPS}/a").json()["data"] == {"x": "2"}
    assert http.delete(f"{MAPS}/a").json()["status"] == "Success"
    assert http.get(f"{MAPS}/a").status_code == 404


def test_pages_show_one_moment(http: httpx.Client) -> None:
    for name in "abcde":
        http.post(MAPS, json=config_map(name))
    page = http.get(MAPS, params={"limit": 2}).json()
    http.delete(f"{MAPS}/d")
    http.post(MAPS, json=config_map("bb"))
    names = [one["metadata"]["name"] for one in page["items"]]
    assert page["metadata"]["remainingItemCount"] == 3
    while token := page["metadata"].get("continue"):
        page = http.get(MAPS, params={"limit": 2, "continue": token}).json()
        names += [one["metadata"]["name"] for one in page["items"]]
    assert names == list("abcde")


def test_a_page_after_a_compaction_is_410(http: httpx.Client, api_server: ApiServer) -> None:
    for name in "abc":
        http.post(MAPS, json=config_map(name))
    token = http.get(MAPS, params={"limit": 1}).json()["metadata"]["continue"]
    api_server.compact()
    assert http.get(MAPS, params={"limit": 1, "continue": token}).status_code == 410


def watched(http: httpx.Client, **params: str) -> list[tuple[str, str]]:
    """Types and names of a watch until it ends."""
    found = []
    with http.stream("GET", MAPS, params={"watch": "true", **params}) as answer:
        for line in answer.iter_lines():
            event = json.loads(line)
            meta = event["object"].get("metadata", {})
            found.append((event["type"], meta.get("name", str(event["object"].get("code", "")))))
    return found


def test_what_leaves_a_selection_is_deleted(http: httpx.Client) -> None:
    start = http.get(MAPS).json()["metadata"]["resourceVersion"]
    http.post(MAPS, json=config_map("a"))
    http.patch(
        f"{MAPS}/a",
        json={"metadata": {"labels": {"n": "z"}}},
        headers={"content-type": "application/merge-patch+json"},
    )
    seen = watched(http, resourceVersion=start, labelSelector="n=a", timeoutSeconds="1")
    assert seen == [("ADDED", "a"), ("DELETED", "a")]


def test_a_watch_from_a_compacted_revision_is_told_410(
    http: httpx.Client, api_server: ApiServer
) -> None:
    start = http.get(MAPS).json()["metadata"]["resourceVersion"]
    http.post(MAPS, json=config_map("a"))
    api_server.compact()
    assert watched(http, resourceVersion=start, timeoutSeconds="5") == [("ERROR", "410")]


def test_initial_events_end_with_a_bookmark(http: httpx.Client) -> None:
    http.post(MAPS, json=config_map("a"))
    seen = watched(
        http,
        sendInitialEvents="true",
        resourceVersionMatch="NotOlderThan",
        allowWatchBookmarks="true",
        timeoutSeconds="1",
    )
    assert [kind for kind, _ in seen] == ["ADDED", "BOOKMARK", "BOOKMARK"]


def test_what_has_lost_its_owner_goes_unless_it_is_to_stay(http: httpx.Client) -> None:
    for name, policy, left in (("a", "Background", 404), ("b", "Orphan", 200)):
        owner = http.post(MAPS, json=config_map(name)).json()
        child = config_map(f"{name}-child")
        child["metadata"]["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": owner["metadata"]["uid"]}
        ]
        http.post(MAPS, json=child).raise_for_status()
        options = {"propagationPolicy": policy}
        http.request("DELETE", f"{MAPS}/{name}", json=options).raise_for_status()
        assert http.get(f"{MAPS}/{name}-child").status_code == left


def test_a_write_that_changes_nothing_has_no_revision(http: httpx.Client) -> None:
    first = http.post(MAPS, json=config_map("a", x="1")).json()
    same = http.put(f"{MAPS}/a", json=first).json()
    assert same == first
    changed = http.put(f"{MAPS}/a", json={**first, "data": {"x": "2"}}).json()
    assert changed["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
    assert changed["metadata"]["uid"] == first["metadata"]["uid"]


def test_preconditions_of_a_delete(http: httpx.Client) -> None:
    one = http.post(MAPS, json=config_map("a")).json()
    wrong = {"preconditions": {"uid": "another"}}
    assert http.request("DELETE", f"{MAPS}/a", json=wrong).status_code == 409
    right = {"preconditions": {"uid": one["metadata"]["uid"]}}
    assert http.request("DELETE", f"{MAPS}/a", json=right).status_code == 200


def test_a_generated_name_is_new_each_time(http: httpx.Client) -> None:
    body = {"metadata": {"generateName": "a-"}}
    names = {http.post(MAPS, json=body).json()["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("a-") for name in names)


def test_what_a_program_of_another_version_sends_is_told(http: httpx.Client) -> None:
    assert http.get("/apis/apps/v1beta1/deployments").status_code == 404
    assert http.get("/api/v1/namespaces/default/nodes").status_code == 404
    assert http.put("/api/v1/namespaces/default/pods", json={}).status_code == 405
    strange = {"content-type": "text/plain"}
    assert http.post(MAPS, content="x", headers=strange).status_code == 415
    assert http.post("/api/v1/namespaces/none/configmaps", json=config_map("a")).status_code == 404
    other = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}
    assert http.post(MAPS, json=other).status_code == 400


def test_a_watch_ends_with_its_kind(http: httpx.Client) -> None:
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    http.post(definitions, json=samples.DEFINITION).raise_for_status()
    widgets = "/apis/test.weir.dev/v1/namespaces/default/widgets"
    http.post(widgets, json=samples.widget("a")).raise_for_status()
    with http.stream("GET", widgets, params={"watch": "true"}) as answer:
        lines = answer.iter_lines()
        assert json.loads(next(lines))["type"] == "ADDED"
        with httpx.Client(base_url=http.base_url) as other:
            other.delete(f"{definitions}/{samples.NAME}").raise_for_status()
            assert other.get(widgets).status_code == 404
        assert [json.loads(line)["type"] for line in lines] == ["DELETED"]
