"""What the replicas tell over their admin addresses."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from controlplane.cli.admin import ControlPlane, NotThere, Replica, page
from controlplane.cli.report import allowed
from controlplane.cli.report.plan import MOST_BYTES, Part, place
from controlplane.errors import WeirError
from controlplane.inspection.weir import read_resources

MOST_SERVICES = 200
MOST_ENVOYS = 20
"""Of these the decisions, and the configurations, are taken."""
_PAGES = (
    ("about", "version and settings"),
    ("services", "services, their policies and states"),
    ("status", "conditions of every object"),
    ("problems", "what is wrong with the documents"),
    ("proxies", "Envoys and what each has taken"),
    ("replica", "what it is among the replicas"),
)


def parts(weir: ControlPlane) -> Iterator[Part]:
    """Of every replica; the decisions are those of the one that decides."""
    for number, one in enumerate(weir.replicas):
        home = place("replicas", one.pod.rpartition("/")[2] or f"replica-{number}")
        yield from _replica(one, home)
        if number == 0:
            yield from _decisions(one, home)
        yield from _envoys(one, home)


def _replica(one: Replica, home: str) -> Iterator[Part]:
    read = functools.partial(_page, one)
    yield Part(f"{home}/readyz.txt", "whether it is ready", functools.partial(_ready, one))
    yield Part(f"{home}/metrics.txt", "its metrics", functools.partial(read, "/metrics"))
    for name, what in _PAGES:
        yield Part(f"{home}/{name}.json", what, functools.partial(_asked, one, name))


def _decisions(one: Replica, home: str) -> Iterator[Part]:
    for name in _names(lambda: one.ask("/v1/services"), "service")[:MOST_SERVICES]:
        yield Part(
            f"{home}/{place('decisions', name)}.json",
            f"the last decision about {name}, and what the guard made of it",
            functools.partial(one.ask, f"/v1/services/{name}/explain"),
        )


def _envoys(one: Replica, home: str) -> Iterator[Part]:
    for node in _names(lambda: one.ask("/v1/proxies"), "node")[:MOST_ENVOYS]:
        for side, what in (("acked", "took"), ("intended", "should run")):
            yield Part(
                f"{home}/{place('envoys', node, f'{side}.json')}",
                f"what the Envoy {node} {what}, without what is confidential",
                functools.partial(_configuration, one, node, side),
            )


def _names(ask: Callable[[], Any], field: str) -> list[str]:
    """Whose parts there are; none where that cannot be asked, which its own page says."""
    try:
        return sorted({str(one[field]) for one in ask()})
    except (WeirError, KeyError, TypeError):
        return []


def _configuration(replica: Replica, node: str, side: str) -> dict[str, Any]:
    found = read_resources(replica.ask(f"/v1/proxies/{quote(node, safe='')}/{side}"))
    return {
        kind: [
            {
                "name": each.name,
                "version": each.version,
                **({"not_shown": each.why} if each.body is None else {}),
                **({"config": allowed.envoy(each.body)} if each.body is not None else {}),
            }
            for each in one.resources
        ]
        for kind, one in found.items()
    }


def _asked(replica: Replica, name: str) -> Any:  # noqa: ANN401 (JSON)
    """A page; that there is none is an answer too: a process alone is none of several replicas."""
    try:
        return replica.ask(f"/v1/{name}")
    except NotThere as error:
        return {"not_there": str(error)}


def _ready(replica: Replica) -> str:
    try:
        return _page(replica, "/readyz").decode(errors="replace")
    except WeirError as error:
        return f"{error}\n"


def _page(replica: Replica, path: str) -> bytes:
    return page(replica.address, path, None, replica.deadline_s, 4 * MOST_BYTES)
