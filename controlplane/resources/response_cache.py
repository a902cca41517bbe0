"""`responseCache`: answers that Envoy keeps, as their own `cache-control` allows it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from controlplane.resources.kinds import Fields


class ResponseCache(Fields):
    """Answers are kept in the memory of each Envoy as RFC 9111 has it for a shared cache."""

    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = Field(
        default=None,
        description="Part of the key of each answer: another version finds nothing of what was "
        "kept, which is how a cache is purged. The origin sees it, as the query parameter "
        "`weir-cache-version`.",
    )
