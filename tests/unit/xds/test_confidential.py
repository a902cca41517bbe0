"""What no status shows, held against Envoy's own complete messages."""

from __future__ import annotations

from typing import Any as Untyped

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterEdsClusterConfig
from envoy_data_plane.envoy.config.core.v3 import (
    ApiConfigSource,
    ConfigSource,
    DataSource,
    GrpcService,
    GrpcServiceGoogleGrpc,
    GrpcServiceGoogleGrpcCallCredentials,
    GrpcServiceGoogleGrpcChannelCredentials,
    GrpcServiceGoogleGrpcSslCredentials,
    TransportSocket,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.extensions.filters.http.basic_auth.v3 import BasicAuth
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import ExtAuthz
from envoy_data_plane.envoy.extensions.filters.http.jwt_authn.v3 import (
    JwtAuthentication,
    JwtProvider,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
)
from envoy_data_plane.envoy.extensions.grpc_service.call_credentials.service_account_jwt_access.v3 import (  # noqa: E501
    ServiceAccountJwtAccessCredentials,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    SdsSecretConfig,
    TlsCertificate,
    TlsSessionTicketKeys,
    UpstreamTlsContext,
)
from envoy_data_plane.google.protobuf import Any

from controlplane.xds.confidential import MOST_BYTES, WITHHELD, confidential, told
from controlplane.xds.kinds import CLUSTER, EXTENSION, LISTENER, SECRET
from controlplane.xds.versions import Resource

KEY = DataSource(inline_bytes=b"\x30\x82 DER, so no marker gives it away")


def listener(*contexts: DownstreamTlsContext | UpstreamTlsContext) -> bytes:
    return bytes(
        Listener(
            name="in",
            filter_chains=[
                FilterChain(
                    transport_socket=TransportSocket(name="tls", typed_config=Any.pack(context))
                )
                for context in contexts
            ],
        )
    )


def with_certificate(**fields: Untyped) -> CommonTlsContext:  # noqa: ANN401
    chain = DataSource(inline_string="a certificate")
    return CommonTlsContext(tls_certificates=[TlsCertificate(certificate_chain=chain, **fields)])


BY_VALUE = with_certificate(private_key=KEY)
BY_NAME = CommonTlsContext(
    tls_certificate_sds_secret_configs=[SdsSecretConfig(name="default/cert")]
)
BY_FILE = with_certificate(private_key=DataSource(filename="/etc/key.pem"))


@pytest.mark.parametrize("common", [BY_NAME, BY_FILE], ids=["by name", "by file"])
def test_a_context_that_refers_to_its_key_is_shown(common: CommonTlsContext) -> None:
    body = listener(
        DownstreamTlsContext(common_tls_context=common),
        UpstreamTlsContext(common_tls_context=common),
    )
    assert not confidential(LISTENER, body)


@pytest.mark.parametrize(
    "common",
    [
        BY_VALUE,
        with_certificate(pkcs12=KEY),
        with_certificate(password=DataSource(inline_string="secret")),
    ],
    ids=["key", "pkcs12", "password"],
)
def test_a_context_that_brings_its_key_along_is_withheld_wherever_it_stands(
    common: CommonTlsContext,
) -> None:
    harmless = DownstreamTlsContext(common_tls_context=BY_NAME)
    for context in (
        DownstreamTlsContext(common_tls_context=common),
        UpstreamTlsContext(common_tls_context=common),
    ):
        assert confidential(LISTENER, listener(context))
        assert confidential(LISTENER, listener(harmless, harmless, context))


def test_ticket_keys_are_withheld() -> None:
    tickets = DownstreamTlsContext(
        common_tls_context=BY_NAME, session_ticket_keys=TlsSessionTicketKeys(keys=[KEY])
    )
    assert confidential(LISTENER, listener(tickets))


def test_what_cannot_be_read_is_withheld() -> None:
    url = b"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    for value in (b"\x12\x04\x0a\xff\xff\xff", b"\x12", b"\x12\x05", b"\x1a\x00"):
        assert confidential(CLUSTER, b"\x0a\x50" + url + value)
    assert not confidential(CLUSTER, b"\x0a\x50" + url)


def test_secrets_and_carriers_of_passwords_are_withheld() -> None:
    assert confidential(SECRET, b"anything")
    packed = Any.pack(BasicAuth(users=DataSource(inline_string="me:{SHA}x")))
    assert confidential(
        "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", bytes(packed)
    )
    assert not confidential(CLUSTER, b"")


def filters(*packed: Untyped) -> bytes:  # noqa: ANN401
    """A listener with these HTTP filters, each within a message within a message."""
    http = [HttpFilter(name="f", typed_config=Any.pack(one)) for one in packed]
    manager = Any.pack(HttpConnectionManager(stat_prefix="in", http_filters=http))
    chain = FilterChain(filters=[Filter(name="http", typed_config=manager)])
    return bytes(Listener(name="in", filter_chains=[chain]))


def google(**fields: Untyped) -> GrpcService:  # noqa: ANN401
    return GrpcService(
        google_grpc=GrpcServiceGoogleGrpc(target_uri="auth", stat_prefix="auth", **fields)
    )


def call(**fields: Untyped) -> GrpcService:  # noqa: ANN401
    return google(call_credentials=[GrpcServiceGoogleGrpcCallCredentials(**fields)])


def channel(key: DataSource) -> GrpcService:
    ssl = GrpcServiceGoogleGrpcSslCredentials(private_key=key)
    return google(channel_credentials=GrpcServiceGoogleGrpcChannelCredentials(ssl_credentials=ssl))


SERVICES = pytest.mark.parametrize(
    ("service", "withheld"),
    [
        (call(access_token="secret"), True),
        (call(google_refresh_token="secret"), True),
        (channel(KEY), True),
        (channel(DataSource(filename="/etc/key.pem")), False),
        (google(), False),
    ],
    ids=["access token", "refresh token", "key", "key by file", "nothing"],
)


@SERVICES
def test_credentials_of_a_grpc_service_are_withheld_wherever_it_stands(
    service: GrpcService, withheld: bool
) -> None:
    harmless = Router()  # empty, so its `Any` has no value
    listened = filters(harmless, ExtAuthz(grpc_service=service), harmless)
    assert confidential(LISTENER, listened) is withheld
    eds = ConfigSource(api_config_source=ApiConfigSource(grpc_services=[service]))
    cluster = Cluster(name="web", eds_cluster_config=ClusterEdsClusterConfig(eds_config=eds))
    assert confidential(CLUSTER, bytes(cluster)) is withheld


@pytest.mark.parametrize(
    ("jwks", "withheld"),
    [
        ('{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}', False),
        ('{"keys": []}', False),
        ('{"keys": [{"kty": "EC", "x": "a"}, {"kty": "oct", "k": "secret"}]}', True),
        ('{"keys": [{"kty": "oct", "\\u006b": "secret"}]}', True),
        ('{"keys": [{"kty": "EC", "d": "secret"}]}', True),
        ("secret", True),
        ('{"keys": "secret"}', True),
        ("[" * 100_000, True),
    ],
)
def test_secret_keys_of_tokens_are_withheld_and_public_ones_are_not(
    jwks: str, withheld: bool
) -> None:
    provider = JwtProvider(issuer="i", local_jwks=DataSource(inline_string=jwks))
    body = filters(JwtAuthentication(providers={"p": provider}), Router())
    assert confidential(LISTENER, body) is withheld


def field(number: int, value: bytes) -> bytes:
    """As protobuf writes it, of less than 128 bytes."""
    return bytes((number << 3 | 2, len(value))) + value


def test_what_is_beside_an_empty_message_is_not_taken_for_its_content() -> None:
    empty = bytes(Any.pack(UpstreamTlsContext()))
    assert not confidential(CLUSTER, field(1, empty) + field(2, b"\xff\xff\xff"))


@pytest.mark.parametrize("struct", ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"])
def test_a_struct_in_place_of_a_message_that_may_have_credentials_is_withheld(struct: str) -> None:
    for name, withheld in (("BasicAuth", True), ("Harmless", False)):
        url = f"type.googleapis.com/envoy.extensions.filters.http.basic_auth.v3.{name}"
        typed = field(1, url.encode()) + field(2, b"\x0a\x03a=b")
        packed = Any(type_url=f"type.googleapis.com/{struct}", value=typed)
        body = bytes(TypedExtensionConfig(name="f", typed_config=packed))
        assert confidential(EXTENSION, body) is withheld


def test_a_type_of_a_long_name_is_found_too() -> None:
    plugin = ServiceAccountJwtAccessCredentials(json_key="secret")
    body = filters(ExtAuthz(grpc_service=google(call_credentials_plugin=[Any.pack(plugin)])))
    assert confidential(LISTENER, body)


def test_a_refusal_of_what_carries_a_secret_or_is_too_large_to_tell_is_withheld() -> None:
    harmless = Resource.of("a", bytes(Cluster(name="a")))
    secret = Resource.of("b", listener(UpstreamTlsContext(common_tls_context=BY_VALUE)))
    large = Resource.of("c", bytes(Cluster(name="c" * MOST_BYTES)))
    for _ in range(2):
        assert told("no", CLUSTER, [harmless]) == "no"
        assert told("no", CLUSTER, [harmless, secret]) == WITHHELD
        assert told("no", CLUSTER, [harmless, large]) == WITHHELD
        assert told("no", SECRET, [harmless]) == WITHHELD
