"""The pure parts of the test server against specifications and other people's code."""

from __future__ import annotations

import datetime
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kubernetes import samples
from tests.kubernetes.apiserver import (
    fields,
    jsonpath,
    patches,
    published,
    requests,
    rules,
    schema,
    selectors,
    strategic,
    tables,
)
from tests.kubernetes.apiserver.errors import ApiError

# --- schemas: jsonschema is the oracle ---

_SCALARS = st.one_of(st.integers(-3, 3), st.booleans(), st.text("ab", max_size=3))
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
    ),
    max_leaves=6,
)
_LEAVES = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("string")},
        optional={
            "minLength": st.integers(0, 2),
            "maxLength": st.integers(0, 2),
            "enum": st.lists(st.text("ab", max_size=2), min_size=1, max_size=2),
            "pattern": st.sampled_from(["^a", "b$", "a+b"]),
        },
    ),
    st.fixed_dictionaries(
        {"type": st.just("integer")},
        optional={
            "minimum": st.integers(-2, 2),
            "maximum": st.integers(-2, 2),
            "multipleOf": st.integers(1, 2),
        },
    ),
    st.fixed_dictionaries({"type": st.just("boolean")}),
)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("object")},
            optional={
                "properties": st.dictionaries(st.sampled_from("xyz"), inner, max_size=2),
                "required": st.lists(st.sampled_from("xyz"), max_size=2, unique=True),
                "maxProperties": st.integers(0, 2),
                "minProperties": st.integers(0, 2),
            },
        ),
        st.fixed_dictionaries(
            {"type": st.just("array"), "items": inner},
            optional={"maxItems": st.integers(0, 2), "minItems": st.integers(0, 2)},
        ),
        st.fixed_dictionaries(
            {}, optional={word: st.lists(inner, min_size=1, max_size=2) for word in _COMBINED}
        ),
        st.fixed_dictionaries({"not": inner}),
    )


_COMBINED = ("allOf", "anyOf", "oneOf")


@settings(max_examples=300, deadline=None)
@given(st.recursive(_LEAVES, _containers, max_leaves=5), _VALUES)
def test_a_schema_refuses_what_jsonschema_refuses(one: dict[str, Any], value: object) -> None:
    oracle = jsonschema.Draft4Validator(one)
    assert (schema.validate(value, one) == []) is oracle.is_valid(value)


def test_pruning_and_defaulting_of_a_custom_resource() -> None:
    one = {
        "apiVersion": "test.weir.dev/v1",
        "kind": "Widget",
        "metadata": {"name": "a", "anything": 1},
        "spec": {"size": "small", "x": 1, "free": {"y": {"z": 1}}, "ports": [{"port": 1, "q": 2}]},
    }
    root = samples.DEFINITION["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema.prune(one, root, root=True) == ["spec.x", "spec.ports[0].q"]
    schema.default(one, root)
    assert one["spec"] == {
        "size": "small",
        "free": {"y": {"z": 1}},
        "ports": [{"port": 1, "protocol": "TCP"}],
        "replicas": 1,
        "timeout": "30s",
    }


# --- patches: the examples of RFC 6902 (appendix A), RFC 7386 (appendix A) and of Kubernetes ---


@pytest.mark.parametrize(
    ("target", "operations", "result"),
    [
        ({"foo": "bar"}, [("add", "/baz", "qux")], {"baz": "qux", "foo": "bar"}),
        ({"foo": ["bar", "baz"]}, [("add", "/foo/1", "qux")], {"foo": ["bar", "qux", "baz"]}),
        ({"baz": "qux", "foo": "bar"}, [("remove", "/baz", None)], {"foo": "bar"}),
        ({"foo": ["bar", "qux", "baz"]}, [("remove", "/foo/1", None)], {"foo": ["bar", "baz"]}),
        ({"baz": "qux", "foo": 1}, [("replace", "/baz", "boo")], {"baz": "boo", "foo": 1}),
        ({"foo": "bar"}, [("add", "/child", {"g": {}})], {"foo": "bar", "child": {"g": {}}}),
        ({"foo": ["bar"]}, [("add", "/foo/-", ["abc"])], {"foo": ["bar", ["abc"]]}),
        ({"/": 9, "~1": 10}, [("test", "/~01", 10)], {"/": 9, "~1": 10}),
        ({"baz": "qux"}, [("test", "/baz", "bar")], None),
        ({"foo": "bar"}, [("add", "/baz/bat", "qux")], None),
        ({"foo": [1]}, [("add", "/foo/2", 3)], None),
        ({}, [("remove", "/baz", None)], None),
    ],
)
def test_json_patches_of_the_rfc(
    target: dict[str, Any], operations: list[tuple[str, str, Any]], result: object
) -> None:
    asked = [{"op": op, "path": path, "value": value} for op, path, value in operations]
    if result is None:
        with pytest.raises(ApiError) as refused:
            patches.json_patch(target, asked)
        assert refused.value.code == 422
    else:
        assert patches.json_patch(target, asked) == result


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patches_of_the_rfc(target: object, patch: object, result: object) -> None:
    assert patches.merge(target, patch) == result


def test_strategic_merges_of_the_documentation() -> None:
    pod = {
        "containers": [{"name": "patch-demo-ctr", "image": "nginx"}],
        "tolerations": [{"effect": "NoSchedule", "key": "dedicated", "value": "test-team"}],
    }
    found = published.schema_of("apps", "v1", "Deployment")
    assert found is not None
    target = {"spec": {"template": {"spec": pod}}}

    def patched(**change: object) -> Any:  # noqa: ANN401
        whole = {"spec": {"template": {"spec": change}}}
        return strategic.patch(target, whole, found or {})["spec"]["template"]["spec"]

    more = {"name": "patch-demo-ctr-2", "image": "redis"}
    assert patched(containers=[more])["containers"] == [*pod["containers"], more]
    # Tolerations have no patchStrategy, so the list is replaced.
    other = [{"effect": "NoSchedule", "key": "disktype", "value": "ssd"}]
    assert patched(tolerations=other)["tolerations"] == other
    gone = [{"name": "patch-demo-ctr", "$patch": "delete"}]
    assert patched(containers=gone)["containers"] == []
    order = {"$setElementOrder/containers": [{"name": "b"}, {"name": "patch-demo-ctr"}]}
    names = patched(containers=[{"name": "b"}], **order)["containers"]
    assert [one["name"] for one in names] == ["b", "patch-demo-ctr"]


# --- smaller parts ---


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("a=1", True),
        ("a==2", False),
        ("b!=1", True),
        ("a in (1,2),c", False),
        ("a notin (2),!c", True),
        ("a", True),
        ("!a", False),
    ],
)
def test_label_selectors(text: str, fits: bool) -> None:
    assert selectors.labels(text)({"metadata": {"labels": {"a": "1"}}}) is fits


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.a", [1]),
        (".spec.list[0].x", ["p"]),
        (".spec.list[*].x", ["p", "q"]),
        ('.spec.list[?(@.x=="q")].y', [2]),
        (".metadata.labels.a\\.b/c", ["z"]),
        (".metadata.labels['a.b/c']", ["z"]),
        (".spec.none", []),
    ],
)
def test_json_paths_of_printer_columns(path: str, found: list[Any]) -> None:
    one = {
        "metadata": {"labels": {"a.b/c": "z"}},
        "spec": {"a": 1, "list": [{"x": "p", "y": 1}, {"x": "q", "y": 2}]},
    }
    assert jsonpath.find(one, path) == found


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(5, "5s"), (119, "119s"), (150, "2m30s"), (660, "11m"), (7200, "120m"), (90000, "25h")],
)
def test_ages_as_kubectl_writes_them(seconds: int, said: str) -> None:
    now = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    then = (now - datetime.timedelta(seconds=seconds)).isoformat()
    assert tables.age(then, now) == said


def test_field_sets_are_written_and_read_back() -> None:
    one = samples.widget("a", ports=[{"name": "http", "port": 80}], tags=["x"], weight=1)
    one["metadata"]["labels"] = {"a": "1"}
    root = samples.DEFINITION["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    owned = frozenset(fields.owned(one, root))
    written = fields.encode(owned)
    assert written == {
        "f:metadata": {"f:labels": {"f:a": {}}},
        "f:spec": {
            "f:ports": {'k:{"name":"http"}': {".": {}, "f:name": {}, "f:port": {}}},
            "f:size": {},
            "f:tags": {'v:"x"': {}},
            "f:weight": {},
        },
    }
    assert fields.decode(written) == owned


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("self.a == 1 && self.half < 0.6", True),
        ("self.list.all(x, x > 0) && self.list.exists_one(x, x == 2)", True),
        ("self.list.isSorted() && self.list.sum() == 3 && self.list.max() == 2", True),
        ("duration(self.wait).getSeconds() == 90", True),
        ("self.text.matches('^a.c$') && self.text.find('[bc]+') == 'bc'", True),
        ("self.text.split('b').size() == 2 && self.text.upperAscii() == 'ABC'", True),
        ("has(self.none) || self.a > 5", False),
        ("self.__namespace__ == 'x' && self.a__dash__b == 1", True),
        ("oldSelf.orValue({'a': 1}).a == self.a", True),
        ("self.none == 1", False),
    ],
)
def test_rules_in_cel(rule: str, holds: bool) -> None:
    names = ("a", "half", "list", "wait", "text", "namespace", "a-b")
    declared = {"rule": rule, "optionalOldSelf": "oldSelf" in rule}
    known = {"type": "object", "properties": {key: {} for key in names}}
    one = {
        "a": 1,
        "half": 0.5,
        "list": [1, 2],
        "wait": "1m30s",
        "text": "abc",
        "namespace": "x",
        "a-b": 1,
    }
    found = list(rules.broken(one, None, {**known, rules.WORD: [declared]}))
    assert (found == []) is holds


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        ("self.size.startsWith('s') && self.ports.all(p, p.port > 0 && p.name != '')", ""),
        ("has(self.share) == (self.share < 0.5) || size(self.free) == 0", ""),
        ("self.labels.all(k, self.labels[k] == 'x') && self.since < timestamp(self.text)", ""),
        ("self.wait > duration('5s') && self.port == 3 || self.port == 'http'", ""),
        ("self.namespace == 'x'", "undefined field"),
        ("self.size +", "Syntax error"),
        ("size(self)", "no matching overload"),
        ("self.size", "must evaluate to a bool"),
        ("unknown(self)", "undeclared reference"),
        ("self.bogus == 1", "undefined field 'bogus'"),
        ("self.ports.exists(p, p.bogus)", "undefined field 'bogus'"),
        ("self.weight > 'x'", "no matching overload"),
        ("self.weight < 0.5", "no matching overload"),
        ("self.share == 1", "no matching overload"),
    ],
)
def test_rules_are_checked_with_the_types_of_the_schema(rule: str, wrong: str) -> None:
    text = {"type": "string"}
    port = {"type": "object", "properties": {"name": text, "port": {"type": "integer"}}}
    spec = {
        "type": "object",
        "properties": {
            "size": text,
            "text": text,
            "weight": {"type": "integer"},
            "share": {"type": "number"},
            "ports": {"type": "array", "items": port},
            "labels": {"type": "object", "additionalProperties": text},
            "free": {"type": "object", "additionalProperties": {"type": "integer"}},
            "since": {"type": "string", "format": "date-time"},
            "wait": {"type": "string", "format": "duration"},
            "port": {"x-kubernetes-int-or-string": True},
        },
        rules.WORD: [{"rule": rule}],
    }
    found = list(rules.check({"type": "object", "properties": {"spec": spec}}, ""))
    assert [one.field for one in found] == (
        [f".properties[spec].{rules.WORD}[0].rule"] if wrong else []
    )
    assert not wrong or wrong in found[0].message


@pytest.mark.parametrize(
    ("method", "path", "verb", "where"),
    [
        ("GET", "/api/v1/namespaces", "list", ("namespaces", "", "")),
        ("GET", "/api/v1/namespaces/a", "get", ("namespaces", "", "a")),
        ("PUT", "/api/v1/namespaces/a/status", "update", ("namespaces", "", "a")),
        ("GET", "/api/v1/namespaces/a/pods", "list", ("pods", "a", "")),
        ("DELETE", "/apis/apps/v1/namespaces/a/deployments/b", "delete", ("deployments", "a", "b")),
        ("DELETE", "/apis/apps/v1/namespaces/a/deployments", "deletecollection",
         ("deployments", "a", "")),
        ("PATCH", "/apis/x.y/v1/namespaces/a/zs/b/status", "patch", ("zs", "a", "b")),
    ],
)  # fmt: skip
def test_paths_of_the_documentation(
    method: str, path: str, verb: str, where: tuple[str, str, str]
) -> None:
    found = requests.parse(method, path, {}, {})
    assert (found.verb, (found.plural, found.namespace, found.name)) == (verb, where)
