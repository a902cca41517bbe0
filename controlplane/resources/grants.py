"""Whether an object may refer to one of another namespace."""

from __future__ import annotations

from controlplane.resources.declared import Declared
from controlplane.resources.grant import ReferenceGrant
from controlplane.resources.kinds import Document, group_of, kind_of


def granted(declared: Declared, by: Document, to: type[Document], key: str) -> bool:
    """Whether `by` may refer to the object of this kind and `namespace/name`.

    In its own namespace always; in another where a ReferenceGrant there lets it.
    """
    namespace, _, name = key.partition("/")
    mine = by.metadata.namespace
    if namespace == mine:
        return True
    who = (group_of(type(by)), kind_of(type(by)), mine)
    what = (group_of(to), kind_of(to))
    return any(
        grant.metadata.namespace == namespace
        and any((one.group, one.kind, one.namespace) == who for one in grant.spec.from_)
        and any((one.group, one.kind) == what and one.name in (None, name) for one in grant.spec.to)
        for grant in declared.all(ReferenceGrant).values()
    )
