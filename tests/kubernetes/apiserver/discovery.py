"""Which groups, versions and resources there are.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from __future__ import annotations

from typing import Any

from tests.kubernetes.apiserver.errors import Object, no_such_path
from tests.kubernetes.apiserver.kinds import VERBS, Kind, Kinds

AGGREGATED = "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
VERSION = {
    "major": "1",
    "minor": "37",
    "gitVersion": "v1.37.0+weir-test",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2026-08-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}
_PART_VERBS = ["get", "patch", "update"]
_OTHER_VERBS = {"token": ["create"], "log": ["get"], "portforward": ["create", "get"]}
_OTHER_KINDS = {
    "scale": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
    "token": {"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"},
    "portforward": {"group": "", "version": "v1", "kind": "PodPortForwardOptions"},
}


def versions(address: str) -> Object:
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def groups(kinds: Kinds) -> Object:
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(name, found) for name, found in sorted(kinds.groups().items())],
    }


def group(kinds: Kinds, name: str) -> Object:
    found = kinds.groups().get(name)
    if found is None:
        raise no_such_path()
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, found)}


def _group(name: str, found: tuple[str, ...]) -> Object:
    made = [{"groupVersion": f"{name}/{one}", "version": one} for one in found]
    return {"name": name, "versions": made, "preferredVersion": made[0]}


def resources(kinds: Kinds, group_name: str, version: str) -> Object:
    found = kinds.of(group_name, version)
    if not found:
        raise no_such_path()
    listed: list[Object] = []
    for kind in sorted(found, key=lambda one: one.plural):
        listed.append(_resource(kind))
        listed += [_part(kind, part) for part in parts(kind)]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group_name}/{version}" if group_name else version,
        "resources": listed,
    }


def parts(kind: Kind) -> tuple[str, ...]:
    there = {
        "status": kind.status,
        "scale": kind.scale is not None,
        "token": kind.resource == "serviceaccounts",
        "log": kind.resource == "pods",
        "portforward": kind.resource == "pods",
    }
    return tuple(name for name, is_there in there.items() if is_there)


def _resource(kind: Kind) -> Object:
    made: dict[str, Any] = {
        "name": kind.plural,
        "singularName": kind.one,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": sorted(kind.verbs),
    }
    if kind.short:
        made["shortNames"] = list(kind.short)
    if kind.categories:
        made["categories"] = list(kind.categories)
    if "list" in kind.verbs:
        made["storageVersionHash"] = "AAAAAAAAAAA="
    return made


def _part(kind: Kind, part: str) -> Object:
    return {
        "name": f"{kind.plural}/{part}",
        "singularName": "",
        "namespaced": kind.namespaced,
        "verbs": _part_verbs(part),
        **(_OTHER_KINDS.get(part) or {"kind": kind.kind}),
    }


def _part_verbs(part: str) -> list[str]:
    return _OTHER_VERBS.get(part, _PART_VERBS)


# --- aggregated: everything in one answer ---


def aggregated(kinds: Kinds, *, core: bool) -> Object:
    """https://kubernetes.io/docs/concepts/overview/kubernetes-api/#aggregated-discovery"""
    found = {"": ("v1",)} if core else dict(sorted(kinds.groups().items()))
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": name, "creationTimestamp": None} if name else {},
                "versions": [
                    {
                        "version": version,
                        "freshness": "Current",
                        "resources": [
                            _discovered(kind)
                            for kind in sorted(kinds.of(name, version), key=lambda one: one.plural)
                        ],
                    }
                    for version in listed
                ],
            }
            for name, listed in found.items()
        ],
    }


def _discovered(kind: Kind) -> Object:
    own = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    made: Object = {
        "resource": kind.plural,
        "responseKind": own,
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.one,
        "verbs": sorted(set(kind.verbs) & set(VERBS)),
    }
    if kind.short:
        made["shortNames"] = list(kind.short)
    if kind.categories:
        made["categories"] = list(kind.categories)
    found = [
        {
            "subresource": part,
            "responseKind": _OTHER_KINDS.get(part, own),
            "verbs": _part_verbs(part),
        }
        for part in parts(kind)
    ]
    if found:
        made["subresources"] = found
    return made
