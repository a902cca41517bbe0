"""What a document names: every reference within it, whatever field it stands in. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from controlplane.resources.declared import ObjectKey
from controlplane.resources.kinds import Document


def mentions(document: Document) -> Iterator[tuple[BaseModel, ObjectKey]]:
    """Each part that has a `kind` and a `name`, and the object that it means: where it gives no
    namespace, one in that of the document."""
    for value in document.__dict__.values():
        yield from _within(value, document.metadata.namespace)


def _within(value: object, namespace: str) -> Iterator[tuple[BaseModel, ObjectKey]]:
    if isinstance(value, BaseModel):
        kind, name = getattr(value, "kind", None), getattr(value, "name", None)
        if isinstance(kind, str) and isinstance(name, str):
            where = getattr(value, "namespace", None) or namespace
            yield value, ObjectKey(kind, f"{where}/{name}")
        for one in value.__dict__.values():
            yield from _within(one, namespace)
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _within(one, namespace)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _within(one, namespace)
