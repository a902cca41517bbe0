"""`responseCache`: answers that Envoy keeps, as their own `cache-control` allows it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from controlplane.resources.kinds import Fields, Flag, Integer

MIB = 1024 * 1024


class CacheFiles(Fields):
    """A folder of the machine of the Envoy; the oldest answers make room for new ones."""

    path: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9_./-]{1,255}$")] = Field(
        description="It must be there and Envoy's to write. A folder in memory (tmpfs) will do. "
        "Policies with one folder must agree on its size."
    )
    max_size: Annotated[Integer, Field(ge=MIB, le=2**50)] = Field(
        default=1024 * MIB, description="Bytes of all answers, nearly: Envoy looks now and then."
    )


class ResponseCache(Fields):
    """Answers are kept by each Envoy as RFC 9111 has it for a shared cache."""

    files: CacheFiles | None = Field(
        default=None,
        description="Where answers are kept; not given: in memory, where Envoy never gives up one "
        "that is kept. So only for paths that clients cannot make up.",
    )

    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = Field(
        default=None,
        description="Part of the key of each answer: another version finds nothing of what was "
        "kept, which is how a cache is purged. The origin sees it in the query parameter "
        "`weir-cache-version`.",
    )
    for_authenticated: Flag = Field(
        default=False,
        description="Keep answers also where clients say who they are, by a SecurityPolicy with "
        "`extAuth`, `apiKeyAuth`, `basicAuth`, `oidc` or `jwt`, or by certificates. Who is let in "
        "gets what was answered to another: only where answers are the same for all of them.",
    )
