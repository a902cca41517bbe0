"""`Secret` and `ConfigMap`, as Kubernetes has them: certificates, keys, passwords, and CAs.

What a Secret holds is in no message, no repr and no page.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, StringConstraints

from controlplane.resources.kinds import CoreApiVersion, Document

MAX_BYTES = 1024 * 1024
"""Of all values of one object, as in Kubernetes."""
TLS = "kubernetes.io/tls"
CERTIFICATE, KEY, CA = "tls.crt", "tls.key", "ca.crt"

Entry = Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]{1,253}$")]


def _decoded(text: str) -> str:
    try:
        base64.b64decode(text.replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("want base64; plain text goes under stringData") from None
    return text


Base64 = Annotated[str, AfterValidator(_decoded)]


def _bounded(values: dict[str, str]) -> dict[str, str]:
    if sum(map(len, values.values())) > MAX_BYTES * 4 // 3:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    return values


class Secret(Document):
    """Values that nobody is shown: certificates with their keys, passwords, API keys."""

    about: ClassVar[str] = (
        "As Kubernetes has it. What it holds is shown nowhere; Envoys get it over SDS, those "
        "alone that need it. A Secret whose document is refused stays as it was."
    )
    api_version: CoreApiVersion
    kind: Literal["Secret"]
    type: str = Field(default="Opaque", description="`kubernetes.io/tls` has `tls.crt`, `tls.key`.")
    data: Annotated[dict[Entry, Base64], AfterValidator(_bounded)] = Field(
        default_factory=dict, repr=False, max_length=1000, description="Values in base64."
    )
    string_data: Annotated[dict[Entry, str], AfterValidator(_bounded)] = Field(
        default_factory=dict,
        repr=False,
        max_length=1000,
        description="Values in plain text; they go before those of `data`.",
    )
    immutable: bool = Field(default=False, description="Not looked at.")

    def value(self, entry: str) -> bytes | None:
        """One of its values; None where there is none."""
        if entry in self.string_data:
            return self.string_data[entry].encode()
        text = self.data.get(entry)
        return base64.b64decode(text) if text is not None else None

    def entries(self) -> tuple[str, ...]:
        """The names of its values, in order."""
        return tuple(sorted({*self.data, *self.string_data}))


class ConfigMap(Document):
    """Values that may be shown, such as the certificates of a CA."""

    about: ClassVar[str] = "As Kubernetes has it: the certificates of a CA under `ca.crt`."
    api_version: CoreApiVersion
    kind: Literal["ConfigMap"]
    data: Annotated[dict[Entry, str], AfterValidator(_bounded)] = Field(
        default_factory=dict, max_length=1000, description="Values in plain text."
    )
    binary_data: dict[Entry, Base64] = Field(
        default_factory=dict, max_length=1000, description="Values in base64."
    )
    immutable: bool = Field(default=False, description="Not looked at.")

    def value(self, entry: str) -> bytes | None:
        """One of its values; None where there is none."""
        if entry in self.data:
            return self.data[entry].encode()
        text = self.binary_data.get(entry)
        return base64.b64decode(text) if text is not None else None
