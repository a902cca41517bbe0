"""Rules about the metadata of every object. Pure but for the clock and the ids that are given.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

from tests.kubernetes.apiserver import errors
from tests.kubernetes.apiserver.errors import Cause, Object
from tests.kubernetes.apiserver.kinds import Kind

_LABEL_NAME = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$")
_LABEL_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_DNS_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_PATH_SEGMENT = re.compile(r"^(?!\.{1,2}$)[^/%]+$")
_DNS_LABELLED = frozenset({"namespaces", "services"})
_OWNED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")

_NOT_A_LABEL = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.'"
)
_NO_NAME = "Required value: name or generateName is required"
_NOT_A_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


@dataclass(frozen=True)
class Source:
    """Where times and ids come from."""

    now: Callable[[], datetime.datetime]
    uid: Callable[[], str]
    suffix: Callable[[], str]

    def stamp(self) -> str:
        return self.now().strftime("%Y-%m-%dT%H:%M:%SZ")


def meta(one: Object) -> Object:
    found = one.get("metadata")
    return found if isinstance(found, dict) else {}


def check_type(one: object, kind: Kind) -> Object:
    """The body is an object of this kind and version, or says nothing of both."""
    if not isinstance(one, dict):
        raise errors.bad_request("the body is not an object")
    made = one
    made.setdefault("apiVersion", kind.api_version)
    made.setdefault("kind", kind.kind)
    if (made["apiVersion"], made["kind"]) != (kind.api_version, kind.kind):
        raise errors.bad_request(
            f"the API version in the data ({made['apiVersion']}, {made['kind']}) does not match "
            f"the expected API version ({kind.api_version}, {kind.kind})"
        )
    if not isinstance(made.setdefault("metadata", {}), dict):
        raise errors.bad_request("metadata is not an object")
    return made


def place(one: Object, kind: Kind, namespace: str, name: str = "") -> None:
    """Namespace and name of path and body agree; those of the path are filled in."""
    own = meta(one)
    if kind.namespaced:
        if own.setdefault("namespace", namespace) != namespace:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the "
                "request"
            )
    else:
        own.pop("namespace", None)
    if name and own.setdefault("name", name) != name:
        raise errors.bad_request(
            f"the name of the object ({own['name']}) does not match the name on the URL ({name})"
        )


def begin(one: Object, kind: Kind, source: Source) -> None:
    """The metadata of a new object, in place."""
    own = meta(one)
    if own.get("resourceVersion"):
        raise errors.bad_request("resourceVersion should not be set on objects to be created")
    if not own.get("name") and own.get("generateName"):
        own["name"] = f"{own['generateName'][:58]}{source.suffix()}"
    for key in (*_OWNED, "resourceVersion"):
        own.pop(key, None)
    own["uid"] = source.uid()
    own["creationTimestamp"] = source.stamp()
    if kind.generation or kind.custom:
        own["generation"] = 1
    else:
        own.pop("generation", None)


def carry_on(one: Object, before: Object, kind: Kind) -> None:
    """What an update cannot change is taken from what is stored, in place."""
    own, old = meta(one), meta(before)
    if own.get("uid") not in (None, "", old["uid"]):
        raise errors.conflict(
            kind.plural,
            kind.group,
            old["name"],
            f"Precondition failed: UID in precondition: {own['uid']}, UID in object meta: "
            f"{old['uid']}",
        )
    for key in (*_OWNED, "generation", "generateName"):
        own.pop(key, None)
        if key in old:
            own[key] = deepcopy(old[key])


def count(one: Object, before: Object, kind: Kind) -> None:
    """The next generation where what is wanted has changed."""
    if "generation" in meta(before) and wanted(one, kind) != wanted(before, kind):
        meta(one)["generation"] = meta(before)["generation"] + 1


def wanted(one: Object, kind: Kind) -> Object:
    """All but metadata and, where it is a part of its own, status."""
    left_out = {"metadata", "status"} if kind.status else {"metadata"}
    return {key: value for key, value in one.items() if key not in left_out}


def check(one: Object, kind: Kind) -> list[Cause]:
    """What is wrong with the metadata."""
    own = meta(one)
    if not own.get("name"):
        return [Cause("metadata.name", _NO_NAME, "FieldValueRequired")]
    found = _check_name(str(own["name"]), kind)
    for key, value in (own.get("labels") or {}).items():
        if not _qualified(key):
            found.append(
                Cause("metadata.labels", f'Invalid value: "{key}": name part must be valid')
            )
        if not isinstance(value, str) or len(value) > 63 or not _LABEL_VALUE.match(value):
            found.append(Cause("metadata.labels", f'Invalid value: "{value}": {_NOT_A_LABEL}'))
    finalizers = own.get("finalizers") or ()
    for path, key, checked in (
        *(("metadata.annotations", key, key.lower()) for key in own.get("annotations") or {}),
        *((f"metadata.finalizers[{at}]", key, key) for at, key in enumerate(finalizers)),
    ):
        if not _qualified(checked):
            found.append(Cause(path, f'Invalid value: "{key}": name part must be valid'))
    return found


def check_change(one: Object, before: Object) -> list[Cause]:
    """Finalizers may go but not come while an object is being deleted."""
    old = set(meta(before).get("finalizers") or ())
    new = [f for f in meta(one).get("finalizers") or () if f not in old]
    if meta(before).get("deletionTimestamp") and new:
        message = (
            "Forbidden: no new finalizers can be added if the object is being deleted, "
            f"found new finalizers {new}"
        )
        return [Cause("metadata.finalizers", message, "FieldValueForbidden")]
    return []


def _check_name(name: str, kind: Kind) -> list[Cause]:
    if kind.group == "rbac.authorization.k8s.io":
        fits = _PATH_SEGMENT.match(name) is not None
    elif kind.plural in _DNS_LABELLED and not kind.group:
        fits = _DNS_LABEL.match(name) is not None and len(name) <= 63
    else:
        fits = _SUBDOMAIN.match(name) is not None and len(name) <= 253
    return [] if fits else [Cause("metadata.name", f'Invalid value: "{name}": {_NOT_A_SUBDOMAIN}')]


def _qualified(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and not (_SUBDOMAIN.match(prefix) and len(prefix) <= 253):
        return False
    return len(name) <= 63 and _LABEL_NAME.match(name) is not None
