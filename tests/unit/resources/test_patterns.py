from __future__ import annotations

import pytest

from controlplane.resources.patterns import check_pattern

TAKEN = [
    "/v[0-9]+/.*", r"/users/\d{1,8}", "(a|b)*c?", "(?:x)(?P<n>y)", "(?i)abc", r"[\w.-]+@x",
    "[^/]+", "[]a]", r"a\.b\/c", "a{2,}", "x*?", "a{90}", "(a{4}){12}", r"\A\bx\B\t", "^/a$",
    "(?s-i:x)", r"[\d\s]", "é+", "{x}", ".{45}", r"\w{20}", "(ab|cd){10}", "a{2,45}",
    "(abc){15,}", "a?" * 45, "[aeiou]{13}", "(?i)" + "abcdefghij" * 9, "é" * 45, r"\S{20}",
]  # fmt: skip
"""The real Envoy is asked whether it takes them too."""


@pytest.mark.parametrize("pattern", TAKEN)
def test_what_envoy_takes_is_taken(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize(
    "pattern",
    [
        "(", "a**", "[z-a]", "(?=a)", "(?!a)", "(?<=a)b", r"(a)\1", "(?P=n)", "(?P<n>a)(?P=n)",
        "a++", "a{,3}", "(?>a)", "(?#no)", "(?x) a", r"\Z", r"\u0041", "a\\", "(a{100}){100}",
        "a{101}", "a" * 97, ".{50}", "x" * 1025, "(" * 20 + ")" * 20, "[[a]]", "[a--b]", "[a&&b]",
    ],
)  # fmt: skip
def test_what_envoy_would_refuse_or_read_otherwise_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"not|at most"):
        check_pattern(pattern)
