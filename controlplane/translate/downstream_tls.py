"""TLS with clients: a filter chain for each host name that they ask for."""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import TransportSocket
from envoy_data_plane.envoy.config.listener.v3 import FilterChainMatch, ListenerFilter
from envoy_data_plane.envoy.extensions.filters.listener.tls_inspector.v3 import TlsInspector
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    CommonTlsContextCombinedCertificateValidationContext,
    DownstreamTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsParameters,
    TlsParametersTlsProtocol,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher

from controlplane.resources.client_tls import ClientTls, NameMatch, SubjectAltNames
from controlplane.translate.ports import Secured
from controlplane.translate.secrets import by_name
from controlplane.translate.wire import TRUE, packed, wire

_VERSIONS = {"1.2": TlsParametersTlsProtocol.TLSv1_2, "1.3": TlsParametersTlsProtocol.TLSv1_3}


def inspector() -> bytes:
    """Reads which host name a client asks for."""
    return wire(
        ListenerFilter,
        name="envoy.filters.listener.tls_inspector",
        typed_config=packed(TlsInspector),
    )


def match(host: str | None) -> bytes:
    """Connections for a host name; without one, or for `*`, those that nobody else takes."""
    names = [host] if host and host != "*" else []
    return wire(FilterChainMatch, server_names=names)


def socket(secured: Secured, alpn: tuple[str, ...]) -> bytes:
    """How TLS over TCP is ended for a listener, and what may be spoken in it (ALPN; nothing: not
    said)."""
    return wire(
        TransportSocket,
        name="envoy.transport_sockets.tls",
        typed_config=packed(DownstreamTlsContext, context(secured, alpn)),
    )


def context(secured: Secured, alpn: tuple[str, ...] = ()) -> bytes:
    """What is agreed upon with clients of a listener, over TCP or QUIC."""
    tls = secured.client.tls
    common = wire(
        CommonTlsContext,
        tls_params=_parameters(tls),
        alpn_protocols=alpn,
        tls_certificate_sds_secret_configs=[by_name(one.name) for one in secured.certificates],
    )
    if tls.client_validation is None:
        return wire(DownstreamTlsContext, common_tls_context=common)
    assert secured.bundle is not None  # a listener without one is not opened
    names = tls.client_validation.subject_alt_names
    validated = wire(
        CommonTlsContextCombinedCertificateValidationContext,
        default_validation_context=wire(
            CertificateValidationContext,
            match_typed_subject_alt_names=_names(names) if names else [],
        ),
        validation_context_sds_secret_config=by_name(secured.bundle.name),
    )
    common += wire(CommonTlsContext, combined_validation_context=validated)
    out = wire(DownstreamTlsContext, common_tls_context=common)
    if not tls.client_validation.optional:
        out += wire(DownstreamTlsContext, require_client_certificate=TRUE)
    return out


def _parameters(tls: ClientTls) -> bytes:
    return wire(
        TlsParameters,
        tls_minimum_protocol_version=_VERSIONS[tls.min_version],
        tls_maximum_protocol_version=_VERSIONS[tls.max_version],
        cipher_suites=tls.ciphers,
        ecdh_curves=tls.ecdh_curves,
        signature_algorithms=tls.signature_algorithms,
    )


def _names(names: SubjectAltNames) -> list[bytes]:
    kinds = (
        (SubjectAltNameMatcherSanType.DNS, names.dns_names),
        (SubjectAltNameMatcherSanType.EMAIL, names.email_addresses),
        (SubjectAltNameMatcherSanType.IP_ADDRESS, names.ip_addresses),
        (SubjectAltNameMatcherSanType.URI, names.uris),
    )
    return [
        wire(SubjectAltNameMatcher, san_type=kind, matcher=_matcher(one))
        for kind, matches in kinds
        for one in matches
    ]


def _matcher(one: NameMatch) -> bytes:
    match one.type:
        case "Exact":
            return wire(StringMatcher, exact=one.value)
        case "Prefix":
            return wire(StringMatcher, prefix=one.value)
        case "Suffix":
            return wire(StringMatcher, suffix=one.value)
        case "RegularExpression":
            return wire(StringMatcher, safe_regex=wire(RegexMatcher, regex=one.value))
