"""A model's JSON schema to a structural schema of Kubernetes (OpenAPI v3, no references). Pure.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema

- An optional field may be left out; it is not nullable: Kubernetes then prunes a null, as the
  folder takes it for not written.
- A default is written into an object by the API server, and then looks as if somebody had written
  it. So only scalars have one, and none where it matters whether a field was written
  (`WRITTEN_MATTERS`): an object with its defaults means what it meant without.
- Every list, mapping and text is bounded, also where the model does not bound it: the API server
  counts what its rules may cost by these bounds, and refuses a definition that may cost too much.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import models_json_schema

from controlplane.resources.connections import CircuitBreaker, HttpTimeout
from controlplane.resources.crds.rules import MESSAGES, RULES, Rule
from controlplane.resources.health_check import PassiveCheck
from controlplane.resources.meaning import duration, is_duration, models_in, of_models
from controlplane.resources.traffic_policy import OfRequests

Schema = dict[str, Any]

MOST_CHARACTERS = 4096
"""Of a text that the model does not bound."""
MOST_ENTRIES = 64
"""Of a list or a mapping that the model does not bound."""
_DURATION_CHARACTERS = 28  # four parts of five digits and two letters

WRITTEN_MATTERS: Mapping[type[BaseModel], frozenset[str]] = {
    PassiveCheck: frozenset({"max_ejection_percent"}),
    HttpTimeout: frozenset({"request_timeout"}),
    CircuitBreaker: frozenset({"retry_budget"}),
    OfRequests: frozenset(OfRequests.model_fields),
}
"""Fields of which the code asks whether they were written."""

_KEPT = ("type", "enum", "minimum", "maximum", "minLength", "maxLength", "pattern", "required")
_KEPT_OF_MANY = ("minItems", "maxItems", "minProperties", "maxProperties")


def structural(model: type[BaseModel]) -> Schema:
    """The structural schema of a model and all that is within it, with its rules."""
    return _Within(model).of_model(model)


class _Within:
    """Makes the schemas of the models within one."""

    def __init__(self, model: type[BaseModel]) -> None:
        found: dict[type[BaseModel], None] = {}
        _collect(model, found)
        refs, schema = models_json_schema([(one, "validation") for one in found], by_alias=True)
        self._definitions: Mapping[str, Schema] = schema["$defs"]
        self._models = {str(refs[one, "validation"]["$ref"]): one for one in found}
        self._refs = {one: ref for ref, one in self._models.items()}

    def of_model(self, model: type[BaseModel]) -> Schema:
        """An object with the fields of a model."""
        schema = self._definitions[_name(self._refs[model])]
        fields = {info.alias or name: (name, info) for name, info in model.model_fields.items()}
        properties = {
            alias: self._of_field(model, *fields[alias], schema["properties"][alias])
            for alias in fields
        }
        made: Schema = {"type": "object", "properties": properties}
        if required := schema.get("required"):
            made["required"] = list(required)
        return _ruled(made, [rule for one in model.__mro__ for rule in RULES.get(one, ())])

    def _of_field(
        self, model: type[BaseModel], name: str, info: FieldInfo, schema: Schema
    ) -> Schema:
        made = self.of(schema)
        meaning = info.description or of_models(info)
        made = {**({"description": meaning} if meaning else {}), **made}
        default = schema.get("default")
        unwritten = any(name in WRITTEN_MATTERS.get(one, ()) for one in model.__mro__)
        if isinstance(default, (str, int, float)) and default != "" and not unwritten:
            made["default"] = duration(float(default)) if is_duration(info) else default
        if is_duration(info):
            made = _ruled(made, _duration_rules(info))
        return made

    def of(self, schema: Schema) -> Schema:
        """One schema, with what it refers to put in its place."""
        if (ref := schema.get("$ref")) in self._models:
            return self.of_model(self._models[ref])
        if ref is not None:
            schema = self._definitions[_name(ref)]  # any value at all: JSON
        if "anyOf" in schema:
            return self._of_any(schema)
        if schema.get("x-kubernetes-int-or-string"):
            return {
                "x-kubernetes-int-or-string": True,
                "anyOf": [{"type": "integer"}, {"type": "string"}],
                "maxLength": _DURATION_CHARACTERS,
                "pattern": schema["pattern"],
            }
        if "const" in schema:
            return {"type": schema["type"], "enum": [schema["const"]]}
        if schema.get("type") == "array":
            return self._of_list(schema)
        if schema.get("type") == "object":
            return self._of_mapping(schema)
        if "type" not in schema:
            return {"x-kubernetes-preserve-unknown-fields": True}
        return _of_scalar(schema)

    def _of_any(self, schema: Schema) -> Schema:
        several = [one for one in schema["anyOf"] if one.get("type") != "null"]
        if len(several) == 1:
            return self.of(several[0])
        # Values of several types: a structural schema has no word for them but one for all.
        return {"x-kubernetes-preserve-unknown-fields": True}

    def _of_list(self, schema: Schema) -> Schema:
        most = {"maxItems": schema.get("maxItems", MOST_ENTRIES)}
        least = {"minItems": schema["minItems"]} if "minItems" in schema else {}
        return {"type": "array", **least, **most, "items": self.of(schema["items"])}

    def _of_mapping(self, schema: Schema) -> Schema:
        patterns = schema.get("patternProperties", {})
        values = next(iter(patterns.values()), schema.get("additionalProperties", {}))
        bounds = {one: schema[one] for one in _KEPT_OF_MANY if one in schema}
        bounds.setdefault("maxProperties", MOST_ENTRIES)
        of_values = self.of(values)
        if "x-kubernetes-preserve-unknown-fields" in of_values:
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        made = {"type": "object", **bounds, "additionalProperties": of_values}
        return _ruled(made, _key_rules(next(iter(patterns), ""), schema.get("propertyNames", {})))


def _collect(model: type[BaseModel], found: dict[type[BaseModel], None]) -> None:
    if model in found:
        return
    found[model] = None
    for info in model.model_fields.values():
        for inner in _models_within(info.annotation):
            _collect(inner, found)


def _models_within(annotation: object) -> list[type[BaseModel]]:
    """The models within, those of mappings' values too."""
    direct = models_in(annotation)
    arguments = getattr(annotation, "__args__", ())
    return direct or [one for inner in arguments for one in _models_within(inner)]


def _of_scalar(schema: Schema) -> Schema:
    made = {word: schema[word] for word in _KEPT if word in schema}
    if "exclusiveMinimum" in schema:  # a number in JSON Schema, a flag in OpenAPI v3
        made |= {"minimum": schema["exclusiveMinimum"], "exclusiveMinimum": True}
    if "exclusiveMaximum" in schema:
        made |= {"maximum": schema["exclusiveMaximum"], "exclusiveMaximum": True}
    if made["type"] == "string" and "enum" not in made:
        of_duration = "(h|m|s|ms)" in made.get("pattern", "")
        made.setdefault("maxLength", _DURATION_CHARACTERS if of_duration else MOST_CHARACTERS)
    if made["type"] == "integer":
        made["format"] = "int64"
    return made


def _ruled(schema: Schema, rules: list[Rule]) -> Schema:
    if not rules:
        return schema
    written = [{"rule": one.cel, "message": one.message} for one in rules]
    return {**schema, "x-kubernetes-validations": written}


def _duration_rules(info: FieldInfo) -> list[Rule]:
    rules = []
    for one in info.metadata:
        if (least := getattr(one, "ge", None)) is not None:
            text = duration(float(least))
            rules.append(Rule(f"duration(self) >= duration('{text}')", f"at least {text}"))
        if (most := getattr(one, "le", None)) is not None:
            text = duration(float(most))
            rules.append(Rule(f"duration(self) <= duration('{text}')", f"at most {text}"))
    return rules


def _key_rules(pattern: str, of_names: Schema) -> list[Rule]:
    rules = []
    if pattern:
        message = MESSAGES.get(pattern, f"names are of the form {pattern}")
        escaped = pattern.replace("\\", "\\\\")
        rules.append(Rule(f"self.all(name, name.matches('{escaped}'))", message))
    if (most := of_names.get("maxLength")) is not None:
        rules.append(Rule(f"self.all(name, size(name) <= {most})", f"names: at most {most} long"))
    if (least := of_names.get("minLength")) is not None:
        rules.append(Rule(f"self.all(name, size(name) >= {least})", "no name is empty"))
    return rules


def _name(ref: str) -> str:
    return ref.rpartition("/")[2]
