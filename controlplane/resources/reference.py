"""The reference of all kinds, from the models: `python -m controlplane.resources.reference`."""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from controlplane.resources.declared import KINDS
from controlplane.resources.kinds import Document, Metadata, versions_of

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


_ITEMS = {"integer": "whole number"}


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
        for path, part in _parts(_models_in(spec.annotation)[0], "spec", []):
            parts.append(f"### {kind} {path}\n\n{_first_line(part)}\n\n{_table(part)}")
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
        for inner in _models_in(info.annotation):
            yield from _parts(inner, f"{path}.{info.alias or name}{many}", seen)


def _table(model: type[BaseModel], but: Collection[str] = ()) -> str:
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for name, info in model.model_fields.items():
        if name in but:
            continue
        meaning = (info.description or _meaning(info)).replace("|", "\\|").replace("\n", " ")
        kind = _type(model, name, info)
        rows.append(f"| `{info.alias or name}` | {kind} | {_default(info)} | {meaning} |")
    return "\n".join(rows) + "\n"


def _meaning(info: FieldInfo) -> str:
    models = _models_in(info.annotation)
    return _first_line(models[0]) if models else ""


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _type(model: type[BaseModel], name: str, info: FieldInfo) -> str:
    schema = model.model_json_schema(by_alias=True)["properties"][info.alias or name]
    options = schema.get("anyOf", [schema])
    schema = next(one for one in options if one.get("type") != "null")
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{one}`" for one in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "object")
    if kind == "array":
        items = schema["items"]
        inner = "object" if "$ref" in items else _ITEMS.get(items.get("type"), "text")
        return f"list of {inner}{_bounds(schema, 'minItems', 'maxItems')}"
    if "pattern" in schema and "(h|m|s|ms)" in schema["pattern"]:
        return "duration" + _duration_bounds(info)
    words = {"integer": "whole number", "number": "number", "string": "text"}
    words["boolean"] = "true or false"
    return f"{words.get(kind, 'mapping')}{_bounds(schema, 'minimum', 'maximum')}"


def _bounds(schema: dict[str, typing.Any], low: str, high: str) -> str:
    over = schema.get("exclusiveMinimum")
    least, most = schema.get(low), schema.get(high)
    if over is not None:
        return f", above {over:g}" + (f", up to {most:g}" if most is not None else "")
    if least is not None and most is not None:
        return f", {least:g} to {most:,g}" if most < 1e6 else f", {least:g} to {most:,.0f}"
    if most is not None:
        return f", at most {most:,.0f}"
    return ""


def _duration_bounds(info: FieldInfo) -> str:
    least = next((one.ge for one in info.metadata if getattr(one, "ge", None) is not None), None)
    most = next((one.le for one in info.metadata if getattr(one, "le", None) is not None), None)
    if least is None or most is None:
        return ""
    return f", {_duration(float(least))} to {_duration(float(most))}"


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
    if isinstance(value, float) and _is_duration(info):
        return f"`{_duration(value)}`"
    return f"`{value:g}`" if isinstance(value, float) else (f"`{value}`" if value != "" else "")


def _is_duration(info: FieldInfo) -> bool:
    return any("(h|m|s|ms)" in str(getattr(one, "json_schema", "")) for one in info.metadata)


def _duration(seconds: float) -> str:
    """As one would write it.

    >>> _duration(90.0), _duration(0.1)
    ('1m30s', '100ms')
    """
    if seconds < 1 and seconds > 0:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{n}{unit}" for n, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if n]
    return "".join(parts) or "0s"


def _models_in(annotation: object) -> list[type[BaseModel]]:
    """The models within `Model`, `Model | None`, `tuple[Model, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (tuple, typing.Union, types.UnionType):
        return [one for inner in typing.get_args(annotation) for one in _models_in(inner)]
    return []


if __name__ == "__main__":
    import sys

    sys.stdout.write(reference())
