"""What looks like a secret, or is known to be one, out of any text. Pure.

The second of two lines: documents are cut down to what is known to be harmless first (`allowed`),
and whatever is written into an archive, logs and messages too, goes through here.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

WITHHELD = "<withheld>"
SHORTEST = 8
"""Characters of a known secret; what is shorter stands in any text by chance."""
_LINE = 24
"""Characters of a line of a secret of many lines, such as a key."""

# No rule looks back and forth over a long word: what is bounded here keeps the time linear.
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), put)
    for pattern, put in (
        # A key, also where a log cut it off, or JSON has it on one line.
        (
            r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY-----[\s\S]*?"
            r"(?:-----END [A-Z0-9 ]{0,40}-----|\Z)",
            WITHHELD,
        ),
        (r"\beyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*", WITHHELD),  # JSON Web Token, RFC 7519
        # User and password of a URL; not an image and its digest.
        (r"\b([A-Za-z][A-Za-z0-9+.-]{0,30}://)[^\s\"'<>@]{0,2000}@(?!sha256:)", rf"\1{WITHHELD}@"),
        (
            r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-[a-z-]{0,30}(?:key|token|secret|"
            r"auth))(\\?[\"']?[ \t]{0,9}[:=,][ \t]{0,9}\\?[\"']?)([^\"'\r\n]+)",
            rf"\1\2{WITHHELD}",
        ),
        (r"(?i)\b(bearer|basic|negotiate|digest)\s+[A-Za-z0-9+/=._~-]{6,}", rf"\1 {WITHHELD}"),
        (
            r"(?i)((?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|private[_-]?key|"
            r"access[_-]?key|credential|signature)[\w.-]{0,40}\\?[\"']?[ \t]{0,9}[:=][ \t]{0,9}"
            r"\\?[\"']?)(?!<)[^\s\"'&,;}\])\\]+",
            rf"\1{WITHHELD}",
        ),
        (r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", WITHHELD),  # AWS
        (r"\bgh[pousr]_\w{20,}|\bgithub_pat_\w{20,}|\bxox[abprs]-[\w-]{10,}", WITHHELD),
        (r"\bAIza[\w-]{35}", WITHHELD),  # Google
        (r"\$(?:argon2\w{0,3}|2[abxy]|[156y])\$[^\s\"']+", WITHHELD),  # hashes of passwords
        # Of chance, as it seems: long, with upper and lower case and digits.
        (
            r"(?<![\w+/-])(?=[\w+/-]*[A-Z])(?=[\w+/-]*[a-z])(?=[\w+/-]*\d)[\w+/-]{32,}={0,2}",
            WITHHELD,
        ),
    )
)


_FIELD = re.compile(
    r"(?i)(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|private[_-]?key|access[_-]?key|"
    r"credentials?|authorization|cookie)$"
)
"""Names of fields that hold a secret."""


class Scrubber:
    """Knows what the Secrets hold that could be read, and what secrets look like."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._by_start: dict[str, list[str]] = {}
        found = {one for one in known if len(one) >= SHORTEST}
        for one in sorted(found, key=lambda one: (-len(one), one)):
            self._by_start.setdefault(one[:SHORTEST], []).append(one)

    def text(self, text: str) -> str:
        """Without secrets.

        >>> Scrubber(["correct horse"]).text("redis://weir:pw@host/0 correct horse token=abc")
        'redis://<withheld>@host/0 <withheld> token=<withheld>'
        """
        text = self._without_known(text)
        for pattern, put in _RULES:
            text = pattern.sub(put, text)
        return text

    def document(self, one: Any) -> Any:  # noqa: ANN401 (JSON)
        """The same of every text in a document, and all of a text whose field says that it is one.

        >>> Scrubber().document({"clientSecret": "abc", "secretName": "keys", "n": [1, "a=b"]})
        {'clientSecret': '<withheld>', 'secretName': 'keys', 'n': [1, 'a=b']}
        """
        if isinstance(one, Mapping):
            return {
                self.text(str(name)): WITHHELD
                if isinstance(each, str) and _FIELD.search(str(name)) and not each.startswith("<")
                else self.document(each)
                for name, each in one.items()
            }
        if isinstance(one, (list, tuple)):
            return [self.document(each) for each in one]
        return self.text(one) if isinstance(one, str) else one

    def _without_known(self, text: str) -> str:
        """It takes as long for thousands of secrets as for one."""
        starts = self._by_start
        if not starts:
            return text
        last = len(text) - SHORTEST + 1
        kept, at = list[str](), 0
        for here in [i for i in range(last) if text[i : i + SHORTEST] in starts]:
            candidates = starts[text[here : here + SHORTEST]]
            found = next((one for one in candidates if text.startswith(one, here)), None)
            if found is not None and here >= at:
                kept += [text[at:here], WITHHELD]
                at = here + len(found)
        return "".join([*kept, text[at:]])


def known_of(secrets: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What stands in Secrets, as it is and in the forms that other texts would have it in."""
    for one in secrets:
        account = one.get("type") == "kubernetes.io/service-account-token"
        for name, encoded in (one.get("data") or {}).items():
            if account and name in ("namespace", "ca.crt"):
                continue  # both stand everywhere, and neither is secret
            text = str(encoded)  # a number, where somebody forgot to encode it
            try:
                value = base64.b64decode(text).decode()
            except (binascii.Error, ValueError):
                yield text
                continue
            yield from _forms(value, text)


def _forms(value: str, encoded: str) -> Iterator[str]:
    stripped = value.strip()
    yield from (encoded, stripped, quote(stripped, safe=""), json.dumps(stripped)[1:-1])
    lines = stripped.splitlines()
    if len(lines) > 1:
        yield from (line.strip() for line in lines if len(line.strip()) >= _LINE)
    try:
        yield from _leaves(json.loads(stripped))  # such as that of a registry
    except ValueError:
        return


def _leaves(one: object) -> Iterator[str]:
    if isinstance(one, str):
        yield one
    elif isinstance(one, Mapping):
        for value in one.values():
            yield from _leaves(value)
    elif isinstance(one, list):
        for value in one:
            yield from _leaves(value)
