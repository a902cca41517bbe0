"""Sizes, as Kubernetes writes them: bytes, or with `Ki`, `Mi`, `Gi`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

_SIZE = re.compile(r"([0-9]{1,15})(Ki|Mi|Gi)?")
_UNIT = {None: 1, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}


def parse_size(text: object) -> int:
    """Bytes of a size.

    >>> parse_size("32Ki"), parse_size(100)
    (32768, 100)
    """
    found = _SIZE.fullmatch(str(text)) if isinstance(text, (str, int)) else None
    if found is None or isinstance(text, bool):
        raise ValueError('want bytes, or a size such as "32Ki" or "1Mi"')
    return int(found[1]) * _UNIT[found[2]]


Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": "^[0-9]{1,15}(Ki|Mi|Gi)?$"}),
]
"""Bytes; written as a number or as a Kubernetes quantity."""
