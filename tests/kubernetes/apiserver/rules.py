"""`x-kubernetes-validations`: rules in CEL, evaluated by Google's own implementation.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
https://kubernetes.io/docs/reference/using-api/cel/

The rules are parsed and checked with `self` of any type, so a field that the schema does not have
is told when the rule runs and not when the definition is made; costs are not estimated. Of the
libraries of Kubernetes, `isURL`, `quantity`, `isIP` and `isCIDR` are not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_optional, ext_strings

from tests.kubernetes.apiserver import fields
from tests.kubernetes.apiserver.errors import Cause, Object
from tests.kubernetes.apiserver.schema import EMBEDDED, INT_OR_STRING, PRESERVE, compiled

Value: TypeAlias = Any
Schema: TypeAlias = Mapping[str, Any]

WORD = "x-kubernetes-validations"
_RESERVED = frozenset(
    "true false null in as break const continue else for function if import let loop package "  # noqa: SIM905
    "namespace return var void while".split()
)


class BadRule(ValueError):
    """A rule that is no CEL, or whose value is no bool."""


# --- the language ---


def _find(text: str, pattern: str) -> str:
    match = compiled(pattern).search(text)
    return match[0] if match else ""


def _find_all(text: str, pattern: str) -> list[str]:
    return [match[0] for match in compiled(pattern).finditer(text)]


def _is_sorted(items: list[Value]) -> bool:
    return all(one <= other for one, other in pairwise(items))


@cache
def _environment() -> cel.Env:
    t, many = cel.Type, cel.Type.List(cel.Type.DYN)

    def method(name: str, parameters: list[cel.Type], returns: cel.Type, act: Any) -> Any:  # noqa: ANN401
        overload = cel.Overload(
            f"{name}_{len(parameters)}_{parameters[0].name()}",
            return_type=returns,
            parameters=parameters,
            is_member=True,
            impl=act,
        )
        return cel.FunctionDecl(name, [overload])

    return cel.NewEnv(
        variables={"self": t.DYN, "oldSelf": t.DYN, "oldSelves": many},
        extensions=[
            ext_bindings.ExtBindings(),
            ext_optional.ExtOptional(),
            ext_strings.ExtStrings(),
        ],
        functions=[
            method("find", [t.STRING, t.STRING], t.STRING, _find),
            method("findAll", [t.STRING, t.STRING], t.List(t.STRING), _find_all),
            method("isSorted", [many], t.BOOL, _is_sorted),
            method("sum", [many], t.DYN, sum),
            method("min", [many], t.DYN, min),
            method("max", [many], t.DYN, max),
        ],
    )


@lru_cache(maxsize=4096)
def compile_rule(rule: str, optional: bool) -> tuple[cel.Expression, bool]:
    """The program, and whether it speaks of oldSelf."""
    # An optional oldSelf is the first of a list that may be empty.
    written = f"cel.bind(oldSelf, oldSelves[?0], {rule})" if optional else rule
    try:
        program = _environment().compile(written)
    except (RuntimeError, ValueError) as error:
        raise BadRule(str(error).split(" [")[0].strip()) from error
    if program.return_type().name() not in ("bool", "BOOL", "dyn", "DYN"):
        raise BadRule("cel expression must evaluate to a bool")
    return program, re.search(r"\boldSelf\b", rule) is not None


def check(schema: Schema, path: str) -> Iterator[Cause]:
    """What is wrong with the rules of a definition."""
    for at, declared in enumerate(schema.get(WORD) or ()):
        where = f"{path}.{WORD}[{at}].rule"
        try:
            compile_rule(declared.get("rule", ""), bool(declared.get("optionalOldSelf")))
        except BadRule as error:
            yield Cause(where, f"Invalid value: {declared!r}: compilation failed: {error}")
    for word, inner in (schema.get("properties") or {}).items():
        yield from check(inner, f"{path}.properties[{word}]")
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), Mapping):
            yield from check(schema[word], f"{path}.{word}")


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
    program, transition = compile_rule(declared["rule"], optional)
    if transition and old is fields.MISSING and not optional:
        return
    given: dict[str, Value] = {"self": value}
    if optional:
        given["oldSelves"] = [] if old is fields.MISSING else [old]
    elif transition:
        given["oldSelf"] = old
    result = program.eval(data=given)
    if result.type().name() == "ERROR":
        rule = declared["rule"]
        words = f"Invalid value: {_kind(value)}: rule: {rule}: evaluation error: {result.value()}"
        yield Cause(path, words)
    elif result.value() is not True:
        yield _refused(declared, value, path)


def _refused(declared: Mapping[str, Any], value: Value, path: str) -> Cause:
    message = declared.get("message") or f"failed rule: {declared['rule']}"
    if declared.get("messageExpression"):
        program = compile_message(declared["messageExpression"])
        told = program.eval(data={"self": value})
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


@lru_cache(maxsize=512)
def compile_message(expression: str) -> cel.Expression:
    return _environment().compile(expression)


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
            (identifier(key) if key in known else key): escaped(
                one, known.get(key) or (more if isinstance(more, Mapping) else {})
            )
            for key, one in value.items()
            if key in known or more or not (known and not free) or key in _ALWAYS
        }
    if isinstance(value, list):
        below = schema.get("items") or {}
        return [escaped(one, below) for one in value]
    if schema.get("type") == "number" and isinstance(value, int) and not schema.get(INT_OR_STRING):
        return float(value)
    return value


_ALWAYS = frozenset({"apiVersion", "kind", "metadata"})


def identifier(name: str) -> str:
    """https://kubernetes.io/docs/reference/using-api/cel/#escaping"""
    if name in _RESERVED:
        return f"__{name}__"
    name = name.replace("__", "__underscores__")
    for plain, word in ((".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")):
        name = name.replace(plain, word)
    return name
