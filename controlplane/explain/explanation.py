"""The whole answer for one request: where it comes in, who takes it, what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from controlplane.errors import ConfigurationError
from controlplane.explain.candidates import Candidate, candidates, listener_for, why_before
from controlplane.explain.fate import Fate, fates, has_cors
from controlplane.explain.matching import misses
from controlplane.explain.policies import InForce, of_listener, of_request
from controlplane.explain.request import Request
from controlplane.resources.attachment import of_rule, winners
from controlplane.resources.declared import Declared
from controlplane.resources.gateway import Gateway, Listener
from controlplane.resources.security_policy import SecurityPolicy

MOST_NEAR = 5
"""Candidates that are told beside the one that takes the request."""


@dataclass(frozen=True, slots=True, eq=False)
class Near:
    """A candidate that does not take the request."""

    candidate: Candidate
    why: tuple[str, ...]
    """What does not hold, or why another goes before."""
    matches: bool
    """Whether it would take the request if the other were not there."""


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What a Gateway does with a request."""

    request: Request
    gateway: Gateway
    listener: Listener | None
    """None: the port has no listener for it."""
    said: str
    """In a sentence, what comes of it."""
    status: int | None = None
    """What is answered without asking anybody; None where that depends on the part."""
    chosen: Candidate | None = None
    why: str = ""
    """Why this one and none of the others that match."""
    near: tuple[Near, ...] = ()
    fates: tuple[Fate, ...] = ()
    policies: tuple[InForce, ...] = ()


def explain_route(
    declared: Declared, request: Request, gateway: str | None = None
) -> tuple[Explanation, ...]:
    """By each Gateway that listens on the port of the request, or by the one that is named.

    Raises `ConfigurationError` where none does.
    """
    named = [one for one in declared.gateways.values() if gateway in (None, one.key)]
    found = [one for one in named if any(_is_at(one, request, at) for at in one.spec.listeners)]
    if not found:
        raise ConfigurationError(_nobody(named, request, gateway))
    return tuple(_explained(declared, one, request) for one in found)


def _is_at(gateway: Gateway, request: Request, listener: Listener) -> bool:
    return (listener.port, listener.protocol) == (request.port, request.scheme.upper())


def _nobody(gateways: Sequence[Gateway], request: Request, wanted: str | None) -> str:
    if not gateways:
        return f"there is no Gateway {wanted}" if wanted else "there is no Gateway"
    ports = sorted(
        {f"{one.protocol.lower()}://...:{one.port}" for g in gateways for one in g.spec.listeners}
    )
    return (
        f"no Gateway listens on port {request.port} for {request.scheme}; there are: "
        f"{', '.join(ports)}; say the port in the URL"
    )


def _explained(declared: Declared, gateway: Gateway, request: Request) -> Explanation:
    here = [one for one in gateway.spec.listeners if _is_at(gateway, request, one)]
    host = request.server_name if request.scheme == "https" else request.host
    listener = listener_for(here, host)
    if listener is None:
        names = ", ".join(one.hostname or "*" for one in here)
        said = f"no listener of port {request.port} has this host; they have: {names}"
        if request.scheme == "https":
            return Explanation(request, gateway, None, f"the connection is closed: {said}")
        return Explanation(request, gateway, None, f"answered 404: {said}", 404)
    theirs = _of_another(gateway, listener, request)
    if theirs is not None:
        said = f"answered 421: listener {theirs.name} has the host {request.host}"
        return Explanation(request, gateway, listener, said, 421)
    early = _before_routing(request)
    if early is not None:
        status, said = early
        policies = of_listener(declared, gateway, listener)
        return Explanation(request, gateway, listener, said, status, policies=policies)
    return _routed(declared, gateway, listener, request)


def _of_another(gateway: Gateway, listener: Listener, request: Request) -> Listener | None:
    """The listener that a host belongs to which is asked for by the connection of another."""
    if request.scheme != "https":
        return None
    port = [one for one in gateway.spec.listeners if one.at == listener.at]
    found = listener_for(port, request.host)
    return found if found is not listener else None


def _before_routing(request: Request) -> tuple[int, str] | None:
    """What the edge does with odd requests before it looks at routes."""
    odd = next((name for name in request.headers if "_" in name), None)
    if odd is not None:
        return 400, f"answered 400: the name of header {odd} has an underscore"
    if request.has_escaped_slash:
        return 307, "answered 307: the path has an escaped slash; sent to the path without it"
    return None


def _routed(
    declared: Declared, gateway: Gateway, listener: Listener, request: Request
) -> Explanation:
    every = candidates(declared, gateway, listener, request)
    found = [(one, misses(one.match, request, preflights=has_cors(one.rule))) for one in every]
    matching = [one for one, why in found if not why]
    if not matching:
        said = "no match holds" if every else f"no route here has the host {request.host}"
        return Explanation(
            request,
            gateway,
            listener,
            f"answered 404: {said}",
            404,
            near=tuple(_near(found, None)),
            policies=of_listener(declared, gateway, listener),
        )
    chosen = matching[0]
    place = (gateway, listener, chosen.route, chosen.rule)
    security = of_rule(winners(declared, SecurityPolicy), *place)
    became = fates(declared, chosen.route, chosen.rule, security)
    backends = [one.backend for one in became if one.backend]
    policies = of_request(declared, gateway, chosen, backends)
    said, alike = f"taken by {chosen.name}", {one.status for one in became}
    status = became[0].status if len(alike) == 1 else None
    if request.asks_beforehand and (has_cors(chosen.rule) or _policy_has_cors(policies)):
        said, status, became = f"{said}, whose CORS answers the browser", 200, ()
    return Explanation(
        request,
        gateway,
        listener,
        said,
        status,
        chosen,
        why_before(chosen, matching[1]) if len(matching) > 1 else "nothing else matches",
        tuple(_near(found, chosen)),
        became,
        policies,
    )


def _policy_has_cors(policies: Sequence[InForce]) -> bool:
    return any(
        isinstance(one.policy, SecurityPolicy) and one.policy.spec.cors is not None
        for one in policies
    )


def _near(
    found: Sequence[tuple[Candidate, tuple[str, ...]]], chosen: Candidate | None
) -> Iterator[Near]:
    """Those that lack least, in the order of precedence."""
    rest = [(one, why) for one, why in found if one is not chosen]
    for one, why in sorted(rest, key=lambda each: len(each[1]))[:MOST_NEAR]:
        if not why and chosen is not None:
            yield Near(one, (f"{chosen.name} goes before: {why_before(chosen, one)}",), True)
        else:
            yield Near(one, why, False)
