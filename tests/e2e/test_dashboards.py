"""The dashboards beside a real run: Weir, Envoys and backends under load, and a real Prometheus.

Grafana itself is not here: its documents are held to its own library's classes in
`tests/unit/deploy`, and each of their expressions is asked of a real Prometheus.
"""

from __future__ import annotations

import json
import math
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.lab.prometheus import Scrape, run_prometheus
from controlplane.lab.stock import CLUSTER
from deploy.grafana.__main__ import FOLDER
from deploy.grafana.boards import BOARDS
from deploy.grafana.queries import asked
from tests.e2e.scene import play_scene, under_load, until, verb

pytestmark = [pytest.mark.envoy, pytest.mark.prometheus]

LABELS = {"namespace": "weir-system", "cluster": "here"}
MAY_BE_EMPTY = {panel.title for board in BOARDS for panel in board.panels() if panel.steady} - {
    "Utilisation by endpoint"  # backends say it here
}


def expressions() -> Iterator[tuple[str, str, str]]:
    """(dashboard, panel, expression) of the files as they are shipped, variables and marks too."""
    for file in sorted(FOLDER.glob("*.json")):
        board = json.loads(file.read_text())
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                yield board["title"], panel["title"], target["expr"]


def marks() -> list[str]:
    """The expressions of all annotations."""
    boards = [json.loads(file.read_text()) for file in FOLDER.glob("*.json")]
    return sorted({one["expr"] for board in boards for one in board["annotations"]["list"]})


def ask(url: str, expr: str) -> list[float]:
    """The values of an instant query; raises where Prometheus does not understand it."""
    query = urllib.parse.urlencode({"query": expr})
    with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=10.0) as answer:
        document: dict[str, Any] = json.loads(answer.read())
    assert document["status"] == "success", document
    values = [float(one["value"][1]) for one in document["data"]["result"]]
    return [one for one in values if math.isfinite(one)]


async def test_no_panel_of_any_dashboard_is_empty(tmp_path: Path) -> None:
    async with play_scene(tmp_path, policy="learned", orca=True) as scene:
        weir = Scrape("weir", (f"127.0.0.1:{scene.served.admin_port}",), labels=LABELS)
        admins = tuple(f"127.0.0.1:{port}" for port in scene.admins)
        envoys = Scrape("envoy", admins, "/stats/prometheus", labels=LABELS)
        async with run_prometheus(tmp_path, weir, envoys) as prometheus, under_load(scene, 120.0):
            empty: list[str] = []

            async def all_have_values() -> bool:
                empty[:] = [
                    f"{board}, {title}: {expr}"
                    for board, title, expr in expressions()
                    if title not in MAY_BE_EMPTY and not ask(prometheus.url, asked(expr))
                ]
                return not empty

            try:
                await until(all_have_values, every_s=1.0)
            except AssertionError:
                raise AssertionError("empty:\n" + "\n".join(empty)) from None

            async def marked() -> list[str]:
                return [expr for expr in marks() if ask(prometheus.url, asked(expr))]

            async def nothing_marked() -> bool:
                return not await marked()

            await until(nothing_marked)  # a service begins with another policy than it goes on with
            chosen = asked('sum(weir_service_share{service=~"$service"})', {"service": CLUSTER})
            assert ask(prometheus.url, chosen) == pytest.approx([1.0])
            nobody = {"namespace": "another"}
            of_another = [asked(expr, nobody) for _, _, expr in expressions()]
            found = [one for one in of_another if any(ask(prometheus.url, one))]
            assert found == []  # each asks for the installation that is chosen
            admin = f"127.0.0.1:{scene.served.admin_port}"
            await verb("freeze", "-r", "a test", "--admin-address", admin)
            (frozen,) = await until(marked)
            assert "weir_frozen" in frozen
