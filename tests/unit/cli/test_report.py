"""What a bug report leaves out of texts and of documents, and how much it takes."""

from __future__ import annotations

import base64
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.cli.report import allowed, folder
from controlplane.cli.report.plan import MOST_BYTES, Bounds, Part, end, place, write
from controlplane.cli.report.scrub import WITHHELD, Scrubber, known_of

SECRET = "kingfisher"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {SECRET}",
        f"authorization: {SECRET}",
        f"'authorization': 'Basic {SECRET}'",
        f"Cookie: session={SECRET}; other=1",
        f"x-api-key: {SECRET}",
        f"https://me:{SECRET}@example.com/path",
        f"postgresql+asyncpg://{SECRET}@db/weir",
        f"GET /x?access_token={SECRET}&page=2",
        f'{{"password": "{SECRET}"}}',
        f'{{\\"client_secret\\": \\"{SECRET}\\"}}',
        f"--redis-password={SECRET}",
        f"API_KEY={SECRET}",
        f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}\n-----END EC PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
        f"eyJhbGciOi.eyJzdWIiOi.{SECRET}",
        f"$argon2id$v=19$m=65536${SECRET}",
        f"known is {SECRET}-and-more",
    ],
)
def test_what_looks_like_a_secret_is_taken_out(text: str) -> None:
    scrubbed = Scrubber([f"{SECRET}-and-more"]).text(text)
    assert SECRET not in scrubbed
    assert WITHHELD in scrubbed


@pytest.mark.parametrize(
    "text",
    [
        "2027-01-01T00:00:00Z serving xds=0.0.0.0:18000 admin=127.0.0.1:18001",
        'weir_xds_acks_total{fleet="default/edge",type="cds"} 12',
        "sha256:3b1c5f0e0c1f5a7d9e2b4c6d8e0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b",
        "docker-pullable://registry.example/weir/weir@sha256:3b1c5f0e0c1f5a7d9e2b4c6d8e0f1a2b",
        "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "pod weir-7d9cbbd5f6-x2x4z in weir-system",
        "http://prometheus.monitoring:9090/api/v1/query",
    ],
)
def test_what_a_reader_needs_stays(text: str) -> None:
    assert Scrubber().text(text) == text


@settings(max_examples=30)
@given(st.text(st.characters(codec="utf-8", exclude_characters="<>"), min_size=8, max_size=40))
def test_a_known_secret_is_in_no_text(secret: str) -> None:
    scrubbed = Scrubber([secret]).text(f"before {secret} after, again:{secret}")
    assert secret not in scrubbed or secret in WITHHELD


@pytest.mark.parametrize(
    "part", ["a", "aA1", "x-", "password", "eyJaaaaa.", "http://", "-----BEGIN PRIVATE KEY-----"]
)
def test_no_text_takes_longer_than_its_length(part: str) -> None:
    """A rule that looked at a long word again from each of its letters would not come back."""
    assert Scrubber(["kingfisher"]).text(part * 20_000) is not None


def test_secrets_are_known_in_the_forms_that_texts_have_them_in() -> None:
    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    registry = encoded('{"auths": {"x": "battery staple"}}')
    account = {"namespace": encoded("default-ns")}
    made: list[dict[str, Any]] = [
        {"data": {"a": encoded("correct horse"), "b": registry}},
        {"type": "kubernetes.io/service-account-token", "data": account},
    ]
    known = set(known_of(made))
    assert {"correct horse", "correct%20horse", encoded("correct horse"), "battery staple"} <= known
    assert "default-ns" not in known


LEAVES = st.text(min_size=1, max_size=30)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(LEAVES, below, max_size=3),
    max_leaves=12,
)


@settings(max_examples=50)
@given(DOCUMENTS)
def test_a_text_of_a_field_that_is_not_known_is_only_told_by_its_length(document: Any) -> None:  # noqa: ANN401
    for cut in (allowed.kubernetes, allowed.envoy):
        for text in _leaves(cut({"unheardOf": document}), ("unheardOf",)):
            assert text.startswith("<") or allowed.plain(text), text


def _leaves(one: object, path: tuple[str, ...]) -> list[str]:
    """Texts below fields that nobody lists."""
    if isinstance(one, dict):
        every = [(value, (*path, str(name))) for name, value in one.items()]
    elif isinstance(one, list):
        every = [(value, path) for value in one]
    else:
        return [one] if isinstance(one, str) and not _listed(path[-1]) else []
    return [text for value, below in every for text in _leaves(value, below)]


def _listed(field: str) -> bool:
    return field in allowed._NAMES | allowed._ENVOY


@pytest.mark.parametrize("secret", ["867530912345", "HUNTER2", "SWORDFISH", "30s"])
def test_what_people_write_as_a_value_is_told_only_by_its_length(secret: str) -> None:
    """Also where it looks like a number, a duration, or a word of an enumeration."""
    header = {"name": "x-api-key", "value": secret}
    change = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [header]}}
    rule = {"matches": [{"headers": [header]}], "filters": [change]}
    of_envoy = {
        "request_headers_to_add": [{"header": {"key": "x-api-key", "value": secret}}],
        "match": {"headers": [{"name": "x-api-key", "string_match": {"exact": secret}}]},
    }
    cut = [allowed.kubernetes({"spec": {"rules": [rule]}}), allowed.envoy(of_envoy)]
    assert secret not in json.dumps(cut)
    address = {"addresses": [{"type": "IPAddress", "value": "10.0.0.1"}]}
    assert allowed.kubernetes(address) == address


BROKEN_SECRETS = (
    "data: hunter2hunter2",
    "data: [hunter2hunter2]",
    "data: {pin: 867530912345}",
    "data: {pin: [hunter2hunter2]}",
    "data: {pin: {of: hunter2hunter2}}",
    "stringData: hunter2hunter2",
    "binaryData: hunter2hunter2",
    "type: {of: hunter2hunter2}",
    "metadata: hunter2hunter2",
    "metadata: {annotations: hunter2hunter2}",
)


@pytest.mark.parametrize("broken", BROKEN_SECRETS)
def test_a_secret_of_another_shape_stops_nothing_and_is_not_told(
    broken: str, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(f"apiVersion: v1\nkind: Secret\n{broken}\n")
    known = Scrubber(folder.known(tmp_path))
    bounds = Bounds(1_000_000, 1.0)
    to, parts = tmp_path / "out.tar.gz", folder.documents(tmp_path)
    left_out = write(to, "out", parts, known, bounds, clock=lambda: 0.0, epoch_s=0)
    assert not left_out
    with tarfile.open(to) as archive:
        for name in archive.getnames():
            file = archive.extractfile(name)
            assert file is not None
            text = file.read()
            assert b"hunter2" not in text
            assert b"867530912345" not in text


def test_a_file_that_cannot_be_read_is_left_out_and_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("a.yaml")
    (tmp_path / "b.yaml").write_text("kind: Secret\ndata: {a: a2luZ2Zpc2hlcg==}\n")
    assert SECRET in set(folder.known(tmp_path))
    to, bounds = tmp_path / "out.tar.gz", Bounds(1_000_000, 1.0)
    parts = folder.documents(tmp_path)
    left_out = write(to, "out", parts, Scrubber(), bounds, clock=lambda: 0.0, epoch_s=0)
    assert list(left_out) == ["documents/a.yaml.json"]


def test_a_part_that_cannot_be_understood_stops_no_other(tmp_path: Path) -> None:
    parts = [Part("a", "", dict[str, str]().popitem), Part("b", "", lambda: "here")]
    bounds = Bounds(1_000_000, 1.0)
    to = tmp_path / "out.tar.gz"
    left_out = write(to, "out", parts, Scrubber(), bounds, clock=lambda: 0.0, epoch_s=0)
    assert list(left_out) == ["a"]
    assert "KeyError" in left_out["a"]
    with tarfile.open(to) as archive:
        assert archive.getnames() == ["out/b", "out/left-out.json"]


def test_an_archive_stays_within_its_bounds_and_says_what_is_left_out(tmp_path: Path) -> None:
    to = tmp_path / "report.tar.gz"
    clock = iter(range(100))
    parts = [
        Part("a", "", lambda: "a" * 600),
        Part("b", "", lambda: "b" * 600),
        Part("c", "", lambda: "c" * 300),
        Part("late", "", lambda: "never"),
    ]
    bounds = Bounds(bytes=1000, ends_s=2.5)
    left = write(to, "root", parts, Scrubber(), bounds, clock=lambda: float(next(clock)), epoch_s=0)
    with tarfile.open(to) as tar:
        names = tar.getnames()
        told = tar.extractfile("root/left-out.json")
        assert told is not None
        assert json.loads(told.read()) == left
    assert names == ["root/a", "root/c", "root/left-out.json"]
    assert list(left) == ["b", "late"]
    assert [one.name for one in tmp_path.iterdir()] == ["report.tar.gz"]


def test_of_a_long_part_the_last_whole_lines_are_taken() -> None:
    assert end(b"one\ntwo\nthree\n", 8) == b"three\n"
    assert end(b"one\n", MOST_BYTES) == b"one\n"
    assert place("..", "/etc/passwd") == "_/_etc_passwd"
