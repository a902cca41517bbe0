"""What every kind has in common: strictness, names, metadata, durations."""

from __future__ import annotations

import functools
import re
import typing
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

T = TypeVar("T")

GATEWAY_API = "gateway.networking.k8s.io/v1"
GATEWAY_API_GROUP = "gateway.networking.k8s.io"
WEIR_API = "weir.dev/v1alpha1"
WEIR_GROUP = "weir.dev"

_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(?:[0-9]{1,5}(?:h|m|s|ms)){1,4}")
_DURATION_PART = re.compile(r"([0-9]{1,5})(h|ms|m|s)")


def parse_duration(text: object) -> float:
    """Seconds of a Gateway API duration: whole numbers with `h`, `m`, `s`, `ms`, as in `1m30s`.

    >>> parse_duration("1m30s"), parse_duration("250ms")
    (90.0, 0.25)
    """
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        raise ValueError('want a duration such as "1s", "500ms" or "1m30s"')
    return float(sum(int(n) * _UNIT_S[unit] for n, unit in _DURATION_PART.findall(text)))


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"}),
]
"""Seconds; written as a Gateway API duration."""

Integer = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Flag = Annotated[bool, Strict()]
Port = Annotated[int, Strict(), Field(ge=1, le=65535)]

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS_LABEL = re.compile(_LABEL)
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_WILDCARD_HOST = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")


def first_twice(entries: Sequence[T]) -> T | None:
    """The first entry that stands there more than once; None where each stands once.

    >>> first_twice("abcb"), first_twice("abc")
    ('b', None)
    """
    return next((one for one in entries if entries.count(one) > 1), None)


def is_name(text: object) -> bool:
    """Whether an object may be called so."""
    return isinstance(text, str) and bool(_HOST.fullmatch(text))


def is_namespace(text: object) -> bool:
    """Whether a namespace may be called so."""
    return isinstance(text, str) and bool(DNS_LABEL.fullmatch(text))


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError("want lower-case letters, digits, '-' and '.', such as my-service")
    return text


def _namespace(text: str) -> str:
    if not is_namespace(text):
        raise ValueError("want lower-case letters, digits and '-', such as my-team")
    return text


def _hostname(text: str) -> str:
    if not _WILDCARD_HOST.fullmatch(text) or text.replace(".", "").isdigit():
        raise ValueError("want a host name such as example.com or *.example.com, no port, no IP")
    return text


def _words(most: int, pattern: str) -> WithJsonSchema:
    """What a schema can say of such a name."""
    pattern = f"^{pattern}$"
    return WithJsonSchema({"type": "string", "minLength": 1, "maxLength": most, "pattern": pattern})


Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=253),
    AfterValidator(_name),
    _words(253, _HOST.pattern),
]
"""The name of an object, as Kubernetes takes it."""
Namespace = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63),
    AfterValidator(_namespace),
    _words(63, _LABEL),
]
Hostname = Annotated[
    str,
    StringConstraints(min_length=1, max_length=253),
    AfterValidator(_hostname),
    _words(253, _WILDCARD_HOST.pattern),
]


class Fields(BaseModel):
    """A part of a document: camelCase in YAML, frozen, and no field that is not known."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        allow_inf_nan=False,
    )


class Metadata(BaseModel):
    """What names an object. Other metadata that Kubernetes writes is not looked at."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)

    name: Name = Field(description="Name of the object, unique in its kind and namespace.")
    namespace: Namespace = Field(default="default", description="Where the object lives.")
    labels: dict[str, str] = Field(default_factory=dict, description="For your own use.")
    annotations: dict[str, str] = Field(default_factory=dict, description="For your own use.")
    creation_timestamp: str = Field(
        default="",
        description="Written by Kubernetes. Of two objects in conflict the older one wins.",
    )


class Document(Fields):
    """One object."""

    about: ClassVar[str] = ""
    """What the reference says of the kind."""

    api_version: str
    kind: str
    metadata: Metadata

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def age_order(self) -> tuple[str, str]:
        """Sorts the older before the younger, then by name; no time written sorts first."""
        return self.metadata.creation_timestamp, self.key


GatewayApiVersion = Literal["gateway.networking.k8s.io/v1"]
WeirApiVersion = Literal["weir.dev/v1alpha1"]
CoreApiVersion = Literal["v1"]


@functools.cache  # bounded by the models there are
def kind_of(model: type[Document]) -> str:
    """The kind that a model is of."""
    return str(typing.get_args(model.model_fields["kind"].annotation)[0])


@functools.cache
def versions_of(model: type[Document]) -> tuple[str, ...]:
    """The apiVersions that a model takes, the one to write first."""
    return typing.get_args(model.model_fields["api_version"].annotation)


@functools.cache
def group_of(model: type[Document]) -> str:
    """The API group of a model; empty for Kubernetes' own."""
    group, slash, _ = versions_of(model)[0].partition("/")
    return group if slash else ""
