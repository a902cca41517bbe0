"""Documents with one thing wrong, made from valid ones: what is wrong is known, and where it is.

Lines are found by a reader of YAML of its own, not by the one that is tested.
"""

from __future__ import annotations

import copy
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from controlplane.resources.declared import KINDS
from controlplane.resources.kinds import Metadata
from controlplane.resources.meaning import models_in
from controlplane.resources.secret import ConfigMap, Secret

EXAMPLES = Path(__file__).parents[3] / "examples"
SEED = 4
MOST = 4
"""Of one kind and with the same wrong."""

OTHERS = """\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller, parametersRef: {group: a, kind: B, name: c}}
---
apiVersion: gateway.networking.k8s.io/v1alpha3
kind: TLSRoute
metadata: {name: passed}
spec:
  parentRefs: [{name: edge, port: 443}]
  hostnames: [a.test]
  rules: [{backendRefs: [{name: web, weight: 3}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: ours}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: team}]
  to: [{group: weir.dev, kind: Backend}]
---
apiVersion: v1
kind: Namespace
metadata: {name: team, labels: {tier: gold}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: secure}
spec:
  targetRefs: [{group: weir.dev, kind: Backend, name: web}]
  validation:
    hostname: web.test
    caCertificateRefs: [{group: '', kind: ConfigMap, name: ours}]
    subjectAltNames: [{type: Hostname, hostname: web.test}]
---
apiVersion: weir.dev/v1alpha1
kind: EnvoyPatch
metadata: {name: mine}
spec:
  targetRef: {name: edge}
  jsonPatches:
    - type: type.googleapis.com/envoy.config.listener.v3.Listener
      name: default/edge/http-80
      operation: {op: add, path: /x, value: 1}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: words}
data: {one: "1", two: "2"}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
type: Opaque
stringData: {ann: key-of-ann}
---
apiVersion: v1
kind: Service
metadata: {name: carts}
spec:
  ipFamilies: [IPv4]
  ports: [{name: http, port: 80, protocol: TCP, appProtocol: kubernetes.io/h2c}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: carts-1, labels: {kubernetes.io/service-name: carts}}
addressType: IPv4
endpoints:
  - addresses: [10.0.0.1]
    conditions: {ready: true, serving: true, terminating: false}
    nodeName: one
    zone: a
ports: [{name: http, port: 8080, protocol: TCP}]
---
apiVersion: v1
kind: Node
metadata: {name: one, labels: {weir.dev/capacity: "2"}}
spec: {podCIDR: 10.0.0.0/24}
"""
"""Valid documents of the kinds that few examples have."""

_NUMBERS = ("integer", "number", "null")
Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Site:
    """Valid documents that hang together, each in a file of its own."""

    name: str
    documents: Mapping[str, Any]
    """By file."""


@dataclass(frozen=True)
class Broken:
    """A file with one thing wrong in it."""

    site: str
    file: str
    what: str
    text: str | bytes
    line: int
    """From 1."""
    field: str
    words: str = ""
    """Of the message, or of the advice."""

    @property
    def content(self) -> bytes:
        """Of the file."""
        return self.text.encode() if isinstance(self.text, str) else self.text

    def __str__(self) -> str:
        return f"{self.site}/{self.file}:{self.line}: {self.field}: {self.what}"


def sites() -> list[Site]:
    """All of the examples, and what they lack."""
    found = []
    for folder in sorted(one for one in EXAMPLES.iterdir() if one.is_dir()):
        texts = [file.read_text() for file in sorted(folder.glob("*.yaml"))]
        documents = [one for text in texts for one in yaml.safe_load_all(text) if one]
        if all(one.get("kind") in KINDS for one in documents):  # not a bootstrap of Envoy
            found.append(_site(folder.name, documents))
    return [*found, _site("others", list(yaml.safe_load_all(OTHERS)))]


def _site(name: str, documents: Sequence[Any]) -> Site:
    numbered = enumerate(documents)
    files = {f"{at:02}-{one['kind'].lower()}.yaml": one for at, one in numbered}
    return Site(name, files)


def broken(found: Sequence[Site]) -> list[Broken]:
    """Some of each kind of object for each thing that can be wrong, drawn with a seed."""
    by_what: dict[tuple[str, str], list[Broken]] = defaultdict(list)
    for site in found:
        for file, document in site.documents.items():
            for what, path, changed in _changes(document):
                by_what[document["kind"], what].append(_written(site, file, what, path, changed))
    draw = random.Random(SEED)
    return [
        each
        for place in sorted(by_what)
        for each in draw.sample(by_what[place], min(MOST, len(by_what[place])))
    ]


def written(document: object) -> str:
    """As YAML, in the order in which it is."""
    return yaml.safe_dump(document, sort_keys=False)


def _written(site: Site, file: str, what: str, path: Path_, changed: object) -> Broken:
    text = written(changed)
    line = _line(text, path, of_key=what == "misspelt field")
    return Broken(site.name, file, what, text, line, _named(path))


def _changes(document: Any) -> Iterator[tuple[str, Path_, Any]]:  # noqa: ANN401 (YAML)
    """What is wrong, where that is, and the document with it."""
    for path, owner, info, value in _fields(KINDS[document["kind"]], document, ()):
        for what, at, put in _wrongs(path, owner, info, value):
            changed = copy.deepcopy(document)
            parent = changed
            for step in path[:-1]:
                parent = parent[step]
            if what == "misspelt field":
                parent[at[-1]] = parent.pop(path[-1])
            elif what == "missing field":
                del parent[path[-1]]
            else:
                parent[path[-1]] = put
            yield what, at, changed


def _wrongs(
    path: Path_, owner: type[BaseModel], info: FieldInfo, value: object
) -> Iterator[tuple[str, Path_, object]]:
    if path[0] in ("apiVersion", "kind"):
        return
    ignored = owner.model_config.get("extra") == "ignore"
    if (
        not ignored
        and not issubclass(owner, (Metadata, Secret, ConfigMap))
        and path != ("metadata",)
    ):
        yield "misspelt field", (*path[:-1], f"{path[-1]}x"), None
    if info.is_required():
        yield "missing field", path, None
    if _takes_anything(owner, info):
        return
    yield "wrong type", path, "text" if isinstance(value, (dict, list)) else {"a": {"b": [1]}}
    if isinstance(value, str) and _words(info.annotation):
        yield "misspelt word", path, f"{value}x"
    if isinstance(value, int) and not isinstance(value, bool):
        if _bounds(owner, info):
            yield "out of range", path, -(10**12)
        if all(one.get("type") in _NUMBERS for one in _schemas(owner, info)):
            yield "text for a number", path, f"'{value}'"
    if path == ("metadata", "name"):
        yield "no name", path, "No Name!"


def _fields(
    model: type[BaseModel],
    value: Any,  # noqa: ANN401 (YAML)
    path: Path_,
) -> Iterator[tuple[Path_, type[BaseModel], FieldInfo, Any]]:
    """Every field that is written, with the model that has it."""
    for name, info in model.model_fields.items():
        key = info.alias or name
        if key not in value or value[key] is None:
            continue
        here, inner = value[key], (*path, key)
        yield inner, model, info, here
        for one in models_in(info.annotation):
            for at, part in _parts(here):
                yield from _fields(one, part, (*inner, *at))


def _parts(value: object) -> Iterator[tuple[Path_, dict[str, Any]]]:
    if isinstance(value, dict):
        yield (), value
    elif isinstance(value, list):
        yield from (((at,), one) for at, one in enumerate(value) if isinstance(one, dict))


def _schemas(owner: type[BaseModel], info: FieldInfo) -> list[dict[str, Any]]:
    schema = owner.model_json_schema(by_alias=True)["properties"][info.alias or ""]
    return list(schema.get("anyOf", [schema]))


def _takes_anything(owner: type[BaseModel], info: FieldInfo) -> bool:
    refs = {one.get("$ref", "") for one in _schemas(owner, info)}
    return "#/$defs/JsonValue" in refs


def _words(annotation: object) -> bool:
    if get_origin(annotation) is Literal:
        return True
    return any(_words(one) for one in get_args(annotation))


def _bounds(owner: type[BaseModel], info: FieldInfo) -> bool:
    return any({"minimum", "exclusiveMinimum"} & one.keys() for one in _schemas(owner, info))


def _line(text: str, path: Path_, *, of_key: bool) -> int:
    """Where the value at a path stands; where it is missing, what it is missing in."""
    node = key = yaml.compose(text, Loader=yaml.SafeLoader)
    assert node is not None
    assert key is not None
    for step in path:
        if isinstance(node, yaml.SequenceNode):
            node = key = node.value[int(step)]
            continue
        pairs = {pair[0].value: pair for pair in node.value}
        if step not in pairs:
            return int(key.start_mark.line) + 1
        key, node = pairs[step]
    return int((key if of_key else node).start_mark.line) + 1


def _named(path: Path_) -> str:
    out = ""
    for step in path:
        out += f"[{step}]" if isinstance(step, int) else f".{step}" if out else step
    return out
