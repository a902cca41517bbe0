"""What the cluster brings: its version, and the definitions of the kinds that Weir follows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controlplane.cli.kubectl import ClusterError, Kubectl
from controlplane.cli.verify.check import Check, fail, ok, some, warn
from controlplane.kubernetes.resource import Resource, served, wanted
from controlplane.resources.crds import definitions
from controlplane.resources.kinds import GATEWAY_API_GROUP, group_of, kind_of, versions_of

OLDEST = (1, 28)
"""Of Kubernetes: `kubeVersion` of the chart."""
GATEWAY_API = (1, 4)
"""The bundle of the Gateway API that Weir is made for: docs/gateway-api.md."""
_EXPERIMENTAL = ("TCPRoute", "UDPRoute", "TLSRoute")
"""Not in the standard channel of every bundle; who uses none of them needs none."""
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_BUNDLE = "gateway.networking.k8s.io/bundle-version"
_INSTALL = (
    "kubectl apply --server-side -f https://github.com/kubernetes-sigs/gateway-api/releases/"
    "download/v1.4.0/standard-install.yaml"
)
_OURS = "weir crds | kubectl apply --server-side -f -"


def version(kubectl: Kubectl) -> Check:
    """Of the API server. Raises `ClusterError` where nobody answers: then nothing can be looked
    at."""
    found = str(kubectl.get("/version").get("gitVersion", ""))
    parsed = version_of(found)
    if parsed is None:
        return warn("kubernetes", f"it says of itself {found!r}", "look at `kubectl version`")
    if parsed < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return fail("kubernetes", f"it is {found}", f"Weir wants Kubernetes {oldest} or later")
    return ok("kubernetes", found)


def version_of(text: str) -> tuple[int, int] | None:
    """
    >>> version_of("v1.33.2-gke.100"), version_of("1.4"), version_of("dev")
    ((1, 33), (1, 4), None)
    """
    found = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def resources(kubectl: Kubectl) -> dict[str, Resource]:
    """The kinds that Weir follows and the cluster serves. Raises `ClusterError`."""
    models = tuple(wanted(False))
    lists: dict[str, Any] = {}
    for api in sorted({api for model in models for api in versions_of(model)}):
        try:
            lists[api] = kubectl.get(f"/apis/{api}" if "/" in api else f"/api/{api}")
        except ClusterError as error:
            if not error.missing:
                raise
    found = {kind_of(model): served(model, lists) for model in models}
    return {kind: one for kind, one in found.items() if one is not None}


def gateway_api(kubectl: Kubectl, there: Mapping[str, Resource]) -> Iterator[Check]:
    """Its kinds are served, by a bundle that is new enough."""
    name = "gateway-api"
    every = [kind_of(one) for one in wanted(False) if group_of(one) == GATEWAY_API_GROUP]
    missing = [one for one in every if one not in there]
    if "Gateway" in missing:
        yield fail(name, "its definitions are not installed", _INSTALL)
        return
    lacking = [one for one in missing if one not in _EXPERIMENTAL]
    if lacking:
        yield warn(name, f"not served: {some(lacking)}", _INSTALL)
    crd = kubectl.get(f"{_CRDS}/gateways.{GATEWAY_API_GROUP}")
    bundle = str((crd["metadata"].get("annotations") or {}).get(_BUNDLE, ""))
    parsed = version_of(bundle)
    without = [one for one in missing if one in _EXPERIMENTAL]
    note = f", without {some(without)}" if without else ""
    if parsed is None:
        yield warn(name, "its definitions do not say of which bundle they are", _INSTALL)
    elif parsed < GATEWAY_API:
        yield warn(name, f"bundle {bundle} is older than the one Weir is made for", _INSTALL)
    elif not lacking:
        yield ok(name, f"bundle {bundle}{note}")


def own(kubectl: Kubectl) -> Iterator[Check]:
    """Our definitions are there, established, and those of this very version."""
    missing, waiting, different = list[str](), list[str](), list[str]()
    made = definitions()
    for ours in made:
        name = str(_metadata(ours)["name"])
        try:
            theirs = kubectl.get(f"{_CRDS}/{name}")
        except ClusterError as error:
            if not error.missing:
                raise
            missing.append(name)
            continue
        conditions = (theirs.get("status") or {}).get("conditions") or ()
        if not any(one["type"] == "Established" and one["status"] == "True" for one in conditions):
            waiting.append(name)
        if not covers(theirs["spec"], ours["spec"]):
            different.append(name)
    if missing:
        yield fail("definitions", f"not installed: {some(missing)}", _OURS)
    if waiting:
        advice = f"kubectl describe crd {waiting[0]}"
        yield fail("definitions", f"not established: {some(waiting)}", advice)
    if different:
        yield warn("definitions", f"of another version than this weir: {some(different)}", _OURS)
    if not (missing or waiting or different):
        yield ok("definitions", f"{len(made)} of weir.dev, all of this version")


def covers(theirs: object, ours: object) -> bool:
    """Whether all of ours is in theirs, to which a server adds its defaults, and of which it leaves
    out what is empty.

    >>> covers({"a": 1, "b": [1]}, {"a": 1, "c": False}), covers([1, 2], [1])
    (True, False)
    """
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        return all(covers(theirs.get(name), one) for name, one in ours.items())
    if _listed(ours) and _listed(theirs):
        pairs = zip(theirs, ours, strict=False)  # type: ignore[call-overload]
        return len(theirs) == len(ours) and all(covers(*pair) for pair in pairs)  # type: ignore[arg-type]
    return theirs == ours or (theirs is None and not ours)


def _listed(one: object) -> bool:
    return isinstance(one, Sequence) and not isinstance(one, (str, bytes))


def _metadata(one: Mapping[str, object]) -> Mapping[str, Any]:
    found = one["metadata"]
    assert isinstance(found, Mapping)
    return found


def checks(kubectl: Kubectl, there: Mapping[str, Resource]) -> Iterator[Check]:
    """All of these but the version."""
    yield from gateway_api(kubectl, there)
    yield from own(kubectl)
