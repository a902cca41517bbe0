"""TLS with Backends: whom we believe, and what we show."""

from __future__ import annotations

from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import DataSource, TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    CommonTlsContextCombinedCertificateValidationContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from controlplane.resources.backend_tls import BackendTlsValidation
from controlplane.resources.trust import Bundle
from controlplane.translate.secrets import by_name
from controlplane.translate.wire import packed, wire


def encrypted(
    said: BackendTlsValidation, bundle: Bundle | None, system_ca: str, certificate: str | None
) -> bytes:
    """The part of a Cluster. `bundle` is whom to believe, None: the CAs in the file `system_ca`;
    `certificate` is the secret that is shown to who asks for one."""
    names = wire(CertificateValidationContext, match_typed_subject_alt_names=_names(said))
    if bundle is None:
        file = wire(CertificateValidationContext, trusted_ca=wire(DataSource, filename=system_ca))
        believed = wire(CommonTlsContext, validation_context=names + file)
    else:
        combined = wire(
            CommonTlsContextCombinedCertificateValidationContext,
            default_validation_context=names,
            validation_context_sds_secret_config=by_name(bundle.name),
        )
        believed = wire(CommonTlsContext, combined_validation_context=combined)
    shown = [by_name(certificate)] if certificate is not None else []
    # As a client Envoy stops at TLS 1.2 unless told.
    versions = wire(
        TlsParameters,
        tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2,
        tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3,
    )
    common = believed + wire(
        CommonTlsContext, tls_params=versions, tls_certificate_sds_secret_configs=shown
    )
    context = wire(UpstreamTlsContext, common_tls_context=common, sni=said.hostname)
    socket = wire(
        TransportSocket,
        name="envoy.transport_sockets.tls",
        typed_config=packed(UpstreamTlsContext, context),
    )
    return wire(Cluster, transport_socket=socket)


def _names(said: BackendTlsValidation) -> list[bytes]:
    """The names of which one must be in the certificate."""
    if not said.subject_alt_names:
        return [_name(SubjectAltNameMatcherSanType.DNS, said.hostname)]
    return [
        _name(SubjectAltNameMatcherSanType.DNS, one.hostname)
        if one.hostname is not None
        else _name(SubjectAltNameMatcherSanType.URI, one.uri or "")
        for one in said.subject_alt_names
    ]


def _name(kind: SubjectAltNameMatcherSanType, name: str) -> bytes:
    return wire(SubjectAltNameMatcher, san_type=kind, matcher=wire(StringMatcher, exact=name))
