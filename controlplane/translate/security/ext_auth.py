"""A service of one's own is asked whether a request may pass."""

from __future__ import annotations

from collections.abc import Sequence

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as Mutation
from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    HttpUri,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import (
    AuthorizationResponse,
    BufferSettings,
    ExtAuthz,
    HttpService,
)
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import (
    HeaderMutation,
    Mutations,
)
from envoy_data_plane.envoy.type.matcher.v3 import ListStringMatcher, StringMatcher
from envoy_data_plane.envoy.type.v3 import HttpStatus

from controlplane.resources import ext_auth as declared_auth
from controlplane.translate.clusters import asked, over_http_2
from controlplane.translate.security.delegation import in_order
from controlplane.translate.types import extension
from controlplane.translate.wire import duration, packed, wire


def _cluster(auth: declared_auth.ExtAuth, backend: str) -> str:
    """For gRPC one that speaks HTTP/2."""
    return asked(over_http_2(backend) if auth.grpc else backend)


def for_route(auth: declared_auth.ExtAuth, backend: str) -> bytes:
    """For a route: ask this Backend."""
    made = wire(
        ExtAuthz,
        transport_api_version=ApiVersion.V3,
        failure_mode_allow=auth.fail_open,
        status_on_error=wire(HttpStatus, code=auth.status_on_error),
        clear_route_cache=auth.recompute_route,
        validate_mutations=True,
    )
    if auth.headers_to_ext_auth:
        made += wire(ExtAuthz, allowed_headers=_names(auth.headers_to_ext_auth))
    if auth.body_to_ext_auth:
        settings = wire(BufferSettings, max_request_bytes=auth.body_to_ext_auth.max_request_bytes)
        made += wire(ExtAuthz, with_request_body=settings)
    made += _grpc(auth, backend) if auth.grpc else _http(auth, backend)
    asking = extension("envoy.filters.http.ext_authz", packed(ExtAuthz, made))
    unseen = _told_unseen(auth)
    return in_order([_without(unseen), asking] if unseen else [asking])


def _told_unseen(auth: declared_auth.ExtAuth) -> list[str]:
    """What the Backend hears of the service alone: headers that the service is not shown, so that
    what a client says in them would pass where the service says nothing."""
    if auth.http is None:
        return []
    shown = {"authorization", *(name.lower() for name in auth.headers_to_ext_auth)}
    return sorted({name.lower() for name in auth.http.headers_to_backend} - shown)


def _without(names: Sequence[str]) -> bytes:
    """The filter that takes headers away from requests."""
    mutations = wire(Mutations, request_mutations=[wire(Mutation, remove=one) for one in names])
    config = packed(HeaderMutation, wire(HeaderMutation, mutations=mutations))
    return extension("envoy.filters.http.header_mutation", config)


def _grpc(auth: declared_auth.ExtAuth, backend: str) -> bytes:
    to = wire(GrpcServiceEnvoyGrpc, cluster_name=_cluster(auth, backend))
    service = wire(GrpcService, envoy_grpc=to, timeout=duration(auth.timeout))
    return wire(ExtAuthz, grpc_service=service)


def _http(auth: declared_auth.ExtAuth, backend: str) -> bytes:
    assert auth.http is not None
    uri = wire(
        HttpUri,
        uri=f"http://{backend.replace('/', '.')}",  # Envoy sends the client's host, not this one
        cluster=_cluster(auth, backend),
        timeout=duration(auth.timeout),
    )
    service = wire(HttpService, server_uri=uri, path_prefix=auth.http.path or "")
    if auth.http.headers_to_backend:
        allowed = _names(auth.http.headers_to_backend)
        response = wire(AuthorizationResponse, allowed_upstream_headers=allowed)
        service += wire(HttpService, authorization_response=response)
    return wire(ExtAuthz, http_service=service)


def _names(names: tuple[str, ...]) -> bytes:
    patterns = [wire(StringMatcher, exact=name, ignore_case=True) for name in names]
    return wire(ListStringMatcher, patterns=patterns)
