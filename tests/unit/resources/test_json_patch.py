"""Operations of RFC 6902 on plain values, among them those of its appendix A."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from controlplane.resources.envoy_patch import Operation
from controlplane.resources.json_patch import PatchError, merged, operated


def op(name: str, path: str, **more: Any) -> Operation:  # noqa: ANN401 (JSON)
    return Operation.model_validate({"op": name, "path": path, **more})


@pytest.mark.parametrize(
    ("before", "one", "after"),
    [
        ({"foo": "bar"}, op("add", "/baz", value="qux"), {"foo": "bar", "baz": "qux"}),
        ({"foo": ["a", "c"]}, op("add", "/foo/1", value="b"), {"foo": ["a", "b", "c"]}),
        ({"foo": ["a"]}, op("add", "/foo/-", value=["b"]), {"foo": ["a", ["b"]]}),
        ({"foo": 1, "baz": 2}, op("remove", "/baz"), {"foo": 1}),
        ({"foo": [1, 2, 3]}, op("remove", "/foo/1"), {"foo": [1, 3]}),
        ({"baz": 1}, op("replace", "/baz", value=2), {"baz": 2}),
        ({"a": [1, 2]}, op("replace", "/a/0", value=9), {"a": [9, 2]}),
        ({"a": 1}, op("replace", "", value={"b": 2}), {"b": 2}),
        (
            {"foo": {"bar": 1, "x": 2}, "qux": {}},
            op("move", "/qux/y", **{"from": "/foo/x"}),
            {"foo": {"bar": 1}, "qux": {"y": 2}},
        ),
        ({"foo": [1, 2, 3]}, op("move", "/foo/2", **{"from": "/foo/0"}), {"foo": [2, 3, 1]}),
        ({"a": [1]}, op("copy", "/b", **{"from": "/a"}), {"a": [1], "b": [1]}),
        ({"a": [1]}, op("test", "/a/0", value=1), {"a": [1]}),
        ({"a/b": 1, "m~n": 2}, op("remove", "/a~1b"), {"m~n": 2}),
        ({"a/b": 1, "m~n": 2}, op("remove", "/m~0n"), {"a/b": 1}),
    ],
)
def test_an_operation_does_what_the_rfc_says(before: Any, one: Operation, after: Any) -> None:  # noqa: ANN401
    given = copy.deepcopy(before)
    assert operated(before, one) == after
    assert before == given


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (op("remove", "/b"), "there is no /b"),
        (op("replace", "/a/3", value=1), "there is no /a/3"),
        (op("add", "/a/3", value=1), "there is no place for /a/3"),
        (op("add", "/a/x", value=1), "'x' is no place in a list of 2"),
        (op("add", "/a/01", value=1), "'01' is no place in a list of 2"),
        (op("add", "/b/c", value=1), "there is no /b"),
        (op("add", "/s/c", value=1), "/s holds nothing"),
        (op("test", "/a/0", value=2), "test: /a/0 has another value"),
        (op("move", "/a/0/x", **{"from": "/a/0"}), "move: /a/0/x is within /a/0"),
        (op("remove", ""), "the whole resource is not taken away"),
    ],
)
def test_what_does_not_fit_says_where(one: Operation, why: str) -> None:
    with pytest.raises(PatchError) as error:
        operated({"a": [1, 2], "s": "text"}, one)
    assert str(error.value) == why


def test_a_merge_puts_mappings_together_and_replaces_all_else() -> None:
    before = {"a": {"b": 1, "c": {"d": 2}}, "e": [1, 2]}
    assert merged(before, {"a": {"c": {"x": 3}}, "e": [3]}) == {
        "a": {"b": 1, "c": {"d": 2, "x": 3}},
        "e": [3],
    }
    assert before == {"a": {"b": 1, "c": {"d": 2}}, "e": [1, 2]}
