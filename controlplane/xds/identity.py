"""Which node a proven name may claim to be: templates, matched literally and completely.

A template is a name with places to fill, such as `spiffe://example.org/ns/{namespace}/envoy/{node_id}`
or `{node_id}.{cluster}.mesh.example`. It is filled with what the node claims and compared with the
name that the peer proved (a URI or DNS name of its certificate, the subject of its token). No
pattern is ever run on what a peer sends.

So that one name cannot be read in two ways, what fills a place is bounded: never empty, never `/`,
never `.` where its segment of the template has a dot of its own, and never the character that comes
next in the template. Two nodes that claim different things thus never fill a template equally.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from controlplane.errors import ConfigurationError

MAX_TEMPLATES = 64
MAX_TEMPLATE = 512
"""Characters of a template."""
MAX_CLAIM = 256
"""Characters of what a node claims."""

Kind = Literal["uri", "dns", "subject"]

_PLACES = ("node_id", "cluster", "namespace", "gateway")
_PLACE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Name:
    """What a peer proved: a name of its certificate, or the subject of its token."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What a node says of itself."""

    node_id: str
    cluster: str

    def filling(self, place: str) -> str:
        """What goes into a place; empty where the node claims no such thing.

        >>> Claim("envoy-1", "default/edge").filling("gateway")
        'edge'
        """
        if place == "node_id":
            return self.node_id
        if place == "cluster":
            return self.cluster
        namespace, slash, gateway = self.cluster.partition("/")
        if not slash or "/" in gateway:
            return ""
        return namespace if place == "namespace" else gateway


@dataclass(frozen=True, slots=True)
class Template:
    """One rule. Use `parse`."""

    text: str
    kind: Kind
    literals: tuple[str, ...]
    """What stands before, between and after the places: one more than there are places."""
    places: tuple[str, ...]
    stops: tuple[frozenset[str], ...]
    """For each place, the characters that may not fill it."""

    @classmethod
    def parse(cls, text: str) -> Template:
        """Raises `ConfigurationError` that says what is wrong and what to write instead."""
        if len(text) > MAX_TEMPLATE:
            raise _wrong(text[:40] + "...", f"longer than {MAX_TEMPLATE} characters", "shorten it")
        parts = _PLACE.split(text)
        literals, places = tuple(parts[::2]), tuple(parts[1::2])
        _check(text, literals, places)
        segments = "\0".join(literals).split("/")
        dotted = [part for part in segments for _ in range(part.count("\0"))]
        stops = tuple(
            frozenset({"/", *after[:1], *("." if "." in segment else "")})
            for after, segment in zip(literals[1:], dotted, strict=True)
        )
        kind: Kind = "uri" if ":" in "".join(literals) else "dns"
        return cls(text, kind, literals, places, stops)

    def matches(self, name: Name, claim: Claim) -> bool:
        """Whether this name entitles to that claim."""
        if name.kind not in (self.kind, "subject"):
            return False
        filled = [self.literals[0]]
        for place, stops, after in zip(self.places, self.stops, self.literals[1:], strict=True):
            value = claim.filling(place)
            if not 0 < len(value) <= MAX_CLAIM or not _visible(value) or stops & set(value):
                return False
            filled += (value, after)
        return "".join(filled) == name.text


@dataclass(frozen=True, slots=True)
class Binding:
    """The templates of which one must match. Use `parse`."""

    templates: tuple[Template, ...]

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Binding:
        """Raises `ConfigurationError`.

        >>> rule = Binding.parse(["spiffe://example.org/ns/{namespace}/envoy/{node_id}"])
        >>> name = Name("uri", "spiffe://example.org/ns/default/envoy/envoy-1")
        >>> rule.entitles([name], Claim("envoy-1", "default/edge"))
        True
        >>> rule.entitles([name], Claim("envoy-2", "default/edge"))
        False
        """
        if not 0 < len(texts) <= MAX_TEMPLATES:
            raise ConfigurationError(
                f"identity templates: {len(texts)} are given, want 1 to {MAX_TEMPLATES}"
            )
        return cls(tuple(Template.parse(text) for text in texts))

    def entitles(self, names: Iterable[Name], claim: Claim) -> bool:
        """Whether one of these names lets its owner claim that."""
        return any(one.matches(name, claim) for name in names for one in self.templates)


def _check(text: str, literals: Sequence[str], places: Sequence[str]) -> None:
    unknown = [place for place in places if place not in _PLACES]
    known = ", ".join(f"{{{place}}}" for place in _PLACES)
    if unknown:
        raise _wrong(text, f"{{{unknown[0]}}} is not known", f"use {known}")
    if any(brace in literal for literal in literals for brace in "{}"):
        raise _wrong(text, "a brace without its partner", f"use {known}")
    if not _visible("".join(literals)):
        raise _wrong(text, "only visible ASCII characters can be matched", "leave the others out")
    if not places:
        words = "it binds nothing, so that its holder could claim to be any Envoy"
        raise _wrong(text, words, f"use at least one of {known}")
    if len(places) > 8:
        raise _wrong(text, f"{len(places)} places, at most 8", "use each once")
    if not all(literals[1:-1]):
        words = "two places side by side, which can be filled in more than one way"
        raise _wrong(text, words, "put a separator between them")


def _wrong(text: str, what: str, advice: str) -> ConfigurationError:
    return ConfigurationError(f"identity template {text!r}: {what}; {advice}")


def _visible(text: str) -> bool:
    return all("!" <= character <= "~" for character in text)
