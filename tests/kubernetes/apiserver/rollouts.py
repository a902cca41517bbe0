"""Workloads that are ready as soon as they are wanted: what `--wait` of Helm and `kubectl rollout
status` look for. No pod is made and nothing runs.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#complete-deployment
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.kubernetes.apiserver.errors import Object


def _condition(kind: str, reason: str, now: str) -> Object:
    times = {"lastTransitionTime": now, "lastUpdateTime": now}
    return {"type": kind, "status": "True", "reason": reason, "message": reason, **times}


def _deployment(one: Object, now: str) -> Object:
    number = one["spec"].get("replicas", 1)
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    return {
        "observedGeneration": one["metadata"]["generation"],
        **dict.fromkeys(names, number),
        "conditions": [
            _condition("Available", "MinimumReplicasAvailable", now),
            _condition("Progressing", "NewReplicaSetAvailable", now),
        ],
    }


def _daemon_set(one: Object, now: str) -> Object:
    del now
    names = ("desiredNumberScheduled", "currentNumberScheduled", "updatedNumberScheduled")
    more = ("numberReady", "numberAvailable")
    return {
        "observedGeneration": one["metadata"]["generation"],
        **dict.fromkeys((*names, *more), 1),
        "numberMisscheduled": 0,
    }


def _job(one: Object, now: str) -> Object:
    del one
    done = {"type": "Complete", "status": "True", "lastTransitionTime": now}
    return {"succeeded": 1, "startTime": now, "completionTime": now, "conditions": [done]}


def _pod(one: Object, now: str) -> Object:
    if one["spec"].get("restartPolicy") == "Never":
        return {"phase": "Succeeded", "startTime": now}
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": now}
    return {"phase": "Running", "startTime": now, "conditions": [ready]}


_READY: Mapping[str, Callable[[Object, str], Object]] = {
    "deployments.apps": _deployment,
    "statefulsets.apps": _deployment,
    "daemonsets.apps": _daemon_set,
    "jobs.batch": _job,
    "pods": _pod,
}


def settled(resource: str, one: Object, now: str) -> Object | None:
    """The object with its status, where there is something to say that was not said."""
    ready = _READY.get(resource)
    if ready is None or one["metadata"].get("deletionTimestamp"):
        return None
    seen = (one.get("status") or {}).get("observedGeneration")
    if seen == one["metadata"].get("generation") or (seen is None and one.get("status")):
        return None
    return {**one, "status": ready(one, now)}
