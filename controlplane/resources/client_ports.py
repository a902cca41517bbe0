"""Which `ClientPolicy` is in force where listeners share a port.

Envoy learns which host a connection is for from the first request, or from TLS (SNI); what concerns
the connection before that is the same for all listeners of a port. Where policies for single
listeners differ in it, that of the Gateway is in force for the port, and the others are reported.
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.resources.attachment import Winners, of_listener
from controlplane.resources.client_policy import ClientPolicy, ClientSettings
from controlplane.resources.gateway import Gateway, Listener
from controlplane.resources.target import Target

Port = tuple[bool, int]
"""See `Listener.at`."""
USUAL = ClientSettings()
"""Where no policy is."""


def at_listener(
    of: Winners[ClientPolicy], gateway: Gateway, listener: Listener
) -> ClientPolicy | None:
    """The policy for the clients of a listener."""
    if listener.protocol != "HTTP":
        return of_listener(of, gateway, listener)
    said = [_settings(one) for one in _on_port(of, gateway, listener.at)]
    alike = all(one == said[0] for one in said)
    return of_listener(of, gateway, listener) if alike else _of_gateway(of, gateway)


def at_port(of: Winners[ClientPolicy], gateway: Gateway, port: Port) -> ClientSettings:
    """What holds for a port as a whole; of what is said, that alone counts which Envoy has no
    place for but the port: see `_of_whole_port`."""
    found = [settings(one) for one in _on_port(of, gateway, port)]
    same = all(_of_whole_port(one) == _of_whole_port(found[0]) for one in found)
    return found[0] if same else settings(_of_gateway(of, gateway))


def settings(policy: ClientPolicy | None) -> ClientSettings:
    """What a policy says."""
    return policy.spec if policy is not None else USUAL


def not_for_one(of: Winners[ClientPolicy], gateway: Gateway, listener: Listener) -> str:
    """Why the policy for this listener is not in force as written; empty where it is."""
    mine = of_listener(of, gateway, listener)
    where = f"port {listener.port} of Gateway {gateway.key}"
    if at_listener(of, gateway, listener) is not mine:
        return (
            f"{where} is shared by HTTP listeners with other policies, and Envoy knows the host of "
            "a connection too late; the policy of the Gateway, if any, is in force for all of them"
        )
    shared = at_port(of, gateway, listener.at)
    if _of_whole_port(settings(mine)) != _of_whole_port(shared):
        return (
            f"{where} is shared by listeners whose policies differ in proxyProtocol, "
            "connection.bufferLimit or timeout.tcp.handshakeTimeout; for these the policy of the "
            "Gateway, if any, is in force"
        )
    return ""


def _on_port(
    of: Winners[ClientPolicy], gateway: Gateway, port: Port
) -> Iterator[ClientPolicy | None]:
    for one in gateway.spec.listeners:
        if one.at == port:
            yield of_listener(of, gateway, one)


def _of_gateway(of: Winners[ClientPolicy], gateway: Gateway) -> ClientPolicy | None:
    return of.get(Target("Gateway", gateway.key))


def _settings(policy: ClientPolicy | None) -> list[object]:
    """What a policy says of how clients are spoken with; lists of addresses are added up."""
    return [getattr(settings(policy), name) for name in ClientSettings.model_fields]


def _of_whole_port(said: ClientSettings) -> tuple[object, ...]:
    timeout = said.timeout.tcp.handshake_timeout
    return said.proxy_protocol, said.connection.buffer_limit, timeout
