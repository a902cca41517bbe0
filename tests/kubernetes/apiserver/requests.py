"""What a request asks for, told from its method and its path. Pure.

https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.kubernetes.apiserver.errors import bad_request, method_not_allowed, no_such_path

_COLLECTION = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
_SINGLE = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_NAMESPACE_PARTS = ("status", "finalize")


@dataclass(frozen=True)
class Request:
    """One call of the API, parsed."""

    verb: str
    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    part: str = ""
    """A subresource, such as `status`."""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    user: str = ""
    groups: tuple[str, ...] = ()

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "application/json").partition(";")[0].strip()

    @property
    def dry_run(self) -> bool:
        given = self.query.get("dryRun")
        if given not in (None, "", "All"):
            raise bad_request(f"invalid dryRun: {given!r}")
        return given == "All"

    @property
    def manager(self) -> str:
        """Who owns what is written: `fieldManager`, or the program's name."""
        given = self.query.get("fieldManager", "")
        return given or self.headers.get("user-agent", "unknown").partition("/")[0][:128]

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in ("true", "1", "t")

    def whole(self, name: str, default: int = 0) -> int:
        text = self.query.get(name, "")
        if not text:
            return default
        if not text.isdigit():
            raise bad_request(f"{name}: {text!r} is not a whole number of at least 0")
        return int(text)


def parse(
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes = b"",
) -> Request:
    """A path of a resource, or 404."""
    parts = [part for part in path.split("/") if part]
    match parts:
        case ["api", version, *rest] if rest:
            group = ""
        case ["apis", group, version, *rest] if rest:
            pass
        case _:
            raise no_such_path()
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in _NAMESPACE_PARTS:
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3:
        raise no_such_path()
    plural, name, part = (*rest, "", "")[:3]
    if part and method == "POST":
        verb: str | None = "create"
    else:
        verb = (_SINGLE if name else _COLLECTION).get(method)
    if verb is None:
        raise method_not_allowed()
    if verb in ("list", "get") and query.get("watch", "").lower() in ("true", "1"):
        verb = "watch"
    return Request(verb, group, version, plural, namespace, name, part, query, headers, body)
