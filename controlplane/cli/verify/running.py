"""What the replicas say of themselves: ready, of this version, with Envoys that took everything."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from controlplane.cli.admin import ControlPlane, NotThere, Replica, page
from controlplane.cli.status import connected
from controlplane.cli.verify.check import Check, fail, ok, some, warn
from controlplane.errors import WeirError

_DAY_S = 86_400.0


def checks(
    weir: ControlPlane, version: str, now: datetime.datetime, days: float
) -> Iterator[Check]:
    """All of them; what cannot be asked is one that says so."""
    for one in weir.replicas:
        yield from _replica(one, version, now, days)
    for looked in (envoys, objects):
        try:
            yield from looked(weir)
        except WeirError as error:
            yield fail(looked.__name__, str(error), "look at the log of that replica")


def _replica(
    replica: Replica, version: str, now: datetime.datetime, days: float
) -> Iterator[Check]:
    name = replica.pod or replica.address
    try:
        page(replica.address, "/readyz", None, replica.deadline_s)
    except WeirError as error:
        yield fail("ready", f"{name}: {error}", "look at its log")
        return
    yield ok("ready", name)
    try:
        theirs = str(replica.ask("/v1/about")["version"])
    except NotThere:
        theirs = "so old that it does not say"
    except (WeirError, LookupError, TypeError) as error:
        yield warn("version", f"{name} does not say: {error}", "look at its log")
        theirs = version
    if theirs != version:
        yield warn("version", f"{name} is {theirs}, this weir is {version}", "upgrade the older")
    try:
        yield from certificates(_metrics(replica), name, now, days)
    except (WeirError, ValueError) as error:
        yield warn("certificates", f"those of {name} could not be looked at: {error}", "")


def _metrics(replica: Replica) -> str:
    return page(replica.address, "/metrics", None, replica.deadline_s).decode(errors="replace")


def certificates(metrics: str, name: str, now: datetime.datetime, days: float) -> Iterator[Check]:
    """That of the xDS address, and those that Envoys show and believe, by the metrics of a
    replica."""
    left: dict[str, float] = {}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name == "weir_xds_certificate_expiry_seconds":
                left[f"of the xDS address of {name}"] = sample.value / _DAY_S
            elif sample.name == "weir_certificate_expiry_timestamp_seconds":
                what = (
                    f"{sample.labels['entry']} of {sample.labels['kind']} {sample.labels['object']}"
                )
                left[what] = (sample.value - now.timestamp()) / _DAY_S
    ended = [what for what, remaining in left.items() if remaining <= 0]
    near = [f"{what} ({left[what]:.0f} days)" for what in left if 0 < left[what] < days]
    renew = "renew them: docs/operations.md"
    if ended:
        yield fail("certificates", f"ended: {some(ended)}", renew)
    if near:
        yield warn("certificates", f"end soon: {some(near)}", renew)
    if left and not (ended or near):
        yield ok("certificates", f"{name}: all {len(left)} have more than {days:g} days")


def envoys(weir: ControlPlane) -> Iterator[Check]:
    """Some are connected, and none refuses what it should run."""
    found = connected(weir)
    refusing = [
        f"{one['node']} ({kind}: {each['nacked']})"
        for one in found
        for kind, each in one["types"].items()
        if each["nacked"]
    ]
    if refusing:
        yield fail("envoys", f"refuse: {some(refusing, 3)}", "weir proxy-status ENVOY")
    elif not found:
        yield warn("envoys", "none is connected", "see the notes of `helm get notes`")
    else:
        fleets = sorted({str(one["fleet"]) for one in found})
        yield ok("envoys", f"{len(found)} connected, of {some(fleets)}")


def objects(weir: ControlPlane) -> Iterator[Check]:
    """What is declared is valid, and in force."""
    problems: Sequence[dict[str, Any]] = weir.ask("/v1/problems")
    if problems:
        told = some((f"{one['object'] or one['file']}: {one['message']}" for one in problems), 3)
        yield warn("objects", f"refused: {told}", "weir status")
    found: Sequence[dict[str, Any]] = weir.ask("/v1/status")
    wrong = [
        f"{one['kind']} {one['name']}: {each['type']} is False, {each['reason']}"
        for one in found
        for each in one["conditions"]
        if each["status"] is False
    ]
    if wrong:
        yield warn("objects", some(wrong, 3), "weir status")
    if not (problems or wrong):
        yield ok("objects", f"{len(found)} declared, none with a condition that is False")
