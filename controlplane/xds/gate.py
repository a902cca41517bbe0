"""Who is let in, and as whom: the one rule of all services on the xDS address.

A peer proves names: those of its client certificate, or the subject of its token. A node may claim
what one of these names entitles to (`identity`). Without a rule everybody who could connect may
claim anything, which with a client CA is everybody who has a certificate of it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from controlplane.errors import StartupError
from controlplane.xds.identity import Binding, Claim, Kind, Name
from controlplane.xds.reloaded import Reloaded

Context = Any  # grpc.aio.ServicerContext, which has no types here

MAX_NAMES = 100
"""Names of one certificate that are looked at."""
LONGEST_S = 365 * 24 * 3600.0
"""No stream is held open for longer by one token."""
_SHOWN = 200
"""Characters of a name or claim that are shown in words."""
_SANS: tuple[tuple[str, Kind], ...] = (("peer_uri", "uri"), ("peer_dns", "dns"))


class DeniedError(Exception):
    """A stream that is not let in. `reason` is a short stable word for metrics."""

    def __init__(self, code: str, reason: str, words: str) -> None:
        super().__init__(words)
        self.code, self.reason = code, reason


@dataclass(frozen=True, slots=True)
class Token:
    """What a valid token says."""

    subject: str
    expires_at_s: float
    """In seconds since the epoch."""


class Verifier(Protocol):
    """Judges tokens; `tokens.Tokens` is one."""

    keys: Reloaded[Any]

    def verify(self, token: str) -> Token:
        """Raises `DeniedError`."""
        ...


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection, as far as it is proven."""

    names: tuple[Name, ...]
    key: str
    """What its streams are counted under: its first name, or its address without the port."""
    expires_at_s: float | None = None
    """When the proof of a stream ends, in seconds since the epoch."""


class Gate:
    """Lets streams in. Without arguments it lets in everybody, as anybody."""

    def __init__(
        self,
        binding: Binding | None = None,
        tokens: Verifier | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._binding = binding
        self.tokens = tokens
        self._wall_clock = wall_clock

    def require_usable(self, *, mutual: bool, private: bool) -> None:
        """What cannot work or is not safe is said at the start. Raises `StartupError`.

        `mutual`: clients must have certificates. `private`: nobody can listen in.
        """
        if self.tokens is not None and not private:
            raise StartupError(
                "tokens would travel in plaintext, and who hears one can use it: give a TLS "
                "certificate and key (--tls-cert, --tls-key), or listen on a loopback address"
            )
        if self._binding is not None and not mutual and self.tokens is None:
            raise StartupError(
                "identities are wanted of clients that have no way to prove one: give the CA of "
                "their certificates (--tls-client-ca) or the key of their tokens (--xds-jwt-key)"
            )

    def peer(self, context: Context) -> Peer:
        """Who opened the stream. Raises `DeniedError`, UNAUTHENTICATED."""
        proven = context.auth_context()
        self._require_current(proven)
        if self.tokens is not None:
            bearer = _bearer(context)
            if bearer is not None:
                token = self.tokens.verify(bearer)
                name = Name("subject", token.subject)
                return Peer((name,), f"subject:{token.subject}", token.expires_at_s)
            if "x509_pem_cert" not in proven:
                raise _unknown("no token came; send it as `authorization: Bearer TOKEN`")
        names = _names(proven)
        if not names and self._binding is not None:
            raise _unknown(
                "the certificate has no name to know its owner by; "
                "issue one with a URI or a DNS name as subject alternative name (SAN)"
            )
        key = f"{names[0].kind}:{names[0].text}" if names else _address(context.peer())
        return Peer(names, key)

    def _require_current(self, proven: Mapping[str, list[bytes]]) -> None:
        """A resumed TLS session is not verified again, so a certificate could outlive its end."""
        if proven.get("ssl_session_reused") != [b"true"]:
            return
        # Slow to load, but there is TLS.
        from controlplane.xds.certificates import expiry_s

        for pem in proven.get("x509_pem_cert", ()):
            if expiry_s(pem) <= self._wall_clock():
                raise _unknown("the certificate of the resumed session has expired; get a new one")

    def admit(self, peer: Peer, node_id: str, cluster: str) -> None:
        """Whether the peer may be that node. Raises `DeniedError`, PERMISSION_DENIED."""
        if self.entitles(peer, node_id, cluster):
            return
        shown = ", ".join(name.text for name in peer.names)[:_SHOWN]
        raise DeniedError(
            "PERMISSION_DENIED",
            "denied",
            f"{shown} does not entitle to be node {node_id[:_SHOWN]!r} of cluster "
            f"{cluster[:_SHOWN]!r}; correct node.id and node.cluster in Envoy's bootstrap, "
            "or the rule (--xds-identity)",
        )

    def entitles(self, peer: Peer, node_id: str, cluster: str) -> bool:
        """The same, as an answer."""
        claim = Claim(node_id, cluster)
        return self._binding is None or self._binding.entitles(peer.names, claim)

    def remaining_s(self, peer: Peer) -> float | None:
        """How long the proof still holds; None: for as long as the connection does."""
        if peer.expires_at_s is None:
            return None
        return min(max(peer.expires_at_s - self._wall_clock(), 0.0), LONGEST_S)


class Held:
    """How many streams each peer has open."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[str, int] = {}

    @property
    def peers(self) -> int:
        """How many have a stream open."""
        return len(self._open)

    @contextlib.contextmanager
    def one_more(self, key: str) -> Iterator[None]:
        """Count a stream while it is open. Raises `DeniedError`, RESOURCE_EXHAUSTED."""
        now = self._open.get(key, 0)
        if now >= self._most:
            words = f"{key[:_SHOWN]} has {now} streams open, and may have {self._most}"
            raise DeniedError("RESOURCE_EXHAUSTED", "identity_streams", words)
        self._open[key] = now + 1
        try:
            yield
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]


def expired() -> DeniedError:
    """Of a stream whose token is not valid any more."""
    words = "the token has expired; open the stream again with a new one"
    return DeniedError("UNAUTHENTICATED", "expired", words)


def _unknown(words: str) -> DeniedError:
    return DeniedError("UNAUTHENTICATED", "unauthenticated", words)


def _bearer(context: Context) -> str | None:
    found = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
    if not found:
        return None
    if len(found) > 1:
        raise _unknown("more than one authorization came; send one")
    scheme, _, token = str(found[0]).partition(" ")
    if scheme.lower() != "bearer":
        raise _unknown("want `authorization: Bearer TOKEN`, not another scheme")
    return token.strip()


def _names(proven: Mapping[str, list[bytes]]) -> tuple[Name, ...]:
    """URIs and DNS names of the certificate. A name that is not ASCII is nobody's."""
    return tuple(
        Name(kind, raw.decode("ascii"))
        for key, kind in _SANS
        for raw in proven.get(key, ())[:MAX_NAMES]
        if raw and raw.isascii()
    )


def _address(peer: str) -> str:
    """Without the port, which differs with each connection.

    >>> _address("ipv4:192.0.2.1:40424"), _address("ipv6:%5B::1%5D:40424"), _address("unix:")
    ('ipv4:192.0.2.1', 'ipv6:%5B::1%5D', 'unix:')
    """
    return peer.rpartition(":")[0] if peer.startswith("ip") else peer
