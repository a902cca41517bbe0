"""Regular expressions that people write: those alone that Envoy's engine (RE2) takes.

Envoy refuses a whole route table for one pattern that it cannot compile, so a pattern is checked
before it is sent. The check is textual and strict: what Python and RE2 both know and mean alike.
"""

from __future__ import annotations

import re

MAX_LENGTH = 1024
MAX_REPEAT = 1000
"""RE2's bound on a counted repetition; nested ones multiply."""
MAX_DEPTH = 32

_LETTER_ESCAPES = frozenset("dDwWsSbBAntrfva")
_GROUP = re.compile(r"\(\?(?!:|P<[A-Za-z_][A-Za-z0-9_]*>|[ims]+(-[ims]+)?[:)])")
_SET = re.compile(r"\[\^?\]?[^\]]*\]")
_COUNT = re.compile(r"\{(\d+)(,(\d*))?\}")


def check_pattern(text: str) -> str:
    """The pattern itself. Raises `ValueError` that says what is not taken."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a pattern has at most {MAX_LENGTH} characters, this one {len(text)}")
    bare = _without_escapes(text)
    outside = _SET.sub("x", bare)
    unsupported = _GROUP.search(outside)
    if unsupported:
        what = outside[unsupported.start() :][:4]
        raise ValueError(f"{what!r}...: look-around, back-references and comments are not taken")
    if re.search(r"[*+?}]\+", outside):
        raise ValueError("possessive repetition (a '+' after another repetition) is not taken")
    if any(re.search(r"\[|--|&&|~~|\|\|", one[1:]) for one in _SET.findall(bare)):
        raise ValueError("set operations and nested sets inside [...] are not taken")
    if outside.count("(") > MAX_DEPTH:
        raise ValueError(f"a pattern has at most {MAX_DEPTH} groups")
    _check_counts(outside)
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return text


def _without_escapes(text: str) -> str:
    """The pattern with each escaped character as a plain letter."""
    out, at = [], 0
    while at < len(text):
        if text[at] != "\\":
            out.append(text[at])
            at += 1
            continue
        escaped = text[at + 1 : at + 2]
        if not escaped:
            raise ValueError("a pattern does not end with a backslash")
        if escaped.isalnum() and escaped not in _LETTER_ESCAPES:
            raise ValueError(f"'\\{escaped}' is not taken; write the characters themselves")
        out.append("x")
        at += 2
    return "".join(out)


def _check_counts(outside: str) -> None:
    product = 1
    for match in _COUNT.finditer(outside):
        product *= max(1, int(match[3] or match[1]))
        if product > MAX_REPEAT:
            raise ValueError(f"counted repetitions go to {MAX_REPEAT} in all in one pattern")
