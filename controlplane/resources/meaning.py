"""What a field is to hold, in words: for the reference, and for who wrote something else."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Sequence

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from controlplane.resources.kinds import Document, kind_of

_ITEMS = {"integer": "whole number"}


def expected(model: type[Document], path: Sequence[str | int]) -> str:
    """Type and meaning of the field at a path of a document: where to read of it, if it has fields
    of its own. Empty where there is no such field."""
    within: list[type[BaseModel]] = [model]
    words = place = ""
    for step in path:
        if isinstance(step, int):
            place += "[]"
            continue
        found = _field(within, step)
        if found is None:
            break
        owner, name, info = found
        place += f".{step}" if place else step
        meaning = (info.description or of_models(info)).rstrip(".")
        words = f"{step}: {type_of(owner, name, info)}" + (f". {meaning}" if meaning else "")
        within = models_in(info.annotation)
    if within and path and place.startswith("spec"):
        return f"see {kind_of(model)} {place} in docs/reference/resources.md"
    return words


def _field(
    within: Sequence[type[BaseModel]], step: str
) -> tuple[type[BaseModel], str, FieldInfo] | None:
    fields = ((one, *field) for one in within for field in one.model_fields.items())
    return next((each for each in fields if (each[2].alias or each[1]) == step), None)


def of_models(info: FieldInfo) -> str:
    """What the model says that a field holds."""
    models = models_in(info.annotation)
    return first_line(models[0]) if models else ""


def first_line(model: type[BaseModel]) -> str:
    """The first line of its docstring."""
    return (model.__doc__ or "").strip().splitlines()[0]


def type_of(model: type[BaseModel], name: str, info: FieldInfo) -> str:
    """The words that it takes, or what kind of value, within which bounds."""
    schema = _schema(model)[info.alias or name]
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


@functools.lru_cache(1024)
def _schema(model: type[BaseModel]) -> dict[str, typing.Any]:
    return dict(model.model_json_schema(by_alias=True)["properties"])


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
    return f", {duration(float(least))} to {duration(float(most))}"


def is_duration(info: FieldInfo) -> bool:
    """Whether it is written as a duration."""
    return any("(h|m|s|ms)" in str(getattr(one, "json_schema", "")) for one in info.metadata)


def duration(seconds: float) -> str:
    """As one would write it.

    >>> duration(90.0), duration(0.1)
    ('1m30s', '100ms')
    """
    if seconds < 1 and seconds > 0:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{n}{unit}" for n, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if n]
    return "".join(parts) or "0s"


def models_in(annotation: object) -> list[type[BaseModel]]:
    """The models within `Model`, `Model | None`, `tuple[Model, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (tuple, typing.Union, types.UnionType):
        return [one for inner in typing.get_args(annotation) for one in models_in(inner)]
    return []
