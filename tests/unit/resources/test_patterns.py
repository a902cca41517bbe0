from __future__ import annotations

import pytest

from controlplane.resources.patterns import check_pattern


@pytest.mark.parametrize(
    "pattern",
    [
        "/v[0-9]+/.*", r"/users/\d{1,8}", "(a|b)*c?", "(?:x)(?P<n>y)", "(?i)abc", r"[\w.-]+@x",
        "[^/]+", "[]a]", r"a\.b\/c", "a{2,}", "x*?",
    ],
)  # fmt: skip
def test_what_envoy_takes_is_taken(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize(
    "pattern",
    [
        "(", "a**", "[z-a]", "(?=a)", "(?!a)", "(?<=a)b", r"(a)\1", "(?P=n)", "(?P<n>a)(?P=n)",
        "a++", "(?>a)", "(?#no)", "(?x) a", r"\Z", r"\u0041", "a\\", "(a{100}){100}", "a{1001}",
        "x" * 1025, "(" * 40 + ")" * 40, "[[a]]", "[a--b]", "[a&&b]",
    ],
)  # fmt: skip
def test_what_envoy_would_refuse_or_read_otherwise_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"not|at most|go to"):
        check_pattern(pattern)
