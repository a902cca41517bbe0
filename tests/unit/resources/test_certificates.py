"""Certificates: the last good one stays, and those that end are told of."""

from __future__ import annotations

import base64
import datetime

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from prometheus_client import CollectorRegistry, generate_latest

from controlplane.resources.expiry import in_use
from controlplane.resources.secret import Secret
from controlplane.telemetry.certificates import CertificateWatch
from tests.certificates import Authority, Issued
from tests.envoy.edge import gateway, policy, secret
from tests.unit.resources.documents import joined, read

HTTPS = gateway("name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: a}]}")
CA = Authority()
GOOD = CA.issue(dns=["a.test"])


def tls(one: Issued, **more: bytes) -> str:
    return secret(
        "a", {"tls.crt": one.certificate, "tls.key": one.key, **more}, "kubernetes.io/tls"
    )


def weak() -> Issued:
    return CA.issue(key=rsa.generate_private_key(public_exponent=65537, key_size=1024))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda: tls(Issued(b"nothing", GOOD.key)), "tls.crt is no certificate"),
        (lambda: tls(Issued(GOOD.certificate, b"nothing")), "tls.key is no private key"),
        (lambda: tls(Issued(GOOD.certificate, CA.issue().key)), "tls.key is not the key"),
        (lambda: secret("a", {"tls.crt": GOOD.certificate}, "kubernetes.io/tls"), "no tls.key"),
        (lambda: tls(weak()), "RSA key of 1024 bits"),
        (lambda: tls(CA.issue(key=ec.generate_private_key(ec.SECP256K1()))), "curve secp256k1"),
        (lambda: tls(GOOD, **{"tls.ocsp-staple": b"good"}), "no successful OCSP response"),
        (lambda: tls(GOOD, **{"tls.ocsp-staple": CA.staple(CA.issue())}), "another certificate"),
        (lambda: tls(GOOD, **{"ca.crt": b"nobody"}), "ca.crt is no certificate"),
    ],
)  # fmt: skip
def test_a_certificate_that_envoy_could_not_use_leaves_the_last_good_one(
    broken: object, message: str
) -> None:
    assert callable(broken)
    before = read({"all.yaml": joined(HTTPS, tls(GOOD))})
    assert before.problems == ()
    after = read({"all.yaml": joined(HTTPS, broken())}, before)
    (problem,) = after.problems
    assert message in problem.message
    assert base64.b64encode(GOOD.key).decode()[:40] not in str(problem)
    held = after.declared.all(Secret)["default/a"]
    assert (held.value("tls.crt"), held.value("tls.key")) == (GOOD.certificate, GOOD.key)


def test_an_empty_ca_beside_a_certificate_is_none() -> None:
    assert read({"all.yaml": joined(HTTPS, tls(GOOD, **{"ca.crt": b""}))}).problems == ()


BELIEVED = policy(
    "ClientPolicy",
    "mutual",
    "Gateway/edge",
    "  tls: {clientValidation: {caCertificateRefs: [{name: cas}]}}\n",
)


def test_certificates_in_use_are_told_of_as_they_come_to_their_end() -> None:
    lasting = Authority(ends_h=24 * 400)
    one = lasting.issue(dns=["a.test"], ends_h=24 * 60)
    unused = secret("b", {"tls.crt": GOOD.certificate, "tls.key": GOOD.key})
    documents = (HTTPS, tls(one), unused, BELIEVED, secret("cas", {"ca.crt": lasting.pem}))
    declared = read({"all.yaml": joined(*documents)}).declared
    found = {(one.holder.name, one.entry): one for one in in_use(declared)}
    assert set(found) == {("default/a", "tls.crt"), ("default/cas", "ca.crt")}

    ends = found["default/a", "tls.crt"].certificate.not_after
    now = ends - datetime.timedelta(days=60)
    registry = CollectorRegistry()
    watch = CertificateWatch(registry, lambda: now.timestamp())
    said: list[str] = []
    with structlog.testing.capture_logs() as lines:
        watch.declare(declared)
        for days in (31, 29, 28, 6, 5, 0.5, 0.4, -1, -2):
            now = ends - datetime.timedelta(days=days)
            watch.look()
            said += [f"{days} {line['event']} {line['object']}" for line in lines]
            lines.clear()
    assert said == [
        "29 a certificate ends soon Secret default/a",
        "6 a certificate ends soon Secret default/a",
        "0.5 a certificate ends soon Secret default/a",
        "-1 a certificate has ended Secret default/a",
    ]
    shown = generate_latest(registry).decode()
    metric = 'weir_certificate_expiry_timestamp_seconds{entry="tls.crt",kind="Secret"'
    (line,) = [one for one in shown.splitlines() if one.startswith(metric)]
    assert float(line.split()[-1]) == ends.timestamp()


def test_a_chain_ends_with_the_first_of_it_that_ends() -> None:
    soon = Authority("intermediate", ends_h=24.0)
    one = CA.issue(dns=["a.test"], ends_h=24 * 60)
    chain = Issued(one.certificate + soon.pem, one.key)
    (found,) = in_use(read({"all.yaml": joined(HTTPS, tls(chain))}).declared)
    assert found.certificate.names == ("a.test",)
    assert found.days(datetime.datetime.now(datetime.UTC)) < 1.1
