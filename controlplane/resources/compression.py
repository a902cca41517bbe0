"""`compressor`: answers made smaller on their way to clients."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from controlplane.resources.kinds import Fields, first_twice

Encoding = Literal["Brotli", "Zstd", "Gzip"]


class Compressor(Fields):
    """One encoding that is offered."""

    type: Encoding = Field(
        description="Used where the client accepts it. A strong ETag becomes a weak one, for the "
        "bytes are others; parts (206) and answers that are encoded already are passed on."
    )


def once(compressors: tuple[Compressor, ...]) -> tuple[Compressor, ...]:
    """Raises `ValueError` where an encoding is named twice."""
    twice = first_twice([one.type for one in compressors])
    if twice is not None:
        raise ValueError(f"{twice} is named twice; keep one of them")
    return compressors
