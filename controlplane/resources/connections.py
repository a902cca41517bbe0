"""How much one Envoy sends to a Backend at a time."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from controlplane.resources.kinds import Fields, Integer

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
