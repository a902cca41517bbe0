"""`extAuth` of a SecurityPolicy: a service of one's own that says who may."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from controlplane.resources.filters import BackendObjectRef
from controlplane.resources.kinds import Duration, Fields, Flag, Integer
from controlplane.resources.matches import HeaderName, check_path

MAX_BODY_BYTES = 1024 * 1024
_STATUSES = frozenset(
    {*range(400, 418), *range(421, 425), 426, 428, 429, 431, *range(500, 509), 510, 511}
)
"""Errors that Envoy has a name for: it takes no other status here."""


def _status(code: int) -> int:
    if code not in _STATUSES:
        raise ValueError("want the status of an error that HTTP defines, such as 403 or 503")
    return code


class GrpcExtAuth(Fields):
    """A service that speaks `envoy.service.auth.v3.Authorization`."""

    backend_refs: tuple[BackendObjectRef, ...] = Field(
        min_length=1, max_length=1, description="The Backend; it is spoken to in HTTP/2."
    )


class HttpExtAuth(Fields):
    """A service that answers 200 to let a request through, and else with what the client gets."""

    backend_refs: tuple[BackendObjectRef, ...] = Field(
        min_length=1, max_length=1, description="The Backend."
    )
    path: Annotated[str, AfterValidator(check_path)] | None = Field(
        default=None, description="Stands before the path of the request."
    )
    headers_to_backend: tuple[HeaderName, ...] = Field(
        default=(),
        max_length=64,
        description="Headers of its answer that the Backend gets, in place of the client's. What a "
        "client says in those that the service is not shown is taken away.",
    )


class BodyToExtAuth(Fields):
    """The service gets the body too."""

    max_request_bytes: Annotated[Integer, Field(ge=1, le=MAX_BODY_BYTES)] = Field(
        description="Larger requests are answered 413."
    )


class ExtAuth(Fields):
    """Each request is shown to a service first."""

    grpc: GrpcExtAuth | None = Field(default=None, description="Either this")
    http: HttpExtAuth | None = Field(default=None, description="or this.")
    fail_open: Flag = Field(
        default=False, description="Let requests through while the service cannot be asked."
    )
    headers_to_ext_auth: tuple[HeaderName, ...] = Field(
        default=(),
        max_length=64,
        description="Headers that the service gets. Not given: of gRPC all; of HTTP "
        "`Authorization` alone, with host, method and path.",
    )
    body_to_ext_auth: BodyToExtAuth | None = None
    status_on_error: Annotated[Integer, AfterValidator(_status)] = Field(
        default=403, description="The answer while the service cannot be asked."
    )
    timeout: Annotated[Duration, Field(gt=0, le=60)] = Field(
        default=1.0, description="How long the service may take."
    )
    recompute_route: Flag = Field(
        default=False, description="Choose the route again with the headers of the service."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> ExtAuth:
        if (self.grpc is None) == (self.http is None):
            raise ValueError("extAuth has either grpc or http")
        return self

    @property
    def backend_ref(self) -> BackendObjectRef:
        """The service."""
        found = self.grpc or self.http
        assert found is not None
        return found.backend_refs[0]
