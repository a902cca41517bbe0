"""Which clients a request for their status means. No pattern of a stranger's is ever run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from controlplane._pb.status_pb2 import NodeMatcher, StringMatcher

MAX_MATCHERS = 100

NodeTest = Callable[[str], bool]


class BadMatcherError(ValueError):
    """A matcher that is not served."""


def node_test(matchers: Sequence[NodeMatcher]) -> NodeTest:
    """Whether a node id is meant: by any of the matchers, and by none at all every one.

    Raises `BadMatcherError`.

    >>> test = node_test([NodeMatcher(node_id=StringMatcher(exact="envoy-1"))])
    >>> test("envoy-1"), test("envoy-11")
    (True, False)
    """
    if len(matchers) > MAX_MATCHERS:
        raise BadMatcherError(f"{len(matchers)} node_matchers: at most {MAX_MATCHERS}")
    tests = [_one(matcher) for matcher in matchers]
    if not tests:
        return lambda node_id: True
    return lambda node_id: any(test(node_id) for test in tests)


def _one(matcher: NodeMatcher) -> NodeTest:
    if matcher.node_metadatas:
        raise BadMatcherError("node_matchers: node_metadatas are not served; match by node_id")
    return _text(matcher.node_id)


def _text(matcher: StringMatcher) -> NodeTest:
    kind = matcher.WhichOneof("match_pattern")
    if kind is None or kind == "safe_regex":
        raise BadMatcherError(
            "node_matchers: a node_id is matched by exact, prefix, suffix or contains, "
            f"not by {kind or 'something else or nothing'}"
        )
    fold = str.casefold if matcher.ignore_case else str
    pattern = fold(getattr(matcher, kind))
    tests: dict[str, Callable[[str], bool]] = {
        "exact": lambda text: text == pattern,
        "prefix": lambda text: text.startswith(pattern),
        "suffix": lambda text: text.endswith(pattern),
        "contains": lambda text: pattern in text,
    }
    test = tests[kind]
    return lambda node_id: test(fold(node_id))
