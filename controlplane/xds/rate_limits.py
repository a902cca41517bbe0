"""The rate limit service (RLS): Envoy asks about each request that is limited, on the xDS address.

Transport only. A question names no node, so what holds for who may be which node cannot be asked
here: whoever may connect may ask about every rule.
"""

from __future__ import annotations

import grpc

from controlplane.errors import RateLimitError, WeirError
from controlplane.ports import RateLimiter
from controlplane.xds.connection import end
from controlplane.xds.gate import DeniedError, Gate
from controlplane.xds.status import Observer, Refusal
from controlplane.xds.telemetry import Context, TelemetryMetrics

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"
MAX_BYTES = 256 * 1024
"""Of a question. Envoy puts headers of the request into it."""
MAX_WAITING = 1000
"""Questions that wait for their answers at a time; one more is refused RESOURCE_EXHAUSTED."""


class RateLimitService:
    """Serves ShouldRateLimit."""

    def __init__(
        self,
        limiter: RateLimiter,
        metrics: TelemetryMetrics,
        gate: Gate | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._limiter = limiter
        self._metrics = metrics
        self._gate = gate or Gate()
        self._observer = observer
        self._waiting = 0

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        """What a grpc.aio server serves; it may share its address with the other services."""
        method = grpc.unary_unary_rpc_method_handler(self._should_rate_limit)
        return grpc.method_handlers_generic_handler(SERVICE, {"ShouldRateLimit": method})

    async def _should_rate_limit(self, request: bytes, context: Context) -> bytes:
        try:
            self._gate.peer(context)
        except DeniedError as why:
            if self._observer is not None:
                self._observer(Refusal(None, "", why.code, f"rate_limits: {why}"))
            return await self._refuse(context, why.code, why.reason, str(why))
        if len(request) > MAX_BYTES:
            words = f"{len(request)} bytes in a question, at most {MAX_BYTES}"
            return await self._refuse(context, "RESOURCE_EXHAUSTED", "size", words)
        if self._waiting >= MAX_WAITING:
            words = f"{MAX_WAITING} questions wait already"
            return await self._refuse(context, "RESOURCE_EXHAUSTED", "waiting", words)
        self._waiting += 1
        try:
            return await self._limiter.decide(request)
        except RateLimitError as error:
            return await self._refuse(context, "INVALID_ARGUMENT", "garbage", str(error))
        except WeirError as error:
            return await self._refuse(context, "UNAVAILABLE", "undecided", str(error))
        finally:
            self._waiting -= 1

    async def _refuse(self, context: Context, code: str, reason: str, words: str) -> bytes:
        self._metrics.closed.labels("rate_limits", reason).inc()
        await end(context, code, words)
        return b""
