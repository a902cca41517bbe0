"""`TrafficPolicy`: how requests are sent on, and within which limits. The words are those of Envoy
Gateway's BackendTrafficPolicy."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from controlplane.resources.compression import Compressor, once
from controlplane.resources.extensions import ExtProc, Lua, Wasm, wasm_once
from controlplane.resources.kinds import Fields, Integer, WeirApiVersion
from controlplane.resources.response_cache import ResponseCache
from controlplane.resources.target import BackendTargetRef, Policy, PolicySpec
from controlplane.resources.telemetry import RouteTelemetry

Limit = Annotated[Integer, Field(ge=1, le=2**32 - 1)]


class CircuitBreaker(Fields):
    """What one Envoy sends to a Backend at a time; what is more is answered 503 at once."""

    max_connections: Limit | None = Field(
        default=None, description="Connections; not given: no limit."
    )
    max_pending_requests: Limit | None = Field(
        default=None, description="Requests that wait for a connection; not given: no limit."
    )
    max_parallel_requests: Limit | None = Field(
        default=None, description="Requests in flight; not given: no limit."
    )


class RequestBuffer(Fields):
    """Requests are taken in whole before they are sent on."""

    limit: Annotated[Integer, Field(ge=1, le=64 * 1024 * 1024)] = Field(
        description="Bytes of a body; what is larger is answered 413."
    )


class TrafficPolicySpec(PolicySpec):
    """What it is for, and how."""

    target_refs: tuple[BackendTargetRef, ...] = Field(
        min_length=1, max_length=16, description="What the policy is for."
    )
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    request_buffer: RequestBuffer | None = Field(
        default=None, description="Not given: bodies are passed on as they come."
    )
    compressor: Annotated[tuple[Compressor, ...], AfterValidator(once)] = Field(
        default=(), max_length=3, description="The encodings that are offered."
    )
    lua: tuple[Lua, ...] = Field(default=(), max_length=1, description="A script to run.")
    ext_proc: tuple[ExtProc, ...] = Field(
        default=(), max_length=1, description="A service to ask; it sees what `lua` made."
    )
    wasm: Annotated[tuple[Wasm, ...], AfterValidator(wasm_once)] = Field(
        default=(), max_length=4, description="Modules to run, after `extProc`, in this order."
    )
    response_cache: ResponseCache | None = Field(
        default=None, description="Not given: every request is sent on."
    )
    telemetry: RouteTelemetry = RouteTelemetry()


class TrafficPolicy(Policy):
    """How requests are sent on."""

    about: ClassVar[str] = (
        "Of several policies the nearest counts, as a whole. Of two for one target the older "
        "is in force, then the first by name; the other is reported."
    )
    api_version: WeirApiVersion
    kind: Literal["TrafficPolicy"]
    spec: TrafficPolicySpec
