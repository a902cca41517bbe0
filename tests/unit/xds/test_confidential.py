"""What no status shows, held against Envoy's own complete messages."""

from __future__ import annotations

from typing import Any as Untyped

import pytest
from envoy_data_plane.envoy.config.core.v3 import DataSource, TransportSocket
from envoy_data_plane.envoy.config.listener.v3 import FilterChain, Listener
from envoy_data_plane.envoy.extensions.filters.http.basic_auth.v3 import BasicAuth
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    SdsSecretConfig,
    TlsCertificate,
    TlsSessionTicketKeys,
    UpstreamTlsContext,
)
from envoy_data_plane.google.protobuf import Any

from controlplane.xds.confidential import confidential
from controlplane.xds.kinds import CLUSTER, LISTENER, SECRET

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
        with_certificate(private_key=KEY),
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
    for value in (b"\x12\x04\x0a\xff\xff\xff", b"\x12", b"\x1a\x00", b""):
        assert confidential(CLUSTER, b"\x0a\x50" + url + value)


def test_secrets_and_carriers_of_passwords_are_withheld() -> None:
    assert confidential(SECRET, b"anything")
    packed = Any.pack(BasicAuth(users=DataSource(inline_string="me:{SHA}x")))
    assert confidential(
        "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", bytes(packed)
    )
    assert not confidential(CLUSTER, b"")
