"""The address of the admission webhook: its application, its certificate, its port, joined.

New certificates are for the handshakes that follow; connections that are open stay. They come from
files that are followed, or are made and kept in the cluster (`kubernetes.webhook`).
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry

from controlplane.api.server import HttpServer
from controlplane.kubernetes.webhook.app import WebhookApp
from controlplane.settings import ServeSettings
from controlplane.telemetry.certificates import CertificateWatch
from controlplane.xds.reloaded import Reloaded, keep_fresh
from controlplane.xds.status import Reload
from controlplane.xds.tls import Tls

if TYPE_CHECKING:
    from controlplane.kubernetes.cluster import Cluster
    from controlplane.kubernetes.webhook.certificates import Pair
    from controlplane.xds.certificates import Material

logger = structlog.get_logger(__name__)

FILES_S = 5.0
KEEP_ALIVE_S = 100
"""API servers let a connection idle for 90 s. Whoever closes first must not be us: a review that is
just being sent would fail (as in linkerd/linkerd2#14096)."""
_ENTRY = "tls.crt"


class Webhook:
    """Before a certificate is there, connections to it fail."""

    def __init__(
        self,
        settings: ServeSettings,
        policies: Collection[str],
        *,
        registry: CollectorRegistry,
        certificates: CertificateWatch,
        wall_clock: Callable[[], float],
        files_s: float = FILES_S,
    ) -> None:
        """Raises `StartupError` where there are files and they cannot be used. `files_s`: between
        two looks at them."""
        self._configuration = settings.webhook_configuration
        self._certificates = certificates
        self._wall_clock = wall_clock
        self._files_s = files_s
        self._files: Reloaded[Material] | None = None
        self._path = ""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.webhook_cert is not None and settings.webhook_key is not None:
            self._files = Tls(settings.webhook_cert, settings.webhook_key).open(wall_clock)
            self._path = str(settings.webhook_cert)
            self._use_files(self._files.value)
        self._app = WebhookApp(policies, registry)
        self.server = HttpServer(self._app, "webhook", self._context, KEEP_ALIVE_S)

    def close(self) -> None:
        """Let its threads go."""
        self._app.close()

    async def keep(self, cluster: Cluster) -> None:
        """For ever: look after the certificate."""
        if self._files is not None:
            await keep_fresh([self._files], self._reloaded, self._files_s)
        else:
            await cluster.upkeep(self._configuration, self._wall_clock, self._show).run()

    def _show(self, pair: Pair, place: str) -> None:
        show(self._context, pair.certificate, pair.key)
        self._certificates.own("Secret", place, _ENTRY, pair.ends.timestamp())

    def _reloaded(self, what: Reload) -> None:
        assert self._files is not None
        if what.problem:
            logger.warning("the new certificate of the webhook is refused", why=what.problem)
        else:
            self._use_files(self._files.value)
            logger.info("a new certificate for the webhook")

    def _use_files(self, material: Material) -> None:
        show(self._context, material.certificate, material.key)
        self._certificates.own("File", self._path, _ENTRY, material.expires_at_s)


def show(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Have the handshakes that follow show this certificate. PEM that fits together."""
    with _in_memory(certificate + b"\n" + key) as path:
        context.load_cert_chain(path)


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """The library reads files alone; a key is not to lie on a disk for that."""
    number = os.memfd_create("certificate", os.MFD_CLOEXEC)
    with os.fdopen(number, "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{number}"
