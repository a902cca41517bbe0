"""Whether Weir may do what it does, by asking the API server about its service account."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from controlplane.cli.installed import LEASE
from controlplane.cli.kubectl import ClusterError, Kubectl
from controlplane.cli.verify.check import Check, fail, ok, some, warn
from controlplane.kubernetes.resource import CLUSTER_WIDE, EVENTS, LEASES, Resource

_WITH_STATUS = ("gateway.networking.k8s.io", "weir.dev")
_READ_ONLY = ("ReferenceGrant",)


class Right(NamedTuple):
    """Something that Weir does."""

    verb: str
    group: str
    resource: str
    part: str = ""
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        what = f"{self.resource}/{self.part}" if self.part else self.resource
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {what}{where}"


def needed(there: Mapping[str, Resource], options: Mapping[str, str], home: str) -> Iterator[Right]:
    """What Weir does with the kinds that are served, by the options (`--namespace`) that it runs
    with. `home`: where it is itself."""
    namespace = options.get("--namespace", "")
    for kind, one in sorted(there.items()):
        if namespace and kind in CLUSTER_WIDE:
            continue
        group = _group(one)
        for verb in ("list", "watch"):
            yield Right(verb, group, one.plural, namespace=namespace)
        if group in _WITH_STATUS and kind not in _READ_ONLY:
            yield Right("get", group, one.plural, namespace=namespace)  # who was faster
            yield Right("patch", group, one.plural, "status", namespace)
    yield Right("create", _group(EVENTS), EVENTS.plural, namespace=namespace)
    yield Right("create", _group(LEASES), LEASES.plural, namespace=home)
    for verb in ("get", "update"):
        yield Right(verb, _group(LEASES), LEASES.plural, namespace=home, name=LEASE)
    if "--webhook-address" in options and "--webhook-cert" not in options:
        yield from _certified(options.get("--webhook-configuration", "weir"), home)


def _certified(configuration: str, home: str) -> Iterator[Right]:
    """It makes the certificate of its webhook itself, and tells the API server of the CA."""
    for verb in ("get", "patch"):
        group = "admissionregistration.k8s.io"
        yield Right(verb, group, "validatingwebhookconfigurations", name=configuration)
    for verb in ("get", "update"):
        yield Right(verb, "", "secrets", namespace=home, name=f"{configuration}-webhook")


def check(kubectl: Kubectl, account: str, home: str, rights: Sequence[Right]) -> Check:
    """Of the service account `account` in `home`. Raises `ClusterError`."""
    user = f"system:serviceaccount:{home}:{account}"
    try:
        answers = kubectl.create([_review(user, home, one) for one in rights])
    except ClusterError as error:
        if error.reason != "Forbidden":
            raise
        return warn(
            "permissions",
            "you may not ask what a service account may do",
            "let a cluster admin run this, or look at `kubectl auth can-i --list`",
        )
    allowed = [bool(one["status"].get("allowed")) for one in answers]
    lacking = [str(one) for one, may in zip(rights, allowed, strict=True) if not may]
    if lacking:
        return fail(
            "permissions",
            f"{user} may not {some(lacking)}",
            "keep rbac.create of the chart, or give the rules of docs/kubernetes.md",
        )
    return ok("permissions", f"{user} may do all {len(rights)} that it does")


def _review(user: str, home: str, one: Right) -> dict[str, Any]:
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{home}", "system:authenticated"]
    asked = {"verb": one.verb, "group": one.group, "resource": one.resource}
    more = {"subresource": one.part, "namespace": one.namespace, "name": one.name}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "groups": groups,
            "resourceAttributes": {**asked, **{k: v for k, v in more.items() if v}},
        },
    }


def _group(resource: Resource) -> str:
    return resource.api.rpartition("/")[0]
