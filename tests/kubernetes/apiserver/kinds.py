"""The kinds that are served, and where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.kubernetes.apiserver.errors import Object, no_such_path, qualified

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`. `path` is a JSONPath without braces; two of them with type
    `ratio`. Type `count` is how many there are in what the path leads to.
    """

    name: str
    path: str
    type: str = "string"
    priority: int = 0
    description: str = ""
    format: str = ""


@dataclass(frozen=True)
class Scale:
    """Where the scale subresource finds its numbers, as JSONPaths."""

    replicas: str
    status_replicas: str
    selector: str | None = None


@dataclass(frozen=True)
class Kind:
    """One kind in one version."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    status: bool = False
    scale: Scale | None = None
    generation: bool = False
    """Whether `metadata.generation` counts the changes of what is wanted."""
    unconditional: bool = True
    """Whether an update may come without a resourceVersion. Custom resources: never."""
    schema: Object | None = field(default=None, compare=False)
    """OpenAPI v3. Built-in kinds of which none is known are taken as they are."""
    columns: tuple[Column, ...] = ()
    custom: bool = False
    stored: bool = True
    """Whether this is the version that objects are stored in."""
    singular: str = ""
    list_kind: str = ""
    verbs: tuple[str, ...] = VERBS
    stored_as: str = ""
    """The resource that holds the objects, where it is that of another group."""
    selectable: tuple[str, ...] = ()
    """Fields that a field selector may name, beside name and namespace."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """Group and resource: what the objects of all versions are stored under."""
        return self.stored_as or qualified(self.plural, self.group)

    @property
    def listed(self) -> str:
        return self.list_kind or f"{self.kind}List"

    @property
    def one(self) -> str:
        return self.singular or self.kind.lower()


class Kinds:
    """What is served now. Definitions come and go."""

    def __init__(self, builtin: tuple[Kind, ...]) -> None:
        self._kinds: dict[tuple[str, str, str], Kind] = {}
        for one in builtin:
            self.add(one)

    def add(self, kind: Kind) -> None:
        self._kinds[kind.group, kind.version, kind.plural] = kind

    def drop(self, group: str, plural: str) -> None:
        for key in [k for k in self._kinds if k[0] == group and k[2] == plural]:
            del self._kinds[key]

    def find(self, group: str, version: str, plural: str) -> Kind:
        found = self._kinds.get((group, version, plural))
        if found is None:
            raise no_such_path()
        return found

    def serves(self, kind: Kind) -> bool:
        return (kind.group, kind.version, kind.plural) in self._kinds

    def of(self, group: str, version: str) -> tuple[Kind, ...]:
        return tuple(k for (g, v, _), k in self._kinds.items() if (g, v) == (group, version))

    def of_object(self, one: Object) -> Kind | None:
        """The kind that an object says it is."""
        group, _, version = str(one.get("apiVersion", "")).rpartition("/")
        for kind in self.of(group, version):
            if kind.kind == one.get("kind"):
                return kind
        return None

    def resources(self) -> Iterator[Kind]:
        """One version of each."""
        seen: set[str] = set()
        for kind in self._kinds.values():
            if kind.resource not in seen:
                seen.add(kind.resource)
                yield kind

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Named groups and their versions, the preferred one first."""
        made: dict[str, list[str]] = {}
        for group, version, _ in self._kinds:
            versions = made.setdefault(group, [])
            if version not in versions:
                versions.append(version)
        return {g: tuple(sorted(v, key=_newest_first)) for g, v in made.items() if g}

    def __iter__(self) -> Iterator[Kind]:
        return iter(tuple(self._kinds.values()))


def _newest_first(version: str) -> tuple[int, int, int]:
    """Stable before beta before alpha, then by number.

    https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#version-priority
    """
    for rank, word in enumerate(("", "beta", "alpha")):
        major, mid, minor = (
            version.removeprefix("v").partition(word) if word else (version[1:], "", "")
        )
        if major.isdigit() and (not word or mid):
            return rank, -int(major), -int(minor or 0)
    return 3, 0, 0
