"""What a policy that is refused was to be for, so that it is not open meanwhile.

Some policies keep strangers out. Where one is refused and was never valid, nobody knows what it was
to say; what can still be read of its `targetRefs` says whose requests are refused until it is
known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from controlplane.resources.target import Target

_Spec = Mapping[str, object]

_TARGETS: Mapping[str, frozenset[str]] = {
    "SecurityPolicy": frozenset(("HTTPRoute", "GRPCRoute", "Gateway")),
    "ClientPolicy": frozenset(("Gateway",)),
    "TrafficPolicy": frozenset(("HTTPRoute", "GRPCRoute", "Gateway")),
    "BackendTLSPolicy": frozenset(("Backend", "Service")),
}


def _of_clients(spec: _Spec) -> bool:
    tls = spec.get("tls")
    return "clientAddresses" in spec or (isinstance(tls, Mapping) and "clientValidation" in tls)


_KEEPS_OUT: Mapping[str, Callable[[_Spec], bool]] = {
    "SecurityPolicy": lambda _: True,
    "ClientPolicy": _of_clients,
    "TrafficPolicy": lambda spec: bool({"lua", "extProc", "wasm"} & spec.keys()),
    "BackendTLSPolicy": lambda _: True,
}
"""By kind, whether a policy may be what keeps strangers out, or secrets in."""


def keeps_out(kind: str, value: Mapping[str, object]) -> bool:
    """Whether a refused document must not be as if it had not been written."""
    said = _KEEPS_OUT.get(kind)
    return said is not None and said(_mapping(value.get("spec")))


def targets_of(kind: str, value: Mapping[str, object]) -> frozenset[Target]:
    """What a refused document was to be for, as far as it can be read; a part of an object that
    cannot be read is all of it."""
    spec = _mapping(value.get("spec"))
    namespace = _mapping(value.get("metadata")).get("namespace", "default")
    found = ((_mapping(one), f"{namespace}/{_mapping(one).get('name')}") for one in _refs(spec))
    return frozenset(
        Target(of, key, _text(one.get("sectionName")))
        for one, key in found
        if (of := _text(one.get("kind"))) in _TARGETS[kind] and of and _text(one.get("name"))
    )


def _refs(spec: _Spec) -> Iterator[object]:
    several = spec.get("targetRefs")
    if isinstance(several, list):
        yield from several
    yield spec.get("targetRef")  # as people write it who come from elsewhere


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
