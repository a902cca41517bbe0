"""One document to one object, or to what is wrong with it, in words for the person who wrote it."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from controlplane.resources.balancing import BalancingPolicy
from controlplane.resources.certificates import fault_of
from controlplane.resources.declared import KINDS, ObjectKey
from controlplane.resources.kinds import Document, is_name, is_namespace, versions_of
from controlplane.resources.meaning import expected
from controlplane.resources.problems import did_you_mean
from controlplane.resources.read import Path, Tree, UnreadableError, parse, readable_part
from controlplane.resources.secret import ConfigMap, Secret
from controlplane.resources.target import Target
from controlplane.resources.unkept import keeps_out, targets_of

_HIDDEN = "what is not shown of a Secret"
MAX_FAULTS = 20
"""Reported of one document."""

_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping of names to values",
    "model_type": "a mapping of names to values",
    "model_attributes_type": "a mapping of names to values",
    "tuple_type": "a list (lines that begin with '- ')",
    "list_type": "a list (lines that begin with '- ')",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A problem within one document; the line is counted in the document, from 0."""

    line: int
    field: str
    message: str
    advice: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What became of one document."""

    key: ObjectKey | None
    """None where its kind and name could not even be read."""
    document: Document | None
    """None where it is refused."""
    faults: tuple[Fault, ...] = ()
    line: int = 0
    """Where the document's first word stands."""
    lines: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Where its references stand, by field: they are checked when every document is known."""
    unkept: tuple[ObjectKey, frozenset[Target]] | None = None
    """Where it is refused and may be what keeps strangers out: what it is called, and is for."""


def check(text: str, policies: Collection[str] | None) -> Outcome | None:
    """Read one document. `policies` are the policies there are; None: not known, so not checked."""
    outcome = _check(text, policies)
    if outcome is None or outcome.document is not None:
        return outcome
    return dataclasses.replace(outcome, unkept=_unkept(text))


def _check(text: str, policies: Collection[str] | None) -> Outcome | None:
    try:
        tree = parse(text)
    except UnreadableError as error:
        return Outcome(None, None, (Fault(error.line, error.field, error.message, error.advice),))
    if tree is None or tree.value is None:
        return None
    line = tree.line
    if not isinstance(tree.value, dict):
        message = "a document is a mapping with apiVersion, kind, metadata and spec"
        fault = Fault(
            line, "", message, "write 'apiVersion: ...', 'kind: ...' and so on, line by line"
        )
        return Outcome(None, None, (fault,), line)
    key = _key(tree.value)
    refusal = _kind_fault(tree)
    if refusal is not None:
        return Outcome(key, None, (refusal,), line)
    model = KINDS[tree.value["kind"]]
    if "status" not in model.model_fields:
        tree.value.pop("status", None)  # written by controllers, not by people
    try:
        document = model.model_validate(tree.value)
    except ValidationError as error:
        details = _telling(error.errors(include_url=False, include_context=False))
        return Outcome(key, None, tuple(_fault(model, tree, one) for one in details), line)
    faults = (*_unknown_policies(document, tree, policies), *_certificates(document, tree))
    key = ObjectKey(document.kind, document.key)
    lines = {"metadata.name": tree.line_of(("metadata", "name"))}
    lines |= _references(tree, tree.value.get("spec"), ("spec",))
    return Outcome(key, None if faults else document, faults, line, lines)


def _unkept(text: str) -> tuple[ObjectKey, frozenset[Target]] | None:
    value = readable_part(text) if "Policy" in text else None
    if not isinstance(value, dict):
        return None
    kind = next(iter(difflib.get_close_matches(str(value.get("kind")), KINDS, 1, 0.8)), "")
    if not keeps_out(kind, value):
        return None
    called = _key({**value, "kind": kind}) or ObjectKey(kind, "")
    return called, targets_of(kind, value)


def _references(tree: Tree, value: object, path: Path) -> Iterator[tuple[str, int]]:
    """The lines of mappings and of the entries of lists: what refers to other objects is among
    them."""
    if isinstance(value, dict):
        for name, below in value.items():
            here: Path = (*path, name)
            if isinstance(below, list):
                for at, one in enumerate(below):
                    yield _written((*here, at)), tree.line_of((*here, at))
                    yield from _references(tree, one, (*here, at))
            elif isinstance(below, dict):
                yield _written(here), tree.line_of(here)
                yield from _references(tree, below, here)


def _key(value: dict[str, Any]) -> ObjectKey | None:
    kind, metadata = value.get("kind"), value.get("metadata")
    if not isinstance(kind, str) or kind not in KINDS or not isinstance(metadata, dict):
        return None
    name, namespace = metadata.get("name"), metadata.get("namespace", "default")
    if not is_name(name) or not is_namespace(namespace):
        return None
    return ObjectKey(kind, f"{namespace}/{name}")


def _kind_fault(tree: Tree) -> Fault | None:
    kind, api = tree.value.get("kind"), tree.value.get("apiVersion")
    if not isinstance(kind, str):
        return Fault(tree.line_of(("kind",)), "kind", "is missing", did_you_mean("", KINDS))
    if kind not in KINDS:
        return Fault(
            tree.line_of(("kind",)), "kind", f'"{kind}" is not served', did_you_mean(kind, KINDS)
        )
    versions = versions_of(KINDS[kind])
    if api not in versions:
        message = "is missing" if api is None else f'"{api}" has no {kind}'
        advice = f"write apiVersion: {versions[0]}"
        return Fault(tree.line_of(("apiVersion",)), "apiVersion", message, advice)
    return None


def _telling(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without "too short" of a list whose entries were refused: it says nothing more."""
    paths = {one["loc"][:at] for one in details for at in range(1, len(one["loc"]))}
    return [one for one in details if one["type"] != "too_short" or one["loc"] not in paths][
        :MAX_FAULTS
    ]


def _fault(model: type[Document], tree: Tree, detail: ErrorDetails) -> Fault:
    """What is wrong, and what to do: the nearest word, or else what the field is to hold."""
    fault, path = _told(model, tree, detail), tuple(detail["loc"])
    return fault if fault.advice else dataclasses.replace(fault, advice=expected(model, path))


def _told(model: type[Document], tree: Tree, detail: ErrorDetails) -> Fault:
    path: Path = tuple(detail["loc"])
    kind, given = detail["type"], detail["input"]
    if model is Secret and path[:1] in (("data",), ("stringData",)):
        given = _HIDDEN
    if path[-1:] == ("[key]",):
        path = path[:-1]
    field = _written(path)
    unknown = kind == "extra_forbidden"
    line = tree.line_of(path, of_key=unknown)
    if unknown:
        fields = _fields_at(model, path[:-1])
        advice = did_you_mean(str(path[-1]), fields) if fields else "take it away"
        return Fault(line, field, "there is no such field", advice)
    if kind == "missing":
        return Fault(line, field, "is missing")
    if kind == "literal_error":
        words = _words_at(model, path)
        quoted = str(given) in words  # a number that was written as text
        advice = "take the quotes away" if quoted else did_you_mean(str(given), words)
        return Fault(line, field, f'"{given}" is not taken', advice)
    if kind in _WANTED:
        return Fault(
            line, field, f"want {_WANTED[kind]}, got {_shown(given)}", _quotes(kind, given)
        )
    if kind == "too_short":
        return Fault(line, field, "want at least one entry")
    message = detail["msg"].removeprefix("Value error, ")
    if kind != "value_error":
        return Fault(line, field, f"{message[0].lower()}{message[1:]}, got {_shown(given)}")
    message, _, advice = message.partition("; ")
    return Fault(line, field, message, advice)


def _quotes(kind: str, given: object) -> str:
    if kind == "string_type" and isinstance(given, (int, float, bool)):
        return "put it in quotes"
    if kind in ("int_type", "float_type", "bool_type") and isinstance(given, str):
        return "take the quotes away, if there are any"
    return ""


def _shown(given: object) -> str:
    if isinstance(given, dict):
        return "a mapping"
    if isinstance(given, (list, tuple)):
        return f"a list of {len(given)}"
    text = ("true" if given else "false") if isinstance(given, bool) else str(given)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return f'"{text}"' if isinstance(given, str) else text


def _written(path: Path) -> str:
    out = ""
    for step in path:
        if isinstance(step, int):
            out += f"[{step}]"
        elif "/" in step or "." in step:
            out += f'["{step}"]'
        else:
            out += f".{step}" if out else step
    return out


def _unknown_policies(
    document: Document, tree: Tree, policies: Collection[str] | None
) -> Iterator[Fault]:
    if not isinstance(document, BalancingPolicy) or policies is None:
        return
    for field, name in (("policy", document.spec.policy), ("fallback", document.spec.fallback)):
        if name not in policies:
            line = tree.line_of(("spec", field))
            message = f'there is no policy "{name}"'
            yield Fault(line, f"spec.{field}", message, did_you_mean(name, policies))


def _certificates(document: Document, tree: Tree) -> Iterator[Fault]:
    """What Envoy could not use is refused with its document, so that the last good one stays."""
    if isinstance(document, (Secret, ConfigMap)) and (fault := fault_of(document)):
        field = "stringData" if "stringData" in tree.value else "data"
        yield Fault(
            tree.line_of((field,)), field, fault, "put PEM there, a key with its certificate"
        )


def _annotation_at(model: type[BaseModel], path: Path) -> object:
    """The type of the field at `path`."""
    annotation: object = model
    for step in path:
        inner = _model_in(annotation)
        if isinstance(step, str) and inner is not None:
            for name, info in inner.model_fields.items():
                if (info.alias or name) == step:
                    annotation = info.annotation
                    break
            else:
                return None
    return annotation


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model within `Model`, `Model | None`, `tuple[Model, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (tuple, list, dict, typing.Union, types.UnionType):
        for one in typing.get_args(annotation):
            found = _model_in(one)
            if found is not None:
                return found
    return None


def _fields_at(model: type[BaseModel], path: Path) -> list[str]:
    inner = _model_in(_annotation_at(model, path))
    return [info.alias or name for name, info in inner.model_fields.items()] if inner else []


def _words_at(model: type[BaseModel], path: Path) -> list[str]:
    """The words that the `Literal` at `path` takes."""
    waiting, words = [_annotation_at(model, path)], []
    while waiting:
        one = waiting.pop()
        if typing.get_origin(one) is typing.Literal:
            words += [str(word) for word in typing.get_args(one)]
        else:
            waiting += typing.get_args(one)
    return words
