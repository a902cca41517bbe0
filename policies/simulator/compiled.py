"""numba's compiler, as typed decorators.

`compiled` is for functions that others call, `entry` for those that Python calls. Only entries are
kept on disk, as what they call is a part of them. numba's cache notices a change only of the file
that the entry stands in, so here its stamp is a digest of all of `COMPILED`: a stale cache
cannot answer for a source that has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")

COMPILED = (
    "case",
    "compiled",
    "core",
    "events",
    "hashing",
    "outliers",
    "picks",
    "reports",
    "serving",
    "state",
)
"""The modules that machine code is made of: functions, and constants that stand in it."""

_INNER = {"_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Python never calls these: what unpacks a hundred arrays for it would be half of the compile time.
"""


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile to machine code as a part of what calls it.

    Compiled functions here allocate nothing, so numba's counting of references is left out, and
    they are always inlined: either would copy or count a hundred arrays at each call (20 times
    slower).
    """
    return cast("Callable[P, R]", njit(forceinline=True, **_INNER)(function))


def seldom(function: Callable[P, R]) -> Callable[P, R]:
    """As `compiled`, but called and not inlined: for what happens seldom, to spare compile time."""
    return cast("Callable[P, R]", njit(**_INNER)(function))


def entry(function: Callable[P, R]) -> Callable[P, R]:
    """Compile at the first call, and keep it beside the source until one of `COMPILED` changes."""
    dispatcher: Any = njit(cache=True, _nrt=False)(function)
    file: Any = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if hasattr(file, "_source_stamp"):
        file._source_stamp = digest(Path(__file__).parent)
    elif hasattr(dispatcher, "_cache"):  # another numba: rather compile each time than be stale
        dispatcher._cache.disable()
    return cast("Callable[P, R]", dispatcher)


@cache
def digest(folder: Path) -> str:
    """Of the text of the modules that are compiled, in the folder of this package."""
    total = hashlib.sha256()
    for name in COMPILED:
        total.update((folder / f"{name}.py").read_bytes() + b"\0")
    return total.hexdigest()
