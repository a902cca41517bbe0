"""The pages Install and Operate: what they tell people to type is there, and works.

Install is typed in `test_end_to_end.py`. Operate takes minutes: `make operate-page`.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from controlplane.cli.root import build
from tests.kubernetes.pages import ROOT, commands
from tests.kubernetes.requests import ask, under_load
from tests.kubernetes.stage import ENVOY, SHOP, SYSTEM, WEIR, here, until
from tests.kubernetes.strangers import page as shown
from tests.kubernetes.test_end_to_end import INSTALL, PATH

OPERATE = ROOT / "docs" / "operate.md"
PAGES = (ROOT / "docs" / "install.md", OPERATE, ROOT / "examples" / "16-kubernetes" / "README.md")
_FILE = re.compile(r"(?<![\w/.-])(?:charts|deploy|docs|examples|envoy|tests)/[\w./-]+")
_VERB = re.compile(r"(?:^|`)(?:\S*python3 -m controlplane\.cli|weir) ([a-z][a-z -]*)", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda one: one.stem)
def test_files_and_verbs_that_a_page_names_exist(page: Path) -> None:
    typed = commands(page)
    assert typed
    for command in typed:
        for name in _FILE.findall(command.text):
            assert (ROOT / name).exists(), command
    text = page.read_text() + "\n".join(one.text for one in typed)
    for words in _VERB.findall(text):
        _resolve(words.split())


def _resolve(words: list[str]) -> None:
    """Each word is a verb of the one before, until one takes no verbs."""
    command: Any = get_command(build())
    for word in words:
        if not hasattr(command, "get_command"):
            return
        command = command.get_command(None, word)
        assert command is not None, " ".join(words)


SLOW = pytest.mark.skipif("WEIR_OPERATE_PAGE" not in os.environ, reason="`make operate-page`")


@pytest.mark.envoy
@SLOW
async def test_envoys_as_an_overlay_and_beside_applications(tmp_path: Path) -> None:
    """The example's other two ways."""
    async with here(tmp_path) as stage:
        await stage.page(INSTALL)
        upgrade = f"helm upgrade weir charts/weir -n {SYSTEM} --reuse-values"
        await stage.type(f"{upgrade} -f charts/weir/values/overlay.yaml --wait --timeout=120s")
        async with stage.gates() as gates:
            for gate in gates:
                assert await ask(gate, PATH) == (200, "ok")
                # No route of Weir's is in the way: what asks for a key is not there.
                assert (await ask(gate, f"/partners{PATH}"))[0] == 400  # by the application itself
        await stage.type(f"{upgrade} -f charts/weir/values/sidecar.yaml --wait --timeout=120s")
        readme = ROOT / "examples" / "16-kubernetes" / "README.md"
        await stage.page(
            [
                one
                for one in commands(readme)
                if "secret weir-envoy" in one.text or "sidecar" in one.text
            ]
        )
        await stage.kubectl("rollout", "status", "deployment/customer", "--timeout=120s")
        (customer,) = await stage.pods("app=customer", "default")
        at = stage.pod(customer).network.address

        async def asks() -> bool:
            _, stats = await asyncio.to_thread(shown, at, 9902, "/stats/prometheus")
            return bool(
                re.search(r'downstream_rq_xx\{[^}]*response_code_class="2"[^}]*\} [1-9]', stats)
            )

        await until(asks, "requests of the application")

        async def alone() -> bool:
            """The gateways have drained."""
            told = [await stage.admin(pod, "/v1/proxies") for pod in await stage.pods(WEIR)]
            return [one["node"] for each in told for one in each] == [customer]

        await until(alone, "the Envoy of the application and no other")
        assert await stage.pods(ENVOY) == []


@pytest.mark.envoy
@SLOW
async def test_operate_is_typed_from_top_to_bottom_and_no_request_fails(tmp_path: Path) -> None:
    async with here(tmp_path) as stage:
        await stage.page(INSTALL)
        typed = commands(OPERATE)
        end = next(i for i, one in enumerate(typed) if one.heading == "Uninstall")
        async with stage.gates() as gates, under_load(gates, PATH) as load:
            for one in typed[:end]:
                load.during = f"{one.heading}: {one.text}"
                await stage.page([one])
        assert load.failed == []
        assert load.answered > 300  # they went on all the time
        await stage.page(typed[end:])
        assert len(await stage.pods(SHOP, "default")) == 3
        found = await stage.read("get", "deployments", "-n", SYSTEM)
        assert found["items"] == []
