"""One cluster's API: its state, and what its own controllers do to it.

https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import datetime
from copy import deepcopy

from tests.kubernetes.apiserver import (
    admission,
    effects,
    errors,
    objects,
    published,
    reads,
    reviews,
    rollouts,
    versions,
)
from tests.kubernetes.apiserver.access import User
from tests.kubernetes.apiserver.builtin import BUILTIN, SYSTEM_NAMESPACES
from tests.kubernetes.apiserver.errors import Object
from tests.kubernetes.apiserver.faults import Calls, Faults
from tests.kubernetes.apiserver.kinds import Kind, Kinds
from tests.kubernetes.apiserver.kubelet import Kubelet
from tests.kubernetes.apiserver.objects import Source, meta
from tests.kubernetes.apiserver.requests import Request
from tests.kubernetes.apiserver.store import Key, Store
from tests.kubernetes.apiserver.writes import Answer

BOOKMARK_EVERY_S = 60.0


class Api:
    """One cluster's API. All of it runs on one event loop."""

    def __init__(self, source: Source, *, faults: Faults | None = None) -> None:
        self.source = source
        self.store = Store()
        self.kinds = Kinds((*map(published.described, BUILTIN), *reviews.KINDS))
        self.faults = faults or Faults()
        self.calls = Calls()
        self.tokens: dict[str, User] | None = None
        """Who has which bearer token; None: everybody is the administrator."""
        self.bookmark_every_s = BOOKMARK_EVERY_S
        self.kubelet = Kubelet()
        self.rollouts = False
        """Whether workloads become ready at once; otherwise they never do."""
        self._owned: dict[str, set[tuple[str, Key]]] = {}
        self._ips = 9
        self._settling: set[tuple[str, Key]] = set()
        for name in SYSTEM_NAMESPACES:
            self._begin_namespace(name)

    def _begin_namespace(self, name: str) -> None:
        kind = self.kinds.find("", "v1", "namespaces")
        one: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        objects.begin(one, kind, self.source)
        effects.begun(one, kind, self.source.stamp())
        self.store.put("namespaces", ("", name), one)

    # --- for the controllers within ---

    def next_ip(self) -> str:
        """The next cluster IP; nothing listens there."""
        self._ips += 1
        return f"10.96.{self._ips // 254}.{self._ips % 254 + 1}"

    def issue(self, request: Request) -> Object:
        """A token for a service account, as TokenRequest."""
        reads.existing(self.store, request, self.kinds.find("", "v1", "serviceaccounts"))
        token = self.account_token(request.namespace, request.name)
        ends = self.source.now() + datetime.timedelta(hours=1)
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": request.name, "namespace": request.namespace},
            "spec": {},
            "status": {
                "token": token,
                "expirationTimestamp": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
        }

    def account_token(self, namespace: str, name: str) -> str:
        """A token for a service account, whether there is one or not."""
        token = f"token-{self.source.uid()}"
        if self.tokens is not None:
            self.tokens[token] = User.account(namespace, name)
        return token

    def endpoint(self, namespace: str, service: str, port: int) -> tuple[str, int]:
        """A ready address of a service, by its EndpointSlices."""
        found = self.store.get("services", (namespace, service))
        ports = ((found or {}).get("spec") or {}).get("ports") or ()
        names = [one.get("name", "") for one in ports if one["port"] == port]
        for _, one in self.store.items("endpointslices.discovery.k8s.io", namespace):
            labels = meta(one).get("labels") or {}
            if not names or labels.get("kubernetes.io/service-name") != service:
                continue
            for at in one.get("endpoints") or ():
                if (at.get("conditions") or {}).get("ready", True):
                    for p in one.get("ports") or ():
                        if p.get("name", "") == names[0]:
                            return at["addresses"][0], p["port"]
        raise admission.Unreachable(f"no endpoints available for service {service!r}")

    def kind_of(self, resource: str) -> Kind | None:
        return next((kind for kind in self.kinds.resources() if kind.resource == resource), None)

    def owned_by(self, uid: str) -> tuple[tuple[str, Key], ...]:
        return tuple(sorted(self._owned.pop(uid, ())))

    def retire(self, kind: Kind, key: Key, *, orphan: bool = False) -> bool:
        """Delete as a client would; whether it is gone already."""
        one = self.store.get(kind.resource, key)
        if one is None:
            return True
        if not meta(one).get("deletionTimestamp"):
            one = self._mark(one, kind, key)
        return self._settle(kind, key, one, orphan=orphan)

    def sweep(self, resource: str, key: Key) -> None:
        """Look again whether an object that is to go may go now."""
        one = self.store.get(resource, key)
        kind = self.kind_of(resource)
        if one is not None and kind is not None and meta(one).get("deletionTimestamp"):
            self._settle(kind, key, one)

    def _mark(self, one: Object, kind: Kind, key: Key) -> Object:
        marked = deepcopy(one)
        meta(marked)["deletionTimestamp"] = self.source.stamp()
        meta(marked)["deletionGracePeriodSeconds"] = 0
        if "generation" in meta(marked):
            meta(marked)["generation"] += 1
        if kind.resource == "namespaces":
            marked["status"] = {**marked.get("status", {}), "phase": "Terminating"}
        if meta(marked).get("finalizers") or kind.resource in ("namespaces", effects.CRDS):
            return self.store.put(kind.resource, key, marked)
        return marked

    def _settle(self, kind: Kind, key: Key, one: Object, *, orphan: bool = False) -> bool:
        """Remove an object that is marked, unless something keeps it."""
        if (kind.resource, key) in self._settling:
            return False  # what it holds is being removed further up
        self._settling.add((kind.resource, key))
        try:
            if not effects.finalized(self, kind, one):
                return False
        finally:
            self._settling.discard((kind.resource, key))
        now = self.store.get(kind.resource, key)
        if now is None:
            return True
        if meta(one).get("finalizers"):
            return False
        gone = self.store.remove(kind.resource, key)
        effects.removed(self, kind, gone, orphan=orphan)
        return True

    # --- writing ---

    def write(self, request: Request, kind: Kind, key: Key, one: Object) -> Object:
        """Store it, unless it is a rehearsal or nothing has changed."""
        before = self.store.get(kind.resource, key)
        stored = one if kind.stored else versions.stored(one, kind, self._stored_as(kind))
        if request.dry_run:
            return one
        if before is not None and before == stored:
            return versions.shown(before, kind)
        now = self.store.put(kind.resource, key, stored)
        for owner in meta(now).get("ownerReferences") or ():
            self._owned.setdefault(owner["uid"], set()).add((kind.resource, key))
        effects.written(self, kind, now)
        if self.rollouts:
            ready = rollouts.settled(kind.resource, now, self.source.stamp())
            if ready is not None:
                self.store.put(kind.resource, key, ready)
        if meta(now).get("deletionTimestamp") and not meta(now).get("finalizers"):
            self._settle(kind, key, now)
        return versions.shown(now, kind)

    def _stored_as(self, kind: Kind) -> str:
        for one in self.kinds:
            if one.resource == kind.resource and one.stored:
                return one.api_version
        return kind.api_version

    # --- deleting ---

    async def delete(self, request: Request, kind: Kind, options: Object) -> Answer:
        one = reads.existing(self.store, request, kind)
        wanted = options.get("preconditions") or {}
        for name in ("uid", "resourceVersion"):
            if wanted.get(name) and wanted[name] != meta(one)[name]:
                raise errors.conflict(
                    kind.plural,
                    kind.group,
                    request.name,
                    f"Precondition failed: {name} in precondition: {wanted[name]}, "
                    f"{name} in object meta: {meta(one)[name]}",
                )
        await admission.ask(self, "DELETE", request, kind, None, one)
        dry = request.dry_run or "All" in (options.get("dryRun") or ())
        key = (request.namespace, request.name)
        orphan = "Orphan" in (
            options.get("propagationPolicy"),
            request.query.get("propagationPolicy"),
        )
        if not dry and not self.retire(kind, key, orphan=orphan):
            return Answer(versions.shown(self.store.get(kind.resource, key) or one, kind))
        return Answer(
            {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Success",
                "details": {
                    "name": request.name,
                    **({"group": kind.group} if kind.group else {}),
                    "kind": kind.plural,
                    "uid": meta(one)["uid"],
                },
            }
        )

    async def delete_collection(self, request: Request, kind: Kind, options: Object) -> Answer:
        found = reads.listed(self.store, self.faults, request, kind)
        dry = request.dry_run or "All" in (options.get("dryRun") or ())
        for one in found["items"]:
            await admission.ask(self, "DELETE", request, kind, None, one)
            if not dry:
                self.retire(kind, (meta(one).get("namespace", ""), meta(one)["name"]))
        return Answer(found)
