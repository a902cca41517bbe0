"""Who asks, and whether they may: bearer tokens and RBAC over the objects in the store.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/
https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.kubernetes.apiserver import errors, selectors
from tests.kubernetes.apiserver.errors import Object
from tests.kubernetes.apiserver.requests import Request
from tests.kubernetes.apiserver.store import Store

MASTERS = "system:masters"
_RBAC = "rbac.authorization.k8s.io"
_ACCOUNT = "system:serviceaccount:"


@dataclass(frozen=True)
class User:
    """Somebody who asks."""

    name: str
    groups: tuple[str, ...] = ()

    @classmethod
    def account(cls, namespace: str, name: str) -> User:
        """A service account, as the API server knows it."""
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
        return cls(f"{_ACCOUNT}{namespace}:{name}", (*groups, "system:authenticated"))


ADMIN = User("kubernetes-admin", (MASTERS, "system:authenticated"))


@dataclass(frozen=True)
class Wish:
    """What somebody wants to do."""

    verb: str
    group: str
    resource: str
    """With a slash and the part where a subresource is meant."""
    namespace: str
    name: str

    @classmethod
    def of(cls, request: Request) -> Wish:
        resource = f"{request.plural}/{request.part}" if request.part else request.plural
        # Server-side apply is a patch, and needs create as well only where it creates.
        return cls(request.verb, request.group, resource, request.namespace, request.name)


def authenticate(headers: Mapping[str, str], tokens: Mapping[str, User] | None) -> User:
    """Without tokens everybody is the administrator."""
    if tokens is None:
        return ADMIN
    scheme, _, token = headers.get("authorization", "").partition(" ")
    found = tokens.get(token.strip()) if scheme.lower() == "bearer" else None
    if found is None:
        raise errors.unauthorized()
    return found


def authorize(store: Store, user: User, wish: Wish) -> None:
    """403, in the words of the API server."""
    if may(store, user, wish):
        return
    where = f' in the namespace "{wish.namespace}"' if wish.namespace else " at the cluster scope"
    words = (
        f'User "{user.name}" cannot {wish.verb} resource "{wish.resource}" in API group '
        f'"{wish.group}"{where}'
    )
    raise errors.forbidden(wish.resource, wish.group, wish.name, words)


def may(store: Store, user: User, wish: Wish) -> bool:
    """Whether a rule of any role that is bound to the user allows it."""
    return MASTERS in user.groups or any(
        _allows(rule, wish) for rule in _rules(store, user, wish.namespace)
    )


def _rules(store: Store, user: User, namespace: str) -> Iterator[Object]:
    bindings = [("", one) for _, one in store.items(f"clusterrolebindings.{_RBAC}")]
    if namespace:
        found = store.items(f"rolebindings.{_RBAC}", namespace)
        bindings += [(namespace, one) for _, one in found]
    for home, binding in bindings:
        if any(_is(one, user) for one in binding.get("subjects") or ()):
            yield from _of_role(store, binding["roleRef"], home)


def _of_role(store: Store, ref: Object, namespace: str) -> Iterator[Object]:
    if ref["kind"] == "Role":
        found = store.get(f"roles.{_RBAC}", (namespace, ref["name"]))
    else:
        found = store.get(f"clusterroles.{_RBAC}", ("", ref["name"]))
    if found is None:
        return
    yield from found.get("rules") or ()
    picked = (found.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()
    for selector in picked:
        fits = selectors.of_labels(selector)
        for _, role in store.items(f"clusterroles.{_RBAC}"):
            if fits(role):
                yield from role.get("rules") or ()


def _is(subject: Object, user: User) -> bool:
    match subject.get("kind"):
        case "User":
            return bool(subject["name"] == user.name)
        case "Group":
            return subject["name"] in user.groups
        case "ServiceAccount":
            return user.name == f"{_ACCOUNT}{subject.get('namespace', '')}:{subject['name']}"
        case _:
            return False


def _allows(rule: Object, wish: Wish) -> bool:
    resources = set(rule.get("resources") or ())
    _, slash, part = wish.resource.partition("/")
    wild = {wish.resource, "*", f"*/{part}"} if slash else {wish.resource, "*"}
    names = rule.get("resourceNames") or ()
    return (
        bool({"*", wish.verb} & set(rule.get("verbs") or ()))
        and bool({"*", wish.group} & set(rule.get("apiGroups") or ()))
        and bool(wild & resources)
        and (not names or wish.name in names)
    )
