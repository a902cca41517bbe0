"""Expressions in CEL that people write: those alone that Envoy takes.

Envoy refuses a whole route table for one expression that it cannot compile, so an expression is
checked before it is sent: the grammar (without macros), and the attributes, functions and numbers
of arguments that Envoy knows in its default settings.

https://github.com/google/cel-spec/blob/master/doc/langdef.md
https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

from controlplane.resources.patterns import check_pattern

MAX_LENGTH = 1024
MAX_DEPTH = 24
MAX_DIGITS = 15

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"[^"\\]*"|'[^'\\]*')
      | (?P<number>\d+(?:\.\d+)?)
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign>&&|\|\||==|!=|<=|>=|[-+*/!<>?:.,()\[\]]))""",
    re.VERBOSE,
)
_ATTRIBUTES: Mapping[str, frozenset[str]] = {
    "request": frozenset(
        ("path", "url_path", "query", "host", "scheme", "method", "headers", "referer",
         "useragent", "protocol", "id")
    ),
    "source": frozenset(("address", "port")),
    "destination": frozenset(("address", "port")),
    "connection": frozenset(
        ("mtls", "requested_server_name", "tls_version", "subject_peer_certificate",
         "uri_san_peer_certificate", "dns_san_peer_certificate")
    ),
}  # fmt: skip
_METHODS = {"startsWith": 1, "endsWith": 1, "contains": 1, "matches": 1, "size": 0}
_FUNCTIONS = {"int": 1, "double": 1, "size": 1}
_CONSTANTS = ("true", "false")
_COMPARED = ("==", "!=", "<=", ">=", "<", ">", "in")


def check_expression(text: str) -> str:
    """The expression itself. Raises `ValueError` that says what is not taken."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"an expression has at most {MAX_LENGTH} characters")
    if "%" in text or not text.isprintable():
        raise ValueError("an expression has no '%' and stands in one line")
    reader = _Reader(_tokens(text))
    reader.expression()
    if reader.next:
        raise ValueError(f"{reader.next!r} is not expected here")
    return text


def _tokens(text: str) -> list[str]:
    found, at, end = [], 0, len(text.rstrip())
    while at < end:
        token = _TOKEN.match(text, at)
        if token is None:
            raise ValueError(f"not CEL from here: {text[at : at + 20]!r}")
        found.append(token.group(token.lastgroup or 0))
        at = token.end()
    return found


class _Reader:
    """Reads by the grammar, the weakest operators first."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    @property
    def next(self) -> str:
        """What comes next; empty at the end."""
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, *wanted: str) -> str:
        """The next, if it is one of these; empty if not."""
        found = self.next
        if found not in wanted or not found:
            return ""
        self._at += 1
        return found

    def _need(self, wanted: str) -> None:
        if not self._take(wanted):
            raise ValueError(f"want {wanted!r}, got {self.next or 'the end'!r}")

    def expression(self) -> None:
        """A condition, or one of two values by a condition."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError("too many brackets within one another")
        self._either()
        if self._take("?"):
            self._either()
            self._need(":")
            self.expression()
        self._depth -= 1

    def _either(self) -> None:
        self._both()
        while self._take("||"):
            self._both()

    def _both(self) -> None:
        self._relation()
        while self._take("&&"):
            self._relation()

    def _relation(self) -> None:
        self._sum()
        if self._take(*_COMPARED):
            self._sum()

    def _sum(self) -> None:
        self._single()
        while self._take("+", "-", "*", "/"):
            self._single()

    def _single(self) -> None:
        sign = self._take("!", "-")
        while sign and self._take(sign):
            pass
        self._value()
        while opened := self._take(".", "["):
            if opened == "[":
                self.expression()
                self._need("]")
            else:
                self._method()

    def _value(self) -> None:
        word = self.next
        self._at += 1
        if word == "(":
            self.expression()
            self._need(")")
        elif word == "[":
            self._list("]")
        elif word[:1].isdigit() and len(word) > MAX_DIGITS:
            raise ValueError(f"a number has at most {MAX_DIGITS} digits")
        elif word[:1].isdigit() or word[:1] in ("'", '"') or word in _CONSTANTS:
            return
        elif word in _FUNCTIONS:
            self._need("(")
            self._arguments(word, _FUNCTIONS[word])
        elif word in _ATTRIBUTES:
            self._need(".")
            self._attribute(word)
        else:
            known = ", ".join((*_ATTRIBUTES, *_FUNCTIONS))
            raise ValueError(f"there is no {word or 'end'!r} here; there are: {known}")

    def _attribute(self, of: str) -> None:
        if not self._take(*_ATTRIBUTES[of]):
            known = ", ".join(sorted(_ATTRIBUTES[of]))
            raise ValueError(f"{of} has no {self.next!r}; it has: {known}")

    def _method(self) -> None:
        name = self._take(*_METHODS)
        if not name:
            raise ValueError(
                f"there is no function {self.next!r}; there are: {', '.join(_METHODS)}"
            )
        self._need("(")
        if name == "matches":
            if self.next[:1] not in ("'", '"') or not self.next:
                raise ValueError("matches wants a pattern in quotes")
            check_pattern(ast.literal_eval(self.next))
        self._arguments(name, _METHODS[name])

    def _arguments(self, name: str, wanted: int) -> None:
        if self._list(")") != wanted:
            raise ValueError(f"{name} takes {wanted or 'no'} argument{'s' * (wanted != 1)}")

    def _list(self, end: str) -> int:
        """How many there are."""
        if self._take(end):
            return 0
        count = 0
        while True:
            self.expression()
            count += 1
            if self._take(end):
                return count
            self._need(",")
