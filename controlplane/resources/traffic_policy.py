"""`TrafficPolicy`: how requests are sent on, and within which limits. The words are those of Envoy
Gateway's BackendTrafficPolicy."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from controlplane.resources.classes import TrafficClasses
from controlplane.resources.compression import Compressor, once
from controlplane.resources.connections import CircuitBreaker, Connection, TcpKeepalive, Timeout
from controlplane.resources.delivery import SessionPersistence
from controlplane.resources.extensions import ExtProc, Lua, Wasm, wasm_once
from controlplane.resources.health_check import HealthCheck
from controlplane.resources.kinds import Fields, Flag, Integer, WeirApiVersion
from controlplane.resources.load_balancer import LoadBalancer
from controlplane.resources.rate_limit import RateLimit
from controlplane.resources.resilience import (
    AdaptiveConcurrency,
    AdmissionControl,
    FaultInjection,
    ResponseOverride,
    RetryPolicy,
)
from controlplane.resources.response_cache import ResponseCache
from controlplane.resources.target import BackendTargetRef, Policy, PolicySpec
from controlplane.resources.telemetry import RouteTelemetry


class RequestBuffer(Fields):
    """Requests are taken in whole before they are sent on."""

    limit: Annotated[Integer, Field(ge=1, le=64 * 1024 * 1024)] = Field(
        description="Bytes of a body; what is larger is answered 413."
    )


class PolicySession(SessionPersistence):
    """Requests of one session go to one endpoint while it is there, whatever its weight.

    Where a route has a `sessionPersistence` of its own, `strict` alone is taken from here.
    """

    strict: Flag = Field(
        default=False,
        description="When the endpoint of a session is gone: `true` answers 503, `false` takes "
        "another, and the session stays there.",
    )


class OfConnections(Fields):
    """What is said of the connections of an Envoy to a Backend."""

    circuit_breaker: CircuitBreaker = CircuitBreaker()
    health_check: HealthCheck = HealthCheck()
    load_balancer: LoadBalancer | None = Field(
        default=None, description="Not given: `LeastRequest`."
    )
    timeout: Timeout = Timeout()
    tcp_keepalive: TcpKeepalive | None = Field(default=None, description="Not given: no probes.")
    connection: Connection = Connection()
    admission_control: AdmissionControl | None = Field(
        default=None, description="Not given: all requests are sent."
    )


class OfRequests(Fields):
    """What is said of the requests of a route."""

    retry: RetryPolicy | None = Field(
        default=None,
        description="The `retry` of a route goes before. Not given: once, what never reached an "
        "endpoint.",
    )
    session_persistence: PolicySession | None = Field(
        default=None, description="Not given: as the route has it. For rules with one Backend."
    )
    request_buffer: RequestBuffer | None = Field(
        default=None, description="Not given: bodies are passed on as they come."
    )
    priority: Literal["Default", "High"] = Field(
        default="Default", description="Against which circuit breakers requests are counted."
    )
    rate_limit: RateLimit | None = Field(default=None, description="Not given: no limit.")
    fault_injection: FaultInjection | None = Field(default=None, description="For drills.")
    adaptive_concurrency: AdaptiveConcurrency | None = Field(
        default=None, description="Not given: no limit that moves."
    )
    classes: TrafficClasses = Field(
        default=(),
        max_length=8,
        description="Classes of requests, the first that fits counts; see "
        "[classes.md](../classes.md).",
    )
    response_override: tuple[ResponseOverride, ...] = Field(
        default=(),
        max_length=16,
        description="Answers that are replaced, such as 503 by a page; the first that fits counts.",
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


class TrafficPolicySpec(OfRequests, OfConnections, PolicySpec):
    """What it is for, and how."""

    target_refs: tuple[BackendTargetRef, ...] = Field(
        min_length=1, max_length=16, description="What the policy is for."
    )

    @model_validator(mode="after")
    def _requests_are_of_routes(self) -> TrafficPolicySpec:
        """A Backend has connections; which requests come by them is said by routes."""
        if all(ref.kind != "Backend" for ref in self.target_refs):
            return self
        told = [
            info.alias
            for name, info in OfRequests.model_fields.items()
            if name in self.model_fields_set
        ]
        if "request_timeout" in self.timeout.http.model_fields_set:
            told.append("timeout.http.requestTimeout")
        if told:
            raise ValueError(
                f"{told[0]} says something of requests, and a Backend is a target of connections "
                "alone; put it into a policy for a route or a Gateway"
            )
        return self


class TrafficPolicy(Policy):
    """How requests are sent on."""

    about: ClassVar[str] = (
        "Of several policies the nearest counts, as a whole. Of two for one target the older "
        "is in force, then the first by name; the other is reported. What each field does, and "
        "what it costs, is in [traffic-policy.md](../traffic-policy.md)."
    )
    api_version: WeirApiVersion
    kind: Literal["TrafficPolicy"]
    spec: TrafficPolicySpec
