from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from controlplane.cli.crds import written
from controlplane.cli.root import build
from controlplane.resources.check import check
from controlplane.resources.crds import definitions
from controlplane.resources.read import parse, split

ROOT = Path(__file__).parents[3]
CHARTED = ROOT / "charts" / "weir" / "charts" / "crds" / "templates" / "crds.yaml"
SCHEMAS = {
    one["spec"]["names"]["kind"]: one["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for one in definitions()
}


def within(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema within one, with where it stands."""
    yield path, schema
    for name, below in schema.get("properties", {}).items():
        yield from within(below, f"{path}.{name}")
    for word in ("items", "additionalProperties"):
        if word in schema:
            yield from within(schema[word], f"{path}.{word}")


def defaulted(value: Any, schema: dict[str, Any]) -> Any:  # noqa: ANN401
    """With what the API server writes into it."""
    if isinstance(value, dict):
        of = schema.get("properties", {})
        for name, below in of.items():
            if "default" in below:
                value.setdefault(name, copy.deepcopy(below["default"]))
        return {
            name: defaulted(one, of.get(name, schema.get("additionalProperties", {})))
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [defaulted(one, schema.get("items", {})) for one in value]
    return value


def valid_documents() -> Iterator[tuple[str, str]]:
    """Every valid document of our kinds in the examples."""
    for path in sorted(ROOT.glob("examples/**/*.yaml")):
        for chunk in split(path.read_text()):
            outcome = check(chunk.text, None)
            document = outcome.document if outcome is not None else None
            if document is not None and document.kind in SCHEMAS:
                yield f"{path.parent.name}/{document.kind} {document.key}", chunk.text


def test_the_chart_has_what_the_models_say() -> None:
    assert CHARTED.read_text() == written(definitions()), (
        f"write it anew: weir crds > {CHARTED.relative_to(ROOT)}"
    )
    assert "{{" not in CHARTED.read_text()  # Helm would take it for its own


def test_the_verb_prints_them() -> None:
    printed = CliRunner().invoke(build(), ["crds"])
    assert list(yaml.safe_load_all(printed.stdout)) == list(definitions())
    listed = CliRunner().invoke(build(), ["crds", "--output", "json", "--group", "weir.dev"])
    assert json.loads(listed.stdout)["items"] == list(definitions())
    assert CliRunner().invoke(build(), ["crds", "--group", "example.com"]).exit_code == 1


@pytest.mark.parametrize("kind", SCHEMAS)
def test_schemas_are_structural_and_bounded(kind: str) -> None:
    """The rules of Kubernetes for structural schemas, and bounds that the cost of CEL needs."""
    for path, schema in within(SCHEMAS[kind]):
        named = not path.endswith((".items", ".additionalProperties"))
        if path.startswith(".spec") and named:  # for `kubectl explain`
            assert schema.get("description"), path
        assert not {"$ref", "oneOf", "allOf", "not", "title", "$defs"} & schema.keys(), path
        if schema.get("x-kubernetes-int-or-string"):
            assert schema["anyOf"] == [{"type": "integer"}, {"type": "string"}], path
            continue
        assert "anyOf" not in schema, path
        if schema.get("x-kubernetes-preserve-unknown-fields"):
            continue
        assert schema["type"] in ("object", "array", "string", "integer", "number", "boolean"), path
        assert not {"properties", "additionalProperties"} <= schema.keys(), path
        bounded = {"array": "maxItems", "string": "maxLength"}.get(schema["type"])
        if path not in (".apiVersion", ".kind") and bounded and "enum" not in schema:
            assert bounded in schema or schema.get("format") == "date-time", path
        if "additionalProperties" in schema:
            assert "maxProperties" in schema, path
        for rule in schema.get("x-kubernetes-validations", ()):
            assert rule["message"], path
            assert "type" in schema, path


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_default_is_one_that_its_schema_takes(kind: str) -> None:
    for path, schema in within(SCHEMAS[kind]):
        if "default" not in schema:
            continue
        default = schema["default"]
        assert not isinstance(default, (dict, list)), path
        assert default in schema.get("enum", [default]), path
        assert schema.get("minimum", default) <= default <= schema.get("maximum", default), path


@pytest.mark.parametrize(("name", "text"), list(valid_documents()))
def test_defaults_that_the_api_server_writes_change_nothing(name: str, text: str) -> None:
    before = check(text, None)
    tree = parse(text)
    assert before is not None
    assert tree is not None
    spec = SCHEMAS[tree.value["kind"]]["properties"]["spec"]
    tree.value["spec"] = defaulted(tree.value["spec"], spec)
    after = check(json.dumps(tree.value), None)
    assert after is not None
    assert after.document is not None, after.faults
    assert after.document == before.document


def test_kubectl_finds_them_by_names_of_their_own() -> None:
    names = [one["spec"]["names"] for one in definitions()]
    words = [word for one in names for word in (one["plural"], one["singular"], *one["shortNames"])]
    assert len(words) == len(set(words))
    assert all("weir" in one["categories"] for one in names)
    # Those of Kubernetes, the Gateway API and Envoy Gateway are taken.
    assert not {"gtw", "gc", "btp", "sp", "ctp", "bp"} & set(words)


def test_status_is_a_subresource_in_the_words_of_the_gateway_api() -> None:
    for one in definitions():
        version = one["spec"]["versions"][0]
        assert version["subresources"] == {"status": {}}
        status = version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
        policy = one["spec"]["names"]["kind"].endswith("Policy")
        assert list(status) == (["ancestors"] if policy else ["conditions"])
        columns = [column["name"] for column in version["additionalPrinterColumns"]]
        assert columns[-2:] == ["Accepted", "Age"]
