"""What the API server refuses of what is broken, by the schema and by the rules of our kinds, and
what it lets through: that the controller alone knows, and says in a condition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from controlplane.resources.crds import definitions
from controlplane.resources.crds.definition import names
from controlplane.resources.read import UnreadableError, parse, split
from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.scene import Scene, scene
from tests.unit.resources.test_broken_documents import BROKEN
from tests.unit.resources.test_crds import ROOT, SCHEMAS

ONLY_THE_CONTROLLER = {
    # Addresses that nobody should be sent to, and such that are none.
    ("Backend", "spec.endpoints[0].ip.address", "want the address or name of a server"),
    ("Backend", "spec.endpoints[0].fqdn.hostname", "want the address or name of a server"),
    ("Backend", "spec.endpoints[0].ip.address", "IP address"),
    # Every endpoint beside every other: too dear for a rule.
    ("Backend", "spec", "10.0.0.1:8080 is declared twice"),
    ("Backend", "spec.endpoints[0].labels", "want a number above 0"),
    # Which policies there are depends on what is installed beside Weir.
    ("BalancingPolicy", "spec.policy", 'no policy "modle"'),
    ("BalancingPolicy", "spec.fallback", 'no policy "nothing"'),
    ("BalancingPolicy", "spec.locality", "'eu' is named twice"),
    # Of a value that may be of any type a schema knows nothing.
    ("HTTPRouteFilter", "spec.payload.fields[0]", "a RegularExpression is text"),
    ("EnvoyPatch", "spec.jsonPatches[0].operation", "value is given with add"),
}
NOT_OF_OURS = {"apiVersion", "kind", "metadata.name"}
"""Refused by the server itself, or never sent to it: there is no such address."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Scene]:
    with ApiServer() as server, scene(server) as made:
        yield made


def broken() -> Iterator[tuple[dict[str, Any], str, str]]:
    """The broken documents of our kinds that are well-formed, with field and words."""
    for document, _, field, words, _ in BROKEN:
        try:
            tree = parse(document)
        except UnreadableError:
            continue
        value = tree.value if tree is not None else None
        if isinstance(value, dict) and value.get("kind") in SCHEMAS and field not in NOT_OF_OURS:
            yield yaml.safe_load(document), field, words


def sent(cluster: Scene, document: dict[str, Any]) -> httpx.Response:
    """Tried, as kubectl does: what is not known is refused, and nothing is kept."""
    query = {"dryRun": "All", "fieldValidation": "Strict"}
    document.setdefault("metadata", {}).setdefault("namespace", "default")
    return cluster.http.post(cluster.path(document), json=document, params=query)


def test_what_is_broken_is_refused_or_known_to_be_the_controllers(cluster: Scene) -> None:
    refused, let_through = [], set()
    for document, field, words in broken():
        if "finite" in words:
            continue  # no JSON says so
        answer = sent(cluster, document)
        if answer.status_code == 201:
            let_through.add((document["kind"], field, words))
        else:
            assert answer.status_code in (400, 422), answer.text
            refused.append((document["kind"], field, answer.json()["message"]))
    assert let_through == ONLY_THE_CONTROLLER
    assert len(refused) >= 45
    assert sum("is missing" in one or "either ip or fqdn" in one for _, _, one in refused)


@pytest.mark.parametrize(
    ("kind", "spec", "words"),
    [
        ("Backend", {"endpoints": [{"zone": "a"}]}, "an endpoint has either ip or fqdn"),
        (
            "BalancingPolicy",
            {
                "targetRefs": [{"group": "weir.dev", "kind": "Gateway", "name": "edge"}],
                "policy": "equal",
            },
            "the group of kind Backend is weir.dev",
        ),
        (
            "BalancingPolicy",
            {
                "targetRefs": [{"group": "weir.dev", "kind": "Backend", "name": "web"}],
                "policy": "equal",
                "interval": "1ms",
            },
            "at least 100ms",
        ),
        ("EnvoyPatch", {"targetRef": {"name": "edge"}}, "want jsonPatches or mergePatches"),
    ],
)
def test_rules_say_what_is_wrong_in_plain_words(
    cluster: Scene, kind: str, spec: dict[str, Any], words: str
) -> None:
    document = {
        "apiVersion": "weir.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": "web"},
        "spec": spec,
    }
    answer = sent(cluster, document)
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["message"]


def test_what_is_valid_is_taken(cluster: Scene) -> None:
    count = 0
    for path in sorted(ROOT.glob("examples/**/*.yaml")):
        for chunk in split(path.read_text()):
            document = yaml.safe_load(chunk.text)
            if isinstance(document, dict) and document.get("kind") in SCHEMAS:
                document["metadata"]["namespace"] = "default"
                answer = sent(cluster, document)
                assert answer.status_code == 201, (path.name, answer.text)
                count += 1
    assert count > 20


def test_every_definition_is_established_by_its_names(cluster: Scene) -> None:
    for one in definitions():
        kind = one["spec"]["names"]["kind"]
        assert cluster.resources[kind].plural == names(kind).plural
