"""What a team declares to Weir, for `data_path`: the same services, from plain to careful.

Each step has all of the steps before it and its own Gateway, route and Backend, so that each is
configured, counted and balanced by itself.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.path_by_hand import ISSUER

Document = dict[str, Any]
GATEWAYS = "gateway.networking.k8s.io"
PLAIN, TLS, TOKENS, LIMITS, CAREFUL = STEPS = ("plain", "tls", "tokens", "limits", "careful")
"""Each with the ones before."""


def documents(
    ports: Mapping[str, int], backends: Sequence[int], tls: tuple[str, str], jwks: str
) -> list[Document]:
    """Of these steps, by the port that each listens on."""
    found = [_secret(tls)]
    for name, port in ports.items():
        at = STEPS.index(name)
        found += [_gateway(name, port, tls=at >= STEPS.index(TLS)), _route(name)]
        found += [_backend(name, backends), _balancing(name)]
        if at >= STEPS.index(TOKENS):
            found.append(_tokens(name, jwks))
        if at >= STEPS.index(LIMITS):
            found.append(_traffic(name, careful=at >= STEPS.index(CAREFUL)))
    return found


def fleet(name: str) -> str:
    """The Envoys of a step."""
    return f"default/{name}"


def _gateway(name: str, port: int, *, tls: bool) -> Document:
    listener: Document = {"name": "web", "port": port, "protocol": "HTTPS" if tls else "HTTP"}
    if tls:
        listener["tls"] = {"certificateRefs": [{"name": "web"}]}
    spec = {
        "gatewayClassName": "weir",
        "addresses": [{"value": "127.0.0.1"}],
        "listeners": [listener],
    }
    return _document(f"{GATEWAYS}/v1", "Gateway", name, spec)


def _route(name: str) -> Document:
    to = {"group": "weir.dev", "kind": "Backend", "name": name}
    spec = {"parentRefs": [{"name": name}], "rules": [{"backendRefs": [to]}]}
    return _document(f"{GATEWAYS}/v1", "HTTPRoute", name, spec)


def _backend(name: str, backends: Sequence[int]) -> Document:
    endpoints = [{"ip": {"address": "127.0.0.1", "port": port}} for port in backends]
    return _document("weir.dev/v1alpha1", "Backend", name, {"endpoints": endpoints})


def _balancing(name: str) -> Document:
    of = [{"group": "weir.dev", "kind": "Backend", "name": name}]
    spec = {"targetRefs": of, "policy": "learned"}
    return _document("weir.dev/v1alpha1", "BalancingPolicy", name, spec)


def _tokens(name: str, jwks: str) -> Document:
    provider = {
        "name": "issuer",
        "issuer": ISSUER,
        "audiences": ["shop"],
        "localJWKS": {"type": "Inline", "inline": jwks},
        "claimToHeaders": [{"header": "x-user", "claim": "sub"}],
    }
    spec = {"targetRefs": _of_route(name), "jwt": {"providers": [provider]}}
    return _document("weir.dev/v1alpha1", "SecurityPolicy", name, spec)


def _traffic(name: str, *, careful: bool) -> Document:
    each = [{"sourceCIDR": {"value": "0.0.0.0/0", "type": "Distinct"}}]
    rule = {"clientSelectors": each, "limit": {"requests": 10**9, "unit": "Second"}}
    spec: Document = {"targetRefs": _of_route(name), "rateLimit": {"local": {"rules": [rule]}}}
    if careful:
        spec["circuitBreaker"] = {
            "maxConnections": 1000,
            "maxPendingRequests": 1000,
            "maxParallelRequests": 1000,
        }
        triggers = ["gateway-error", "reset", "connect-failure", "refused-stream"]
        spec["retry"] = {
            "numRetries": 2,
            "retryOn": {"triggers": triggers},
            "perRetry": {"timeout": "2s"},
        }
    return _document("weir.dev/v1alpha1", "TrafficPolicy", name, spec)


def _secret(tls: tuple[str, str]) -> Document:
    certificate, key = (base64.b64encode(one.encode()).decode() for one in tls)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "web"},
        "type": "kubernetes.io/tls",
        "data": {"tls.crt": certificate, "tls.key": key},
    }


def _of_route(name: str) -> list[Document]:
    return [{"group": GATEWAYS, "kind": "HTTPRoute", "name": name}]


def _document(version: str, kind: str, name: str, spec: Document) -> Document:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}
