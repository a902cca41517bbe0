"""Questions that are asked by creating an object: may I, may they, whose token is this.

https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/
https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.kubernetes.apiserver import access
from tests.kubernetes.apiserver.access import User, Wish
from tests.kubernetes.apiserver.errors import Object
from tests.kubernetes.apiserver.kinds import Kind
from tests.kubernetes.apiserver.store import Store

_CREATE = ("create",)
_AUTHZ, _AUTHN = "authorization.k8s.io", "authentication.k8s.io"

KINDS: tuple[Kind, ...] = (
    Kind(_AUTHZ, "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", False, verbs=_CREATE),
    Kind(_AUTHZ, "v1", "SubjectAccessReview", "subjectaccessreviews", False, verbs=_CREATE),
    Kind(_AUTHN, "v1", "TokenReview", "tokenreviews", False, verbs=_CREATE),
    Kind(_AUTHN, "v1", "SelfSubjectReview", "selfsubjectreviews", False, verbs=_CREATE),
)

OF_ONESELF = tuple(kind for kind in KINDS if kind.kind.startswith("Self"))
"""Whoever is known may ask them, by the role system:basic-user."""


def answered(
    body: Object, kind: Kind, user: User, store: Store, tokens: Mapping[str, User] | None
) -> Object:
    """The same object with its status."""
    spec = body.get("spec") or {}
    made = {**body, "kind": kind.kind, "apiVersion": kind.api_version, "spec": spec}
    made.setdefault("metadata", {})
    match kind.kind:
        case "SelfSubjectAccessReview":
            made["status"] = {"allowed": access.may(store, user, _wish(spec))}
        case "SubjectAccessReview":
            asked = User(spec.get("user", ""), tuple(spec.get("groups") or ()))
            made["status"] = {"allowed": access.may(store, asked, _wish(spec))}
        case "TokenReview":
            found = (tokens or {}).get(spec.get("token", ""))
            made["status"] = (
                {"authenticated": True, "user": _info(found)}
                if found
                else {"authenticated": False, "error": "invalid bearer token"}
            )
        case _:
            made["status"] = {"userInfo": _info(user)}
    return made


def _info(user: User) -> Object:
    return {"username": user.name, "groups": list(user.groups)}


def _wish(spec: Object) -> Wish:
    asked = spec.get("resourceAttributes") or {}
    resource, part = asked.get("resource", ""), asked.get("subresource", "")
    return Wish(
        asked.get("verb", ""),
        asked.get("group", ""),
        f"{resource}/{part}" if part else resource,
        asked.get("namespace", ""),
        asked.get("name", ""),
    )
