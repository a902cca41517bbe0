"""TLS of the xDS address: certificates from files, new ones for the handshakes that follow.

gRPC asks before each handshake whether there is something new, on a thread of its own. Streams that
are open are not touched by it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from controlplane.xds.reloaded import Reloaded

if TYPE_CHECKING:
    from controlplane.xds.certificates import Material


@dataclass(frozen=True, slots=True)
class Tls:
    """Where the files are. With a client CA, who has no certificate of it is not let in."""

    certificate: Path
    """PEM: the server's own certificate, then its intermediates."""
    key: Path
    """PEM, without a password."""
    client_ca: Path | None = None
    """PEM: the CAs whose certificates clients must have."""

    def open(self, wall_clock: Callable[[], float] = time.time) -> Reloaded[Material]:
        """The files, followed. Raises `StartupError` when they cannot be used."""
        # Slow to load, and needless without TLS.
        from controlplane.xds.certificates import read_material

        paths = [self.certificate, self.key]
        if self.client_ca is not None:
            paths.append(self.client_ca)
        return Reloaded("tls", paths, lambda content: read_material(paths, content, wall_clock()))


def server_credentials(files: Reloaded[Material]) -> grpc.ServerCredentials:
    """What gRPC serves with: always the newest good files."""
    given = files.value

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        newest = files.look()
        if newest is given:
            return None
        given = newest
        return _configuration(newest)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(given),
        fetch,  # type: ignore[arg-type]  # None, "no change", is left out of the stubs
        require_client_authentication=given.client_ca is not None,
    )


def _configuration(of: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(of.key, of.certificate)], of.client_ca)
