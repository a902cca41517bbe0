"""The reference of all kinds, from the models: `python -m controlplane.resources.reference`."""

from __future__ import annotations

import typing
from collections.abc import Collection, Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from controlplane.resources.declared import KINDS
from controlplane.resources.kinds import Document, Metadata, versions_of
from controlplane.resources.meaning import (
    duration,
    first_line,
    is_duration,
    models_in,
    of_models,
    type_of,
)

_HEAD = """\
# Resources

What Weir reads from the `*.yaml` and `*.yml` of its folder: several documents a file, dot-files
left out, nothing read from folders within. Durations are those of the Gateway API: whole numbers
with `h`, `m`, `s`, `ms`, as in `1m30s`. A field that is not here is refused, with its line and
advice; the last valid version of the object stays in force, and all other documents load. `status`
is not looked at. YAML anchors may be used; merge keys (`<<`) may not.

Bounds: 8 MiB and 5,000 documents a file, 10,000 files, 10,000 endpoints a Backend. This page is
made from the models by `python -m controlplane.resources.reference`; a test compares it.
"""


def reference() -> str:
    """The whole page."""
    parts = [_HEAD, "## metadata\n\nThe same in every kind.\n", _table(Metadata)]
    for kind, model in KINDS.items():
        version = versions_of(model)[0]
        parts.append(f"## {kind}\n\n`apiVersion: {version}`, `kind: {kind}`. {model.about}\n")
        spec = model.model_fields.get("spec")
        if spec is None:
            parts.append(_table(model, but=tuple(Document.model_fields)))
            continue
        for path, part in _parts(models_in(spec.annotation)[0], "spec", []):
            parts.append(f"### {kind} {path}\n\n{first_line(part)}\n\n{_table(part)}")
    return "\n".join(parts)


def _parts(
    model: type[BaseModel], path: str, seen: list[type[BaseModel]]
) -> Iterator[tuple[str, type[BaseModel]]]:
    """The model and those within it, each once, with the path it is first met at."""
    if model in seen:
        return
    seen.append(model)
    yield path, model
    for name, info in model.model_fields.items():
        many = "[]" if typing.get_origin(info.annotation) is tuple else ""
        for inner in models_in(info.annotation):
            yield from _parts(inner, f"{path}.{info.alias or name}{many}", seen)


def _table(model: type[BaseModel], but: Collection[str] = ()) -> str:
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for name, info in model.model_fields.items():
        if name in but:
            continue
        meaning = (info.description or of_models(info)).replace("|", "\\|").replace("\n", " ")
        kind = type_of(model, name, info)
        rows.append(f"| `{info.alias or name}` | {kind} | {_default(info)} | {meaning} |")
    return "\n".join(rows) + "\n"


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.default if info.default is not PydanticUndefined else None
    if value is None or value == () or isinstance(value, BaseModel):
        return ""
    if isinstance(value, tuple):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float) and is_duration(info):
        return f"`{duration(value)}`"
    return f"`{value:g}`" if isinstance(value, float) else (f"`{value}`" if value != "" else "")


if __name__ == "__main__":
    import sys

    sys.stdout.write(reference())
