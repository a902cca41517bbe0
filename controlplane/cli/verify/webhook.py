"""A validating webhook of Weir's, where there is one: its CAs are current, and somebody answers."""

from __future__ import annotations

import base64
import binascii
import datetime
from collections.abc import Iterator, Mapping
from typing import Any

from cryptography import x509

from controlplane.cli.kubectl import ClusterError, Kubectl
from controlplane.cli.verify.check import Check, fail, ok, warn

_PATH = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
_ADVICE = (
    "restart the replicas, which write it anew; `kubectl describe validatingwebhookconfiguration"
)


def checks(kubectl: Kubectl, home: str, now: datetime.datetime, days: float) -> Iterator[Check]:
    """Of each webhook that leads to the namespace of Weir. Raises `ClusterError`."""
    for configuration in kubectl.objects(_PATH):
        for one in configuration.get("webhooks") or ():
            service = (one.get("clientConfig") or {}).get("service") or {}
            if service.get("namespace") == home:
                yield _check(configuration["metadata"]["name"], one, now, days)
                yield from _answered(kubectl, one, service)


def _check(
    configuration: str, webhook: Mapping[str, Any], now: datetime.datetime, days: float
) -> Check:
    advice = f"{_ADVICE} {configuration}` shows it"
    name = webhook["name"]
    try:
        bundle = base64.b64decode(webhook["clientConfig"].get("caBundle") or "", validate=True)
        found = x509.load_pem_x509_certificates(bundle)
    except (ValueError, binascii.Error):
        return fail("webhook", f"the caBundle of {name} holds no certificates", advice)
    ends = max(one.not_valid_after_utc for one in found)
    if ends <= now:
        return fail("webhook", f"the caBundle of {name} ended {ends:%Y-%m-%d}", advice)
    if (ends - now).total_seconds() < days * 86_400:
        return warn("webhook", f"the caBundle of {name} ends {ends:%Y-%m-%d}", advice)
    return ok("webhook", f"the caBundle of {name} is good until {ends:%Y-%m-%d}")


def _answered(
    kubectl: Kubectl, webhook: Mapping[str, Any], service: Mapping[str, Any]
) -> Iterator[Check]:
    name = webhook["name"]
    home, called = service["namespace"], service["name"]
    path = f"/apis/discovery.k8s.io/v1/namespaces/{home}/endpointslices"
    try:
        slices = kubectl.objects(path, labelSelector=f"kubernetes.io/service-name={called}")
    except ClusterError as error:
        yield warn("webhook", f"who answers for {name} could not be looked at: {error}", "")
        return
    if not any(_ready(one) for piece in slices for one in piece.get("endpoints") or ()):
        advice = f"kubectl -n {home} describe service {called}"
        if webhook.get("failurePolicy") == "Ignore":
            yield warn("webhook", f"nobody answers for {name}: objects go unchecked", advice)
        else:
            yield fail("webhook", f"nobody answers for {name}: no object can be changed", advice)


def _ready(endpoint: Mapping[str, Any]) -> bool:
    return (endpoint.get("conditions") or {}).get("ready") is not False
