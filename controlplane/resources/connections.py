"""Of a `TrafficPolicy`: how an Envoy connects to the endpoints of a Backend, and how often."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from controlplane.resources.kinds import Duration, Fields, Integer, Number

Limit = Annotated[Integer, Field(ge=1, le=2**32 - 1)]
Percent = Annotated[Number, Field(ge=0, le=100)]


class RetryBudget(Fields):
    """How many retries there may be beside the requests in flight."""

    budget_percent: Percent = Field(
        default=20.0, description="Retries in flight, in percent of all requests in flight."
    )
    min_retry_concurrency: Limit = Field(default=3, description="So many are always allowed.")


class PerEndpoint(Fields):
    """Limits of each endpoint."""

    max_connections: Limit = Field(description="Connections of one Envoy to one endpoint.")


class CircuitBreaker(Fields):
    """What one Envoy sends to a Backend at a time; what is more is answered 503 at once.

    Requests of `priority: High` are counted apart, against the same limits.
    """

    max_connections: Limit | None = Field(
        default=None, description="Connections; not given: no limit."
    )
    max_pending_requests: Limit | None = Field(
        default=None, description="Requests that wait for a connection; not given: no limit."
    )
    max_parallel_requests: Limit | None = Field(
        default=None, description="Requests in flight; not given: no limit."
    )
    max_parallel_retries: Limit | None = Field(
        default=None, description="Retries in flight, in place of `retryBudget`."
    )
    max_requests_per_connection: Limit | None = Field(
        default=None, description="A connection is closed after so many; not given: no limit."
    )
    retry_budget: RetryBudget = RetryBudget()
    per_endpoint: PerEndpoint | None = Field(default=None, description="Not given: no limit.")

    @model_validator(mode="after")
    def _one_bound_of_retries(self) -> CircuitBreaker:
        if self.max_parallel_retries and "retry_budget" in self.model_fields_set:
            raise ValueError("retryBudget and maxParallelRetries both bound retries; take one")
        return self


class TcpKeepalive(Fields):
    """Probes on silent connections. What is not given is as the operating system has it."""

    probes: Limit | None = Field(default=None, description="Lost probes that end a connection.")
    idle_time: Annotated[Duration, Field(ge=1)] | None = Field(
        default=None, description="Silence before the first probe, in whole seconds."
    )
    interval: Annotated[Duration, Field(ge=1)] | None = Field(
        default=None, description="Between two probes, in whole seconds."
    )

    @model_validator(mode="after")
    def _whole_seconds(self) -> TcpKeepalive:
        for name, value in (("idleTime", self.idle_time), ("interval", self.interval)):
            if value is not None and not value.is_integer():
                raise ValueError(f"{name} is in whole seconds, as TCP has it")
        return self


class Connection(Fields):
    """What a connection to an endpoint may hold."""

    buffer_limit: Annotated[Integer, Field(ge=1024, le=64 * 1024 * 1024)] = Field(
        default=32 * 1024,
        description="Bytes that are held for one, softly: more is not read until these are sent.",
    )


class TcpTimeout(Fields):
    """Of the connection."""

    connect_timeout: Annotated[Duration, Field(ge=0.001, le=60)] = Field(
        default=1.0, description="To connect, TLS included."
    )


class HttpTimeout(Fields):
    """Of connections and requests."""

    connection_idle_timeout: Annotated[Duration, Field(ge=0.001)] | None = Field(
        default=None, description="A connection without requests is closed; not given: 1h."
    )
    max_connection_duration: Annotated[Duration, Field(ge=0.001)] | None = Field(
        default=None,
        description="An older connection takes no more requests; not given: no limit.",
    )
    request_timeout: Duration | None = Field(
        default=None,
        description="Of a request with all its tries, where the route says nothing; `0s`: no "
        "limit; not given: 15s.",
    )


class Timeout(Fields):
    """How long things may take."""

    tcp: TcpTimeout = TcpTimeout()
    http: HttpTimeout = HttpTimeout()
