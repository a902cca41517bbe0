"""Regular expressions that people write: those alone that Envoy's engine (RE2) takes.

Envoy refuses a whole route table for one pattern that it cannot compile, so a pattern is checked
before it is sent. The check is textual and strict: what Python and RE2 both know and mean alike,
and no larger than Envoy compiles (it stops at 100 instructions unless its runtime says otherwise).
"""

from __future__ import annotations

import re

MAX_LENGTH = 1024
MAX_SIZE = 100
"""Instructions of a compiled pattern that Envoy takes."""
MAX_DEPTH = 16

_LETTER_ESCAPES = frozenset("dDwWsSbBAntrfva")
_TOKEN = re.compile(
    r"""(?P<escape>\\.)
      | (?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])
      | (?P<open>\((?:\?(?::|P<[A-Za-z_][A-Za-z0-9_]*>|[ims]+(?:-[ims]+)?[:)]))?)
      | (?P<close>\))
      | (?P<either>\|)
      | (?P<count>\{\d+(?:,\d*)?\}\??)
      | (?P<repeat>[*+?]\??)
      | (?P<plain>.)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE_SIZES = {"w": 3, "s": 3, "S": 4, "W": 5}
_COUNT = re.compile(r"\{(\d+)(,(\d*))?\}")


def check_pattern(text: str) -> str:
    """The pattern itself. Raises `ValueError` that says what is not taken."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a pattern has at most {MAX_LENGTH} characters, this one {len(text)}")
    tokens = [(str(one.lastgroup), one.group()) for one in _TOKEN.finditer(text)]
    for at, (kind, words) in enumerate(tokens):
        before = tokens[at - 1][0] if at else "either"
        _check_token(kind, words, before, text)
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from error
    size = _size(tokens)
    if size > MAX_SIZE:
        raise ValueError(
            f"too large for Envoy: about {size} instructions, at most {MAX_SIZE}; a counted "
            "repetition counts as often as it may repeat"
        )
    return text


def _check_token(kind: str, words: str, before: str, text: str) -> None:
    if kind == "escape":
        _check_escape(words[1])
    elif kind == "set":
        inside = words[1:-1]
        for escaped in re.findall(r"\\(.)", inside, re.DOTALL):
            _check_escape(escaped)
        if re.search(r"\[|--|&&|~~|\|\|", re.sub(r"\\.", "x", inside)):
            raise ValueError("set operations and nested sets inside [...] are not taken")
    elif before == "open" and (kind in ("repeat", "count") or words == "?"):
        raise ValueError("look-around, back-references and comments are not taken")
    elif kind in ("repeat", "count") and before in ("repeat", "count"):
        raise ValueError("a repetition of a repetition is not taken; use a group")
    elif kind == "plain" and words == "\\":
        raise ValueError("a pattern does not end with a backslash")
    elif kind == "plain" and words == "{" and "{," in text:
        raise ValueError("a counted repetition begins with a number: {0,3}, not {,3}")


def _check_escape(escaped: str) -> None:
    if escaped.isalnum() and escaped not in _LETTER_ESCAPES:
        raise ValueError(f"'\\{escaped}' is not taken; write the characters themselves")


def _size(tokens: list[tuple[str, str]]) -> int:
    """Instructions that the pattern compiles to, or a few more."""
    done: list[list[int]] = [[4]]  # sizes of the parts of each group that is open
    for kind, words in tokens:
        if kind == "open":
            if words.endswith(")"):
                continue  # flags alone
            done.append([2])
            if len(done) > MAX_DEPTH:
                raise ValueError(f"groups are nested at most {MAX_DEPTH} deep")
        elif kind == "close":
            group = sum(done.pop())
            done[-1].append(group)
        elif kind in ("repeat", "count"):
            done[-1].append(_repeated(done[-1].pop(), words))
        elif kind == "set":
            done[-1].append(len(words.encode()) + 3 * words.count("\\"))
        else:
            done[-1].append(_atom(kind, words))
    return sum(done[0])


def _atom(kind: str, words: str) -> int:
    if kind == "escape":
        return _ESCAPE_SIZES.get(words[1], 2)
    return 2 if words == "." else len(words.encode())


def _repeated(size: int, words: str) -> int:
    count = _COUNT.match(words)
    if count is None:
        return size + (1 if words[0] == "?" else 2)
    least = int(count[1])
    if count[2] is None:
        return size * least
    if not count[3]:
        return size * max(1, least) + 2
    return size * least + (size + 1) * max(0, int(count[3]) - least)
