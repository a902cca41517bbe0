"""How an Envoy connects to Weir by mutual TLS, and takes up new files without a restart.

Envoy follows certificate files only where they come to it as secrets (SDS), so there are two small
files beside the bootstrap that name them: `certificate_secret` and `ca_secret` are their content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
_CERTIFICATE = "weir_client"
_CA = "weir_ca"


@dataclass(frozen=True, slots=True)
class ClientTls:
    """Paths on the machine of the Envoy, and whom it expects at the other end."""

    certificate: str
    """PEM: the Envoy's own certificate, then its intermediates."""
    key: str
    ca: str
    """PEM: the CA of Weir's certificate."""
    server_name: str
    """A DNS name, or a URI such as a SPIFFE ID, that Weir's certificate must have."""
    secrets: str
    """Folder of the two secret files, `sds-client.yaml` and `sds-ca.yaml`."""

    def transport_socket(self) -> dict[str, Any]:
        """Of the cluster that leads to Weir."""
        uri = ":" in self.server_name
        name = {"san_type": "URI" if uri else "DNS", "matcher": {"exact": self.server_name}}
        context: dict[str, Any] = {
            "@type": f"{_TLS}.UpstreamTlsContext",
            "max_session_keys": 0,  # each connection is verified, with the newest certificate
            "common_tls_context": {
                # A client of Envoy stops at 1.2 unless told; gRPC insists on ALPN.
                "tls_params": {
                    "tls_minimum_protocol_version": "TLSv1_3",
                    "tls_maximum_protocol_version": "TLSv1_3",
                },
                "alpn_protocols": ["h2"],
                "tls_certificate_sds_secret_configs": [self._secret(_CERTIFICATE, "client")],
                "combined_validation_context": {
                    "default_validation_context": {"match_typed_subject_alt_names": [name]},
                    "validation_context_sds_secret_config": self._secret(_CA, "ca"),
                },
            },
        }
        if not uri:
            context["sni"] = self.server_name
        return {"name": "envoy.transport_sockets.tls", "typed_config": context}

    def files(self) -> Mapping[str, dict[str, Any]]:
        """Content of the secret files by name. Certificate and key should share a folder: Envoy
        watches folders, for files that are renamed into them and for the swapped link of a mounted
        Secret."""
        certificate = {
            "certificate_chain": {"filename": self.certificate},
            "private_key": {"filename": self.key},
            "watched_directory": {"path": _folder(self.certificate)},
        }
        ca = {"trusted_ca": {"filename": self.ca}, "watched_directory": {"path": _folder(self.ca)}}
        return {
            "sds-client.yaml": _resources({"name": _CERTIFICATE, "tls_certificate": certificate}),
            "sds-ca.yaml": _resources({"name": _CA, "validation_context": ca}),
        }

    def _secret(self, name: str, file: str) -> dict[str, Any]:
        path = str(PurePosixPath(self.secrets) / f"sds-{file}.yaml")
        source = {"path_config_source": {"path": path}, "resource_api_version": "V3"}
        return {"name": name, "sds_config": source}


def _folder(file: str) -> str:
    return str(PurePosixPath(file).parent)


def _resources(secret: dict[str, Any]) -> dict[str, Any]:
    return {"resources": [{"@type": f"{_TLS}.Secret", **secret}]}
