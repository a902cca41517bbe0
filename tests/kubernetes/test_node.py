"""The node that stands in for a cluster's decides what Kubernetes says that it decides."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.kubernetes.node.container import environment, secrets_of
from tests.kubernetes.node.deployments import Replica, next_step, status, template_hash
from tests.kubernetes.node.slices import Member, slice_of


def deployment(
    replicas: int, surge: int | str, unavailable: int | str, image: str = "a"
) -> dict[str, Any]:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {
        "metadata": {"generation": 1},
        "spec": {
            "replicas": replicas,
            "strategy": {"rollingUpdate": rolling},
            "template": {"spec": {"containers": [{"image": image}]}},
        },
    }


@pytest.mark.parametrize(
    ("surge", "unavailable", "most", "fewest"),
    [(1, 0, 5, 4), (0, 1, 4, 3), ("25%", "25%", 5, 3), ("30%", 0, 6, 4), (0, 0, 4, 3)],
)
def test_a_rolling_update_ends_and_stays_within_its_bounds(
    surge: int | str, unavailable: int | str, most: int, fewest: int
) -> None:
    """Whenever pods become ready. 30 % of four is rounded up, 25 % of it is one either way, and of
    two zeros the second becomes one."""
    for seed in range(20):
        chance = random.Random(seed)
        wanted = deployment(4, surge, unavailable, "new")
        pods = {f"old-{i}": Replica(f"old-{i}", "old", True) for i in range(4)}
        for turn in range(200):
            step = next_step(wanted, list(pods.values()))
            for name in step.remove:
                del pods[name]
            for i in range(step.create):
                name = f"new-{turn}-{i}"
                pods[name] = Replica(name, template_hash(wanted), False)
            assert len(pods) <= most
            assert sum(one.ready for one in pods.values()) >= fewest
            for name, one in pods.items():
                if not one.ready and chance.random() < 0.3:
                    pods[name] = Replica(name, one.template, True)
        said = status(wanted, list(pods.values()))
        assert (said["replicas"], said["updatedReplicas"], said["readyReplicas"]) == (4, 4, 4)


def test_fewer_replicas_are_those_that_serve_nobody_first() -> None:
    wanted = deployment(1, 1, 0)
    newest = template_hash(wanted)
    pods = [Replica("a", newest, True), Replica("b", newest, False), Replica("c", newest, True)]
    assert set(next_step(wanted, pods).remove) == {"b", "a"}


def test_who_ends_serves_and_gets_nothing_new() -> None:
    """https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#conditions"""
    containers = ({"ports": [{"name": "http", "containerPort": 8080}]},)
    made = [
        Member(name, f"10.0.0.{i}", labels, containers, passes, ending)
        for i, (name, labels, passes, ending) in enumerate(
            [
                ("serves", {"app": "web", "more": "x"}, True, False),
                ("starts", {"app": "web"}, False, False),
                ("ends", {"app": "web"}, True, True),
                ("other", {"app": "mail"}, True, False),
            ]
        )
    ]
    service = {
        "metadata": {"name": "web", "namespace": "shop", "uid": "u"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
    }
    found = slice_of(service, made)
    assert found["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
    told = {one["targetRef"]["name"]: one["conditions"] for one in found["endpoints"]}
    assert told == {
        "serves": {"ready": True, "serving": True, "terminating": False},
        "starts": {"ready": False, "serving": False, "terminating": False},
        "ends": {"ready": False, "serving": True, "terminating": True},
    }


def test_a_container_has_its_variables_and_what_they_refer_to() -> None:
    labels = {"topology.kubernetes.io/zone": "a"}
    pod = {"metadata": {"name": "web-1", "namespace": "shop", "uid": "u", "labels": labels}}

    def of(path: str) -> dict[str, Any]:
        return {"fieldRef": {"fieldPath": path}}

    spec = {
        "env": [
            {"name": "POD", "valueFrom": of("metadata.name")},
            {"name": "AT", "valueFrom": of("status.podIP")},
            {"name": "ZONE", "valueFrom": of("metadata.labels['topology.kubernetes.io/zone']")},
            {"name": "RACK", "valueFrom": of("metadata.labels['rack']")},
            {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "own", "key": "word"}}},
            {"name": "BOTH", "value": "$(POD) in $(ZONE), not $(NOBODY), says $(WORD)"},
        ]
    }
    assert secrets_of(spec) == {"own"}
    secrets = {"own": {"data": {"word": "eWVz"}}}
    assert environment(spec, pod, "10.0.0.1", {"KUBERNETES_SERVICE_PORT": "443"}, secrets) == {
        "KUBERNETES_SERVICE_PORT": "443",
        "POD": "web-1",
        "AT": "10.0.0.1",
        "ZONE": "a",
        "RACK": "",
        "WORD": "yes",
        "BOTH": "web-1 in a, not $(NOBODY), says yes",
    }
