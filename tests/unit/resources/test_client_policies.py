"""What is said of clients and of TLS: what is refused, and where listeners share a port."""

from __future__ import annotations

import pytest

from controlplane.resources.attachment import winners
from controlplane.resources.client_policy import ClientPolicy
from controlplane.resources.client_ports import at_listener, at_port, settings
from tests.envoy.edge import gateway, policy
from tests.unit.resources.documents import BACKEND, joined, read

HTTP = gateway(
    "name: a, port: 80, protocol: HTTP, hostname: a.test",
    "name: b, port: 80, protocol: HTTP, hostname: b.test",
    "name: c, port: 81, protocol: HTTP",
)
TLS = gateway(
    "name: a, port: 443, protocol: HTTPS, hostname: a.test, "
    "tls: {options: {weir.dev/certificate-file: /certs/a.crt, weir.dev/key-file: /certs/a.key}}",
    "name: b, port: 443, protocol: HTTPS, hostname: b.test, "
    "tls: {options: {weir.dev/certificate-file: /certs/b.crt, weir.dev/key-file: /certs/b.key}}",
)
FILES = "weir.dev/certificate-file: /certs/a.crt, weir.dev/key-file: /certs/a.key"


def client(said: str, target: str = "Gateway/edge", name: str = "p") -> str:
    return policy("ClientPolicy", name, target, f"  {said}\n")


def backend_tls(validation: str) -> str:
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\n"
        "metadata: {name: web}\nspec:\n"
        "  targetRefs: [{group: weir.dev, kind: Backend, name: web}]\n"
        f"  validation: {{{validation}}}\n"
    )


# document, field, words of the message
BROKEN = [
    (client("tls: {minVersion: '1.3', maxVersion: '1.2'}"), "spec.tls", "at most maxVersion"),
    (client("tls: {minVersion: 1.3}"), "spec.tls.minVersion", '"1.3" is not taken'),
    (client("tls: {ecdhCurves: [P-224]}"), "spec.tls.ecdhCurves[0]", '"P-224" is not taken'),
    (client("tls: {ecdhCurves: [P-256, P-256]}"), "spec.tls.ecdhCurves", "written twice"),
    (client("tls: {signatureAlgorithms: [rsa_pkcs1_sha1]}"), "spec.tls.signatureAlgorithms[0]",
     "is not taken"),
    (client("tls: {alpnProtocols: [h3]}"), "spec.tls.alpnProtocols[0]", '"h3" is not taken'),
    (client("tls: {clientValidation: {caCertificateRefs: []}}"),
     "spec.tls.clientValidation.caCertificateRefs", "at least one"),
    (client("tls: {clientValidation: {caCertificateRefs: [{name: x}], subjectAltNames: "
            "{uris: [{type: RegularExpression, value: '('}]}}}"),
     "spec.tls.clientValidation.subjectAltNames.uris[0]", "not a regular expression"),
    (client("clientIPDetection: {}"), "spec.clientIPDetection", "either xForwardedFor"),
    (client("clientIPDetection: {xForwardedFor: {numTrustedHops: 0}}"),
     "spec.clientIPDetection.xForwardedFor.numTrustedHops", "greater than or equal to 1"),
    (client("clientIPDetection: {customHeader: {name: X-Envoy-External-Address}}"),
     "spec.clientIPDetection.customHeader.name", "x-envoy- is taken from no client"),
    (client("clientIPDetection: {customHeader: {name: 'a b'}}"),
     "spec.clientIPDetection.customHeader.name", "the name of a header"),
    (client("headers: {withUnderscoresAction: Keep}"), "spec.headers.withUnderscoresAction",
     '"Keep" is not taken'),
    (client("headers: {xForwardedClientCert: {certDetailsToAdd: [URI]}}"),
     "spec.headers.xForwardedClientCert", "SanitizeSet or AppendForward"),
    (client("headers: {xForwardedClientCert: {mode: SanitizeSet, certDetailsToAdd: [URI, URI]}}"),
     "spec.headers.xForwardedClientCert", "URI is written twice"),
    (client("headers: {maxSize: 100}"), "spec.headers.maxSize", "whole KiB"),
    (client("headers: {maxSize: 9Mi}"), "spec.headers.maxSize", "1Ki to 8192Ki"),
    (client("connection: {bufferLimit: 32k}"), "spec.connection.bufferLimit", "a size such as"),
    (client("connection: {bufferLimit: 3Gi}"), "spec.connection.bufferLimit", "2 GiB"),
    (client("connection: {connectionLimit: {value: 0}}"), "spec.connection.connectionLimit.value",
     "greater than or equal to 1"),
    (client("http2: {initialStreamWindowSize: 1Ki}"), "spec.http2.initialStreamWindowSize",
     "65535 bytes"),
    (client("timeout: {tcp: {handshakeTimeout: 0s}}"), "spec.timeout.tcp.handshakeTimeout", "0.1"),
    (client("healthCheck: {path: ready}"), "spec.healthCheck.path", "pattern"),
    (client("http3: {}\n  tls: {maxVersion: '1.2'}"), "spec", "http3 needs TLS 1.3"),
    (client("http3: {}\n  proxyProtocol: {}"), "spec", "do not go together"),
    (gateway("name: a, port: 443, protocol: HTTPS, tls: {}"), "spec.listeners[0].tls",
     "needs certificateRefs, or files"),
    (gateway("name: a, port: 443, protocol: HTTPS, tls: {options: {weir.dev/key-file: /a}}"),
     "spec.listeners[0].tls.options", "given together"),
    (gateway("name: a, port: 443, protocol: HTTPS, tls: {options: "
             f"{{{FILES.replace('/certs/a.key', '/keys/a.key')}}}}}"),
     "spec.listeners[0].tls.options", "in one folder"),
    (gateway("name: a, port: 443, protocol: HTTPS, tls: {options: "
             f"{{{FILES.replace('/certs/a.crt', 'certs/a.crt')}}}}}"),
     "spec.listeners[0].tls.options", "an absolute path"),
    (gateway(f"name: a, port: 443, protocol: HTTPS, tls: {{options: {{{FILES}, a/b: c}}}}"),
     "spec.listeners[0].tls.options", "there is no option 'a/b'"),
    (backend_tls("hostname: a.test"), "spec.validation", "either caCertificateRefs"),
    (backend_tls("hostname: '*.a.test', wellKnownCACertificates: System"), "spec.validation",
     "it has no '*'"),
    (backend_tls("hostname: a.test, wellKnownCACertificates: System, "
                 "subjectAltNames: [{type: URI, hostname: a.test}]"),
     "spec.validation.subjectAltNames[0]", "type URI has uri"),
    (backend_tls("hostname: a.test, wellKnownCACertificates: Sytem"),
     "spec.validation.wellKnownCACertificates", "is not taken"),
    ("apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: weir}\n"
     "spec: {controllerName: weir}\n", "spec.controllerName", "pattern"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "field", "message"), BROKEN)
def test_what_envoy_could_not_do_is_refused_where_it_stands(
    document: str, field: str, message: str
) -> None:
    problems = read({"all.yaml": document}).problems
    fitting = [one for one in problems if one.field == field]
    assert fitting, [str(one) for one in problems]
    assert any(message in one.message for one in fitting), fitting
    last = field.rpartition(".")[2].partition("[")[0]
    last = "targetRefs" if last == "spec" else last  # a mapping stands where its first entry does
    assert all(last in document.splitlines()[one.line - 1] for one in fitting)


SLOW = "timeout: {http: {idleTimeout: 7s}}"
SMALL = "connection: {bufferLimit: 1Ki}"


@pytest.mark.parametrize(
    ("gateway_", "policies", "message"),
    [
        (HTTP, [client(SLOW, "Gateway/edge/a")], "shared by HTTP listeners"),
        (HTTP, [client(SLOW, "Gateway/edge/a"), client(SMALL, "Gateway/edge", "q")],
         "shared by HTTP listeners"),
        (TLS, [client(SMALL, "Gateway/edge/a")], "differ in proxyProtocol"),
    ],
)  # fmt: skip
def test_a_policy_for_one_of_several_listeners_of_a_port_is_reported(
    gateway_: str, policies: list[str], message: str
) -> None:
    loaded = read({"all.yaml": joined(gateway_, *policies)})
    (problem,) = loaded.problems
    assert message in problem.message
    assert (problem.field, problem.object) == ("spec.targetRefs[0]", "ClientPolicy default/p")


@pytest.mark.parametrize(
    ("gateway_", "policies"),
    [
        (HTTP, [client(SLOW)]),
        (HTTP, [client(SLOW, "Gateway/edge/c")]),
        (HTTP, [client("clientAddresses: {deny: [10.0.0.0/8]}", "Gateway/edge/a")]),
        (TLS, [client(SLOW, "Gateway/edge/a")]),
        (TLS, [client(SMALL, "Gateway/edge/a"), client(SMALL, "Gateway/edge/b", "q")]),
    ],
)
def test_policies_that_fit_together_are_not_reported(gateway_: str, policies: list[str]) -> None:
    assert read({"all.yaml": joined(gateway_, *policies)}).problems == ()


@pytest.mark.parametrize(
    ("said", "field"), [("http3: {}", "spec.http3"), ("tls: {minVersion: '1.3'}", "spec.tls")]
)
def test_what_is_said_of_tls_where_there_is_none_is_reported(said: str, field: str) -> None:
    (problem,) = read({"all.yaml": joined(HTTP, client(said, "Gateway/edge/c"))}).problems
    assert (problem.field, "has TLS; this does nothing" in problem.message) == (field, True)
    assert read({"all.yaml": joined(TLS, client(said))}).problems == ()


def test_on_a_shared_port_the_policy_of_all_its_listeners_is_in_force_or_that_of_the_gateway() -> (
    None
):
    both = policy("ClientPolicy", "both", "Gateway/edge/a", f"  {SLOW}\n").replace(
        "}]\n", "}, {group: gateway.networking.k8s.io, kind: Gateway, name: edge, "
        "sectionName: b}]\n", 1
    )  # fmt: skip
    assert _idle(HTTP, both) == (7.0, 7.0, 3600.0)
    alone = client(SLOW, "Gateway/edge/a")
    assert _idle(HTTP, alone) == (3600.0, 3600.0, 3600.0)
    whole = client("timeout: {http: {idleTimeout: 9s}}", name="q")
    assert _idle(HTTP, alone, whole) == (9.0, 9.0, 9.0)
    assert _idle(TLS, alone, whole) == (7.0, 9.0)


def _idle(*documents: str) -> tuple[float, ...]:
    declared = read({"all.yaml": joined(*documents)}).declared
    (edge,) = declared.gateways.values()
    of = winners(declared, ClientPolicy)
    return tuple(
        settings(at_listener(of, edge, one)).timeout.http.idle_timeout
        for one in edge.spec.listeners
    )


def test_what_is_of_a_port_as_a_whole_is_that_of_the_gateway_where_listeners_differ() -> None:
    alone, whole = (
        client(SMALL, "Gateway/edge/a"),
        client("connection: {bufferLimit: 2Ki}", name="q"),
    )
    declared = read({"all.yaml": joined(TLS, alone, whole)}).declared
    (edge,) = declared.gateways.values()
    of = winners(declared, ClientPolicy)
    assert at_port(of, edge, (False, 443)).connection.buffer_limit == 2048


@pytest.mark.parametrize(
    ("documents", "field", "message"),
    [
        ([TLS, client("tls: {clientValidation: {caCertificateRefs: [{name: cas}]}}")],
         "spec.tls.clientValidation.caCertificateRefs[0]",
         "there is no Secret default/cas; its listeners do not open"),
        ([TLS, client("tls: {clientValidation: {caCertificateRefs: [{name: c, namespace: d}]}}")],
         "spec.tls.clientValidation.caCertificateRefs[0]", "no ReferenceGrant there allows it"),
        ([BACKEND, backend_tls("hostname: a.b, caCertificateRefs: [{kind: ConfigMap, name: c}]")],
         "spec.validation.caCertificateRefs[0]",
         "there is no ConfigMap default/c; requests are answered 503"),
        ([HTTP + "  tls: {backend: {clientCertificateRef: {name: me}}}\n"],
         "spec.tls.backend.clientCertificateRef",
         "there is no Secret default/me; Backends are shown no certificate"),
    ],
)  # fmt: skip
def test_cas_and_certificates_that_are_not_there_are_reported(
    documents: list[str], field: str, message: str
) -> None:
    (problem,) = read({"all.yaml": joined(*documents)}).problems
    assert problem.field == field
    assert message in problem.message
