"""The webhook's own parts, without a cluster: what it answers, its bounds, its certificates."""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime
import errno
import json
import random
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from controlplane.errors import ReviewError
from controlplane.kubernetes.cluster import Cluster, Place
from controlplane.kubernetes.webhook.app import AT_ONCE, MAX_BYTES, WebhookApp
from controlplane.kubernetes.webhook.certificates import EARLY, LIFE, SETTLED, Kept, Pair, issue
from controlplane.kubernetes.webhook.review import MOST_CHARACTERS, judge, parse, response
from controlplane.kubernetes.webhook.upkeep import AGAIN_S, Upkeep, Where
from controlplane.settings import ServeSettings
from controlplane.telemetry.certificates import CertificateWatch
from controlplane.webhook import Webhook
from tests.certificates import Authority, Issued, MountedSecret
from tests.unit.resources.documents import BACKEND, POLICIES, ROUTE

NAMES = ("weir.weir-system.svc",)
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)
BAD: dict[str, Any] = yaml.safe_load(BACKEND.replace("10.0.0.1", "0.0.0.0"))
ROUTE_OF_OTHERS: dict[str, Any] = yaml.safe_load(ROUTE.replace("- backendRefs", "- theirs"))


def review(item: object = None, operation: str = "CREATE", **more: object) -> bytes:
    asked = {"uid": "u", "operation": operation, "object": item, **more}
    about = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
    return json.dumps({**about, "request": asked}).encode()


def answered(body: bytes) -> dict[str, Any]:
    question = parse(body)
    said: dict[str, Any] = json.loads(response(question, judge(question, POLICIES)))
    assert (said["apiVersion"], said["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    assert said["response"]["uid"] == "u"
    return dict(said["response"])


@pytest.mark.parametrize(
    "body",
    [
        review(yaml.safe_load(BACKEND)),
        review(None, "DELETE", oldObject=BAD),
        review(BAD, "CONNECT"),
        review(BAD, "UPDATE", subResource="status"),
        review(ROUTE_OF_OTHERS),  # perhaps another controller's
        review({**BAD, "kind": "Pod"}),
    ],
)
def test_what_is_not_ours_to_refuse_is_let_through(body: bytes) -> None:
    assert answered(body) == {"uid": "u", "allowed": True}


def test_all_that_is_wrong_is_said_within_bounds() -> None:
    worse = {**BAD, "spec": {"endpoints": [*BAD["spec"]["endpoints"], {"fqdn": {}}], "x": "y"}}
    said = answered(review(worse))
    assert not said["allowed"]
    assert said["status"]["code"] == 422
    message = said["status"]["message"]
    assert "spec.endpoints[0].ip.address: " in message
    assert "spec.x: there is no such field" in message
    long = {**BAD, "spec": {f"{at}{'x' * 1000}": 1 for at in range(30)}}
    assert len(answered(review(long))["status"]["message"]) == MOST_CHARACTERS


def test_who_changes_metadata_is_warned_of_what_was_wrong_before() -> None:
    labelled = {**BAD, "metadata": {**BAD["metadata"], "finalizers": ["a.b/c"]}}
    said = answered(review(labelled, "UPDATE", oldObject=BAD))
    assert said["allowed"]
    assert said["warnings"][0].startswith("spec.endpoints[0].ip.address: ")
    changed = {**BAD, "spec": {**BAD["spec"], "endpoints": BAD["spec"]["endpoints"][:1]}}
    assert not answered(review(changed, "UPDATE", oldObject=BAD))["allowed"]


# --- bounds ---


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"\xff\xfe",
        review(BAD).replace(b"admission.k8s.io/v1", b"admission.k8s.io/v1beta1"),
        review(BAD).replace(b"AdmissionReview", b"Review"),
        review(BAD).replace(b'"uid"', b'"id"'),
        review(BAD, "LOOK"),
        review("text"),
        review({"kind": "Backend"}),
        review({"kind": "Backend", "apiVersion": 1, "metadata": {"name": "a"}}),
        review({"kind": "Backend", "metadata": {"name": "a", "annotations": "b"}}),
    ],
)
async def test_what_is_no_review_is_a_bad_request(body: bytes) -> None:
    assert (await asked(body)).status_code == 400


@given(st.binary(max_size=200))
def test_no_bytes_are_more_than_unreadable(body: bytes) -> None:
    with pytest.raises(ReviewError):
        parse(body)


async def asked(
    body: bytes | AsyncIterator[bytes],
    path: str = "/validate",
    method: str = "POST",
    deadline_s: float = 10.0,
) -> httpx.Response:
    app = WebhookApp(POLICIES, CollectorRegistry(), deadline_s)
    try:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="https://weir") as http:
            return await http.request(method, path, content=body)
    finally:
        app.close()


async def test_other_paths_and_methods_and_too_much_are_refused() -> None:
    good = review(yaml.safe_load(BACKEND))
    assert (await asked(good)).status_code == 200
    assert (await asked(good, path="/")).status_code == 404
    assert (await asked(b"", method="GET")).status_code == 405
    assert (await asked(good + b" " * MAX_BYTES)).status_code == 413


async def test_a_body_that_does_not_end_ends_the_review_and_so_many_are_held_at_once() -> None:
    app = WebhookApp(POLICIES, CollectorRegistry(), deadline_s=0.2)
    held, most = 0, 0

    async def endless() -> dict[str, Any]:
        nonlocal held, most
        held += 1
        most = max(most, held)
        try:
            await asyncio.Event().wait()
        finally:
            held -= 1
        raise AssertionError

    codes = list[int]()

    async def send(message: Any) -> None:  # noqa: ANN401
        if "status" in message:
            codes.append(message["status"])

    scope = {"type": "http", "path": "/validate", "method": "POST"}
    async with asyncio.timeout(20.0):
        await asyncio.gather(*(app(scope, endless, send) for _ in range(AT_ONCE + 5)))
    app.close()
    assert codes == [503] * (AT_ONCE + 5)
    assert 0 < most <= AT_ONCE


# --- files, as cert-manager writes them into a Secret ---


async def shown(port: int) -> bytes:
    """The certificate that a new connection is shown, DER."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return found
    finally:
        writer.close()
        await writer.wait_closed()


async def test_files_are_followed_and_bad_ones_leave_the_last_good_ones(tmp_path: Path) -> None:
    authority = Authority()
    first, second = (authority.issue(dns=[NAMES[0]]) for _ in range(2))
    secret = MountedSecret(tmp_path).put(first, authority.pem)
    settings = ServeSettings(
        kubernetes=True,
        webhook_address="127.0.0.1:0",
        webhook_cert=secret.files.certificate,
        webhook_key=secret.files.key,
    )
    registry = CollectorRegistry()
    webhook = Webhook(
        settings,
        POLICIES,
        registry=registry,
        certificates=CertificateWatch(registry, time.time),
        wall_clock=time.time,
        files_s=0.02,
    )
    port = webhook.server.bind("127.0.0.1", 0)
    tasks = [
        asyncio.create_task(webhook.server.serve()),
        asyncio.create_task(webhook.keep(Cluster(Place(), registry, time.monotonic))),
    ]

    async def until_shown(issued: Issued) -> None:
        wanted = ssl.PEM_cert_to_DER_cert(issued.certificate.decode())
        for _ in range(500):
            if await shown(port) == wanted:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("it is not shown")

    await until_shown(first)
    secret.put(Issued(second.certificate, first.key), authority.pem)
    await asyncio.sleep(0.1)
    await until_shown(first)
    secret.put(second, authority.pem)
    await until_shown(second)
    place = {"kind": "File", "object": str(secret.files.certificate), "entry": "tls.crt"}
    ends = registry.get_sample_value("weir_certificate_expiry_timestamp_seconds", place)
    assert ends is not None
    assert ends > time.time()
    webhook.server.stop()
    webhook.close()
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# --- certificates ---


def believed(pair: Pair, at: datetime.datetime, name: str = NAMES[0]) -> bool:
    """By a verifier that is not ours."""
    store = Store(x509.load_pem_x509_certificates(pair.ca))
    verifier = PolicyBuilder().store(store).time(at).build_server_verifier(x509.DNSName(name))
    try:
        verifier.verify(x509.load_pem_x509_certificate(pair.certificate), [])
    except VerificationError:
        return False
    return True


def test_a_certificate_is_believed_in_its_time_under_its_names_and_by_its_ca_alone() -> None:
    one, other = issue(NAMES, NOW), issue(NAMES, NOW)
    assert believed(one, NOW)
    assert believed(one, NOW - EARLY + MINUTE)
    assert believed(one, NOW + LIFE - MINUTE)
    assert not believed(one, NOW + LIFE + MINUTE)
    assert not believed(one, NOW, "other.weir-system.svc")
    mixed = Pair(one.certificate, one.key, other.ca, one.names, one.made, one.ends)
    assert not believed(mixed, NOW)


def test_what_is_kept_is_read_again_and_what_is_broken_is_not_there() -> None:
    kept = Kept(issue(NAMES, NOW), issue(NAMES, NOW))
    data = kept.data()
    assert Kept.of(data) == kept
    assert "PRIVATE KEY" not in repr(kept)
    assert base64.b64decode(data["ca.crt"]) + base64.b64decode(data["former-ca.crt"]) == kept.bundle
    for broken in (
        {},
        {**data, "tls.key": data["former.key"]},
        {**data, "ca.crt": data["former-ca.crt"]},
        {**data, "tls.crt": "no base64"},
        {**data, "tls.crt": "AAAA"},
    ):
        assert Kept.of(broken).newest is None


KEPT = Kept().turned(NAMES, NOW).data()


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@given(st.sampled_from(sorted(KEPT)), st.integers(0, 2000), st.integers(0, 255))
def test_no_content_of_the_secret_is_more_than_unreadable(entry: str, at: int, byte: int) -> None:
    content = bytearray(base64.b64decode(KEPT[entry]))
    content[at % len(content)] = byte
    der = _der(bytes(content), at, byte)
    for one in (bytes(content), der):
        read = Kept.of({**KEPT, entry: base64.b64encode(one).decode()}).newest
        assert read is None or read.names == set(NAMES)


def _der(pem: bytes, at: int, byte: int) -> bytes:
    """With a byte changed within what the PEM holds."""
    lines = pem.splitlines()
    try:
        body = bytearray(base64.b64decode(b"".join(lines[1:-1]), validate=True))
    except binascii.Error:
        return pem
    body[at % len(body)] = byte
    return b"\n".join((lines[0], base64.b64encode(body), lines[-1]))


@given(st.lists(st.integers(1, 12) | st.integers(1, 40 * 24 * 60), max_size=30))
def test_whatever_any_replica_shows_is_believed_whenever_each_looks(minutes: list[int]) -> None:
    """A replica shows what it saw at its last look, which is `SETTLED` ago at most."""
    kept, now = Kept(), NOW
    looks = list[tuple[datetime.datetime, Pair]]()
    for each in (0, *minutes):
        now += each * MINUTE
        kept = kept.turned(NAMES, now, looks[-1][1] if looks else None)
        assert kept.turned(NAMES, now) is kept  # once is enough
        shown = kept.shown(NAMES, now)
        assert shown is not None
        assert shown.good(NAMES, now)
        assert now < shown.renew or shown == kept.former
        looks.append((now, shown))
        for at, one in looks:
            if now - at < SETTLED and one.good(NAMES, now):
                assert one.ca in kept.bundle


@pytest.mark.parametrize("ahead", [2 * LIFE, LIFE * 0.9, datetime.timedelta(hours=3)])
def test_what_was_made_by_a_clock_that_was_ahead_is_not_shown(ahead: datetime.timedelta) -> None:
    """API servers would not believe it before its time: for months no object could be changed."""
    made = Kept().turned(NAMES, NOW + ahead)
    for kept in (made, Kept().turned(NAMES, NOW).turned(NAMES, NOW + ahead)):
        now = NOW + MINUTE  # the clock is right again
        shown = kept.turned(NAMES, now).shown(NAMES, now)
        assert shown is not None
        assert believed(shown, now)


def test_another_name_is_a_new_certificate_at_once() -> None:
    kept = Kept().turned(NAMES, NOW)
    moved = kept.turned(("weir.other.svc",), NOW + MINUTE)
    assert moved.former is None
    shown = moved.shown(("weir.other.svc",), NOW + MINUTE)
    assert shown is not None
    assert believed(shown, NOW, "weir.other.svc")


def test_what_is_shown_goes_on_where_the_secret_was_emptied() -> None:
    before = issue(NAMES, NOW)
    kept = Kept().turned(NAMES, NOW + MINUTE, before)
    assert kept.former == before
    assert kept.shown(NAMES, NOW + 2 * MINUTE) == before
    assert kept.shown(NAMES, NOW + MINUTE + SETTLED) == kept.newest


class Stored:
    """A configuration and a Secret, as an API server has them."""

    def __init__(self) -> None:
        client = {"service": {"name": "weir", "namespace": "weir-system"}}
        self.secret: dict[str, Any] = {"metadata": {"resourceVersion": "1"}}
        self.configuration = {
            "metadata": {"resourceVersion": "1"},
            "webhooks": [{"name": "weir.dev", "clientConfig": client}],
        }

    async def get(self, path: str) -> dict[str, Any]:
        return self.secret if "/secrets/" in path else self.configuration

    async def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.secret = dict(body)
        return self.secret

    async def merge_lists(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self.configuration


async def test_a_certificate_that_cannot_be_shown_for_want_of_descriptors_is_shown_later() -> None:
    shown: list[Pair] = []
    waits: list[float] = []

    def show(pair: Pair) -> None:
        if not waits:
            raise OSError(errno.EMFILE, "Too many open files")
        shown.append(pair)

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise asyncio.CancelledError

    upkeep = Upkeep(
        Stored(),
        Where("weir", "weir-system", "weir-webhook"),
        show,
        wall_clock=NOW.timestamp,
        chance=random.Random(1),
        sleep=sleep,
    )
    with pytest.raises(asyncio.CancelledError):
        await upkeep.run()
    assert len(shown) == 1
    assert waits[0] <= AGAIN_S
