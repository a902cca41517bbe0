"""What policies refer to beside their targets: services that Envoys call, scripts of ConfigMaps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from controlplane.resources.attachment import found, target_of, winners
from controlplane.resources.client_policy import ClientPolicy
from controlplane.resources.declared import Declared
from controlplane.resources.delivery import Timeouts
from controlplane.resources.extensions import MAX_SCRIPT, SCRIPT, Lua
from controlplane.resources.filters import BackendObjectRef
from controlplane.resources.problems import near_name
from controlplane.resources.route import HttpRoute
from controlplane.resources.secret import ConfigMap
from controlplane.resources.security_policy import SecurityPolicy
from controlplane.resources.target import Policy
from controlplane.resources.topology import Unresolved, resolve_backend
from controlplane.resources.traffic_policy import TrafficPolicy


class ServiceRef(NamedTuple):
    """A gRPC service that a policy wants to be called."""

    field: str
    ref: BackendObjectRef


def services_of(policy: Policy) -> Iterator[ServiceRef]:
    """Every gRPC service that Envoy calls for a policy."""
    if isinstance(policy, TrafficPolicy):
        for at, one in enumerate(policy.spec.ext_proc):
            yield from _each(f"spec.extProc[{at}].backendRefs", one.backend_refs)

    if isinstance(policy, ClientPolicy):
        said = policy.spec.telemetry
        for at, setting in enumerate(said.access_log.settings if said.access_log else ()):
            for which, sink in enumerate(setting.sinks):
                if sink.open_telemetry is not None:
                    field = f"spec.telemetry.accessLog.settings[{at}].sinks[{which}]"
                    refs = sink.open_telemetry.backend_refs
                    yield from _each(f"{field}.openTelemetry.backendRefs", refs)
        if said.tracing is not None:
            field = "spec.telemetry.tracing.provider.backendRefs"
            yield from _each(field, said.tracing.provider.backend_refs)


def _each(field: str, refs: Sequence[BackendObjectRef]) -> Iterator[ServiceRef]:
    for at, ref in enumerate(refs):
        yield ServiceRef(f"{field}[{at}]", ref)


def service_backends(declared: Declared, policy: Policy) -> Iterator[str]:
    """The Backends that serve these, those that are there."""
    for _, ref in services_of(policy):
        key = resolve_backend(declared, policy, ref)
        if isinstance(key, str):
            yield key


def called(declared: Declared) -> frozenset[str]:
    """Every Backend that Envoys call for some policy."""
    looked_at = (declared.bonds, *declared.those("ClientPolicy", "TrafficPolicy"))
    return declared.while_same(looked_at, _called)


def _called(declared: Declared) -> frozenset[str]:
    policies = (
        one for model in (ClientPolicy, TrafficPolicy) for one in declared.all(model).values()
    )
    return frozenset(key for one in policies for key in service_backends(declared, one))


def _uncached(declared: Declared, policy: TrafficPolicy) -> Iterator[str]:
    """Rules whose answers are kept and that say more than Envoy's cache heeds: it asks the cluster
    by itself."""
    if policy.spec.response_cache is None:
        return
    for ref in policy.spec.target_refs:
        target = target_of(policy, ref)
        route = found(declared, target)
        for at, rule in enumerate(route.spec.rules if isinstance(route, HttpRoute) else ()):
            unheeded = rule.timeouts != Timeouts(), rule.retry, rule.session_persistence
            filters = [*rule.filters, *(one for ref in rule.backend_refs for one in ref.filters)]
            if target.section in (None, rule.name) and (any(unheeded) or filters):
                yield f"HTTPRoute {target.key}, spec.rules[{at}]"


def _not_for_all(declared: Declared, policy: TrafficPolicy) -> Iterator[str]:
    """What the cache of a policy does nothing for, because clients say there who they are."""
    cache = policy.spec.response_cache
    if cache is None or cache.for_authenticated:
        return
    of = winners(declared, SecurityPolicy)
    for ref in policy.spec.target_refs:
        target = target_of(policy, ref)
        near = of.get(target) or of.get(target._replace(section=None))
        if near is not None and near.spec.identifies:
            yield f"clients of {target} say who they are, by SecurityPolicy {near.key}"


def script_of(declared: Declared, policy: Policy, lua: Lua) -> str | Unresolved:
    """The script that is meant."""
    if lua.value_ref is None:
        return lua.inline or ""
    key = f"{policy.metadata.namespace}/{lua.value_ref.name}"
    maps = declared.all(ConfigMap)
    if key not in maps:
        return Unresolved(f"there is no ConfigMap {key}", near_name(key, maps))
    script = maps[key].data.get(SCRIPT)
    if not script:
        return Unresolved(f"ConfigMap {key} has no entry {SCRIPT!r}", "put the script there")
    if len(script) > MAX_SCRIPT:
        message = f"the script of ConfigMap {key} has more than {MAX_SCRIPT} characters"
        return Unresolved(message, "make it shorter, or make a service of it (extProc)")
    return script


def faults_of(declared: Declared, policy: Policy) -> Iterator[tuple[str, Unresolved]]:
    """The fields of a policy that refer to what is not there, and why."""
    for field, ref in services_of(policy):
        backend = resolve_backend(declared, policy, ref)
        if isinstance(backend, Unresolved):
            yield field, backend
    if isinstance(policy, TrafficPolicy):
        for rule in _uncached(declared, policy):
            yield (
                "spec.responseCache",
                Unresolved(
                    f"{rule}, has filters, timeouts, retry or sessionPersistence, which do nothing "
                    "for requests that Envoy's cache sends on",
                    "give what is kept a rule of its own, without them",
                ),
            )
        for message in _not_for_all(declared, policy):
            advice = "where answers are the same for all of them, say forAuthenticated: true"
            fault = Unresolved(f"{message}; their answers are not kept", advice)
            yield "spec.responseCache", fault
        for at, one in enumerate(policy.spec.lua):
            script = script_of(declared, policy, one)
            if isinstance(script, Unresolved):
                message = f"{script.message}; what it is for is answered 500"
                yield f"spec.lua[{at}]", Unresolved(message, script.advice)
