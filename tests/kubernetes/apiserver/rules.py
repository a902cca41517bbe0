"""`x-kubernetes-validations`: rules in CEL, evaluated by Google's own implementation.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
https://kubernetes.io/docs/reference/using-api/cel/

With a definition its rules are checked against the types of the schema; when they run, values are
of any type. Costs are not estimated. Of the libraries of Kubernetes, `isURL`, `quantity`, `isIP`
and `isCIDR` are not there.
"""

from __future__ import annotations

import base64
import datetime
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_optional, ext_strings
from google.protobuf.descriptor_pool import DescriptorPool

from tests.kubernetes.apiserver import fields, rule_types
from tests.kubernetes.apiserver.errors import Cause, Object
from tests.kubernetes.apiserver.schema import EMBEDDED, INT_OR_STRING, PRESERVE, compiled

Value: TypeAlias = Any
Act: TypeAlias = Callable[..., Any]
Schema: TypeAlias = Mapping[str, Any]

_OLD = re.compile(r"\boldSelf\b")
WORD = "x-kubernetes-validations"
# --- the language ---


def _find(text: str, pattern: str) -> str:
    match = compiled(pattern).search(text)
    return match[0] if match else ""


def _find_all(text: str, pattern: str) -> list[str]:
    return [match[0] for match in compiled(pattern).finditer(text)]


def _is_sorted(items: list[Value]) -> bool:
    return all(one <= other for one, other in pairwise(items))


def _method(name: str, parameters: list[cel.Type], returns: cel.Type, act: Act) -> Any:  # noqa: ANN401
    overload = cel.Overload(
        f"{name}_of_{len(parameters)}",
        return_type=returns,
        parameters=parameters,
        is_member=True,
        impl=act,
    )
    return cel.FunctionDecl(name, [overload])


def _made(one: cel.Type, pool: DescriptorPool | None = None) -> cel.Env:
    """An environment in which `self` and `oldSelf` are of a type."""
    t, many = cel.Type, cel.Type.List(cel.Type.DYN)
    return cel.NewEnv(
        descriptor_pool=pool,
        variables={"self": one, "oldSelf": one, "oldSelves": t.List(one)},
        extensions=[
            ext_bindings.ExtBindings(),
            ext_optional.ExtOptional(),
            ext_strings.ExtStrings(),
        ],
        functions=[
            _method("find", [t.STRING, t.STRING], t.STRING, _find),
            _method("findAll", [t.STRING, t.STRING], t.List(t.STRING), _find_all),
            _method("isSorted", [many], t.BOOL, _is_sorted),
            _method("sum", [many], t.DYN, sum),
            _method("min", [many], t.DYN, min),
            _method("max", [many], t.DYN, max),
        ],
    )


@cache
def _environment() -> cel.Env:
    """The one in which rules run."""
    return _made(cel.Type.DYN)


def _written(declared: Mapping[str, Any]) -> str:
    """An optional oldSelf is the first of a list that may be empty."""
    rule = declared.get("rule", "")
    optional = declared.get("optionalOldSelf")
    return f"cel.bind(oldSelf, oldSelves[?0], {rule})" if optional else rule


@lru_cache(maxsize=4096)
def _program(text: str) -> cel.Expression:
    return _environment().compile(text)


def check(root: Schema, path: str) -> Iterator[Cause]:
    """What is wrong with the rules of a definition's schema."""
    if any(True for _ in _places(root, path)):
        types = rule_types.Types(root)
        for where, schema in _places(root, path):
            env = _made(types.of(schema), types.pool)
            for at, declared in enumerate(schema[WORD]):
                yield from _checked(env, declared, f"{where}.{WORD}[{at}]")


def _places(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """The schemas that have rules."""
    if schema.get(WORD):
        yield path, schema
    for word, inner in (schema.get("properties") or {}).items():
        yield from _places(inner, f"{path}.properties[{word}]")
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), Mapping):
            yield from _places(schema[word], f"{path}.{word}")


def _checked(env: cel.Env, declared: Mapping[str, Any], path: str) -> Iterator[Cause]:
    for word, text, kind in (
        ("rule", _written(declared), "bool"),
        ("messageExpression", declared.get("messageExpression"), "string"),
    ):
        if text is None:
            continue
        try:
            returns = env.compile(text).return_type().name().lower()
            wrong = "" if returns in (kind, "dyn") else f"must evaluate to a {kind}"
        except RuntimeError as error:
            wrong = f"compilation failed: {str(error).split(' [')[0].strip()}"
        if wrong:
            yield Cause(f"{path}.{word}", f"Invalid value: {declared.get(word)!r}: {wrong}")


# --- evaluation ---


def broken(one: Object, before: Object | None, schema: Schema) -> Iterator[Cause]:
    """The rules of a custom resource that do not hold."""
    yield from _broken(one, before if before is not None else fields.MISSING, schema, "")


def _broken(value: Value, old: Value, schema: Schema, path: str) -> Iterator[Cause]:
    declared = schema.get(WORD) or ()
    if declared and value is not None:
        shown = escaped(value, schema)
        was = fields.MISSING if old is fields.MISSING else escaped(old, schema)
        for one in declared:
            yield from _one(one, shown, was, path)
    if isinstance(value, dict):
        known, more = schema.get("properties") or {}, schema.get("additionalProperties")
        for key, below in value.items():
            inner = known.get(key, more)
            if isinstance(inner, Mapping):
                was = old.get(key, fields.MISSING) if isinstance(old, dict) else fields.MISSING
                yield from _broken(below, was, inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for at, below in enumerate(value):
            was = _counterpart(below, old, schema)
            yield from _broken(below, was, schema["items"], f"{path}[{at}]")


def _counterpart(item: Value, old: Value, schema: Schema) -> Value:
    """The item's former self: only in lists by keys is there one."""
    if schema.get("x-kubernetes-list-type") != "map" or not isinstance(old, list):
        return fields.MISSING
    word = fields.item_word(item, schema)
    return next((one for one in old if fields.item_word(one, schema) == word), fields.MISSING)


def _one(declared: Mapping[str, Any], value: Value, old: Value, path: str) -> Iterator[Cause]:
    optional = bool(declared.get("optionalOldSelf"))
    transition = _OLD.search(declared["rule"]) is not None
    if transition and old is fields.MISSING and not optional:
        return
    given: dict[str, Value] = {"self": value}
    if optional:
        given["oldSelves"] = [] if old is fields.MISSING else [old]
    elif transition:
        given["oldSelf"] = old
    result = _program(_written(declared)).eval(data=given)
    if result.type().name() == "ERROR":
        rule = declared["rule"]
        words = f"Invalid value: {_kind(value)}: rule: {rule}: evaluation error: {result.value()}"
        yield Cause(path, words)
    elif result.value() is not True:
        yield _refused(declared, value, path)


def _refused(declared: Mapping[str, Any], value: Value, path: str) -> Cause:
    message = declared.get("message") or f"failed rule: {declared['rule']}"
    if declared.get("messageExpression"):
        told = _program(declared["messageExpression"]).eval(data={"self": value})
        if told.type().name() == "STRING" and str(told.value()).strip():
            message = str(told.value())
    field = f"{path}{declared['fieldPath']}" if declared.get("fieldPath") else path
    reason = declared.get("reason") or "FieldValueInvalid"
    head = {
        "FieldValueForbidden": "Forbidden: ",
        "FieldValueRequired": "Required value: ",
        "FieldValueDuplicate": f"Duplicate value: {_kind(value)}: ",
    }.get(reason, f"Invalid value: {_kind(value)}: ")
    return Cause(field.lstrip("."), f"{head}{message}", reason)


def _kind(value: Value) -> str:
    """Objects and lists are not shown whole."""
    if isinstance(value, dict):
        return '"object"'
    if isinstance(value, list):
        return '"array"'
    return f'"{value}"' if isinstance(value, str) else str(value)


def escaped(value: Value, schema: Schema) -> Value:
    """A value as rules see it: field names that are no identifiers are written otherwise; numbers
    of type `number` are doubles.
    """
    if isinstance(value, dict):
        known, more = schema.get("properties") or {}, schema.get("additionalProperties")
        free = schema.get(PRESERVE) and not schema.get(EMBEDDED)
        return {
            (rule_types.identifier(key) if key in known else key): escaped(
                one, known.get(key) or (more if isinstance(more, Mapping) else {})
            )
            for key, one in value.items()
            if key in known or more or not (known and not free) or key in _ALWAYS
        }
    if isinstance(value, list):
        below = schema.get("items") or {}
        return [escaped(one, below) for one in value]
    if isinstance(value, str) and schema.get("format") in _READ:
        return _READ[schema["format"]](value)
    if schema.get("type") == "number" and isinstance(value, int) and not schema.get(INT_OR_STRING):
        return float(value)
    return value


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def _day(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def _duration(text: str) -> datetime.timedelta:
    sign = -1.0 if text.startswith("-") else 1.0
    parts = re.findall(r"([0-9.]+)(ns|us|µs|ms|s|m|h)", text)
    return datetime.timedelta(seconds=sign * sum(float(n) * _UNITS[unit] for n, unit in parts))


_READ: Mapping[str, Callable[[str], Value]] = {
    "byte": base64.b64decode,
    "date": _day,
    "date-time": _moment,
    "duration": _duration,
}
_ALWAYS = frozenset({"apiVersion", "kind", "metadata"})
