"""What no status may show: secrets, and resources that carry some within them.

The server knows little of what resources mean, so it does not cut secrets out of them: a resource
that carries one (see `credentials`) is withheld as a whole, and its name and version remain.
Private keys belong into files or into secrets that Envoy asks for by name (SDS); then nothing else
is withheld.
"""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.xds.credentials import carries
from controlplane.xds.kinds import SECRET
from controlplane.xds.versions import Resource

MOST_BYTES = 4 * 1024 * 1024
"""Of a larger response no refusal is shown: it would take too long to look through (a quarter of a
second for this much), and others wait."""
WITHHELD = "withheld, as it may quote a secret; see the log of the client itself"
_REMEMBERED = 256

_quotable: dict[tuple[str, int], bool] = {}
"""Of responses that were refused, by type and content: a thousand clients refuse the same."""


def confidential(type_url: str, body: bytes) -> bool:
    """Whether the body must not be shown.

    >>> confidential(SECRET, b""), confidential("type.googleapis.com/my.Type", b"harmless")
    (True, False)
    >>> confidential("type.googleapis.com/my.Type", b"-----BEGIN PRIVATE KEY-----")
    True
    """
    return type_url == SECRET or b"PRIVATE KEY-----" in body or carries(type_url, body)


def told(message: str, type_url: str, refused: Sequence[Resource]) -> str:
    """What may be shown, kept and logged of a client's refusal, which often quotes what it refuses.

    >>> told("no such filter", "type.googleapis.com/my.Type", [Resource.of("a", b"harmless")])
    'no such filter'
    """
    if not _may_be_quoted(type_url, refused):
        return WITHHELD
    return message


def _may_be_quoted(type_url: str, resources: Sequence[Resource]) -> bool:
    key = (type_url, sum(one.part for one in resources))
    found = _quotable.get(key)
    if found is None:
        if len(_quotable) >= _REMEMBERED:
            _quotable.clear()
        found = _quotable[key] = sum(len(one.body) for one in resources) <= MOST_BYTES and not any(
            confidential(type_url, one.body) for one in resources
        )
    return found
