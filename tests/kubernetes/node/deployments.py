"""What a Deployment does next: a rolling update, as a pure function.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#rolling-update-deployment
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
HASH = "pod-template-hash"


@dataclass(frozen=True, slots=True)
class Replica:
    """A pod of a Deployment that was not told to go."""

    name: str
    template: str
    """The hash of the template that it was made by."""
    ready: bool


@dataclass(frozen=True, slots=True)
class Step:
    """So many more of the newest template, and these no longer."""

    create: int = 0
    remove: tuple[str, ...] = ()


def template_hash(deployment: Object) -> str:
    """Equal templates have equal ones."""
    text = json.dumps(deployment["spec"]["template"], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def next_step(deployment: Object, replicas: Sequence[Replica]) -> Step:
    """Towards `spec`: never more than `replicas + maxSurge` at a time, and never, by its own doing,
    fewer ready ones than `replicas - maxUnavailable`.

    >>> both = {"spec": {"replicas": 1, "template": {}, "strategy": {"rollingUpdate":
    ...     {"maxSurge": 1, "maxUnavailable": 0}}}}
    >>> old, new = Replica("old", "x", True), Replica("new", template_hash(both), False)
    >>> next_step(both, [old]), next_step(both, [old, new])
    (Step(create=1, remove=()), Step(create=0, remove=()))
    """
    spec = deployment["spec"]
    wanted, newest = int(spec.get("replicas", 1)), template_hash(deployment)
    surge, unavailable = _bounds(spec, wanted)
    new = [one for one in replicas if one.template == newest]
    old = [one for one in replicas if one.template != newest]
    create = max(0, min(wanted - len(new), wanted + surge - len(replicas)))
    # Those that serve nobody go first; of the newest only what is too many.
    superfluous = sorted(new, key=lambda one: one.ready)[: max(0, len(new) - wanted)]
    may_go = sum(one.ready for one in replicas) - (wanted - unavailable)
    remove: list[str] = []
    for one in [*sorted(old, key=lambda one: one.ready), *superfluous]:
        if not one.ready:
            remove.append(one.name)
        elif may_go > 0:
            remove.append(one.name)
            may_go -= 1
    return Step(create, tuple(remove))


def status(deployment: Object, replicas: Sequence[Replica]) -> Object:
    """`status`, as `kubectl rollout status` and Helm read it."""
    wanted, newest = int(deployment["spec"].get("replicas", 1)), template_hash(deployment)
    ready = sum(one.ready for one in replicas)
    updated = sum(one.template == newest for one in replicas)
    complete = ready >= wanted and updated == len(replicas) == wanted
    progress = "NewReplicaSetAvailable" if complete else "ReplicaSetUpdated"
    return {
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": len(replicas),
        "updatedReplicas": updated,
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": max(0, wanted - ready),
        "conditions": [
            {"type": "Available", "status": "True" if ready >= wanted else "False"},
            {"type": "Progressing", "status": "True", "reason": progress},
        ],
    }


def _bounds(spec: Object, wanted: int) -> tuple[int, int]:
    """maxSurge, rounded up, and maxUnavailable, rounded down."""
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    surge = _of(rolling.get("maxSurge", "25%"), wanted, up=True)
    unavailable = _of(rolling.get("maxUnavailable", "25%"), wanted, up=False)
    return surge, unavailable if surge or unavailable else 1


def _of(given: int | str, wanted: int, *, up: bool) -> int:
    if isinstance(given, int):
        return given
    share = int(given.removesuffix("%")) * wanted / 100
    return math.ceil(share) if up else math.floor(share)
