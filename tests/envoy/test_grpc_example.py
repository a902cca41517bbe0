"""examples/12-grpc through the real Envoy, with servers of gRPC at ports of their own."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from controlplane.lab.envoy import free_port
from tests.envoy.calls import call, callees, channel
from tests.envoy.edge import edge, until
from tests.envoy.origin import ask, origins
from tests.envoy.test_grpc_web import from_browser
from tests.envoy.test_udp_routes import answering, client, free_udp_ports

pytestmark = pytest.mark.envoy

EXAMPLE = Path(__file__).parents[2] / "examples" / "12-grpc" / "edge.yaml"
HOST = "api.shop.example"


async def test_the_example_sends_each_method_to_its_backend(tmp_path: Path) -> None:
    port, tcp, (udp,) = free_port(), free_port(), free_udp_ports(1)
    async with (
        callees("old", "new", "read") as servers,
        origins("database") as databases,
        answering("names") as named,
    ):
        text = EXAMPLE.read_text().replace("8080", str(port)).replace("5432", str(tcp))
        text = text.replace("5353", str(udp))
        ports = [one.port for one in servers.values()]
        ports += [databases["database"].port, named["names"][1]]
        for written, its in zip(("9001", "9002", "9003", "9004", "9005"), ports, strict=True):
            text = text.replace(f"port: {written}}}", f"port: {its}}}")
        async with edge(tmp_path, text), channel(port, HOST) as via:
            await until(lambda: _answers(port))
            reads = {
                (await call(via, f"/shop.v1.Carts/{name}")).origin
                for name in ("List", "Get")
                for _ in range(20)
            }
            writes = [(await call(via, "/shop.v1.Carts/Add")).origin for _ in range(120)]
            assert (reads, set(writes)) == ({"read"}, {"old", "new"})
            assert writes.count("new") < 40
            other = await call(via, "/shop.v1.Orders/Add")
            assert other.code == grpc.StatusCode.UNIMPLEMENTED
            page = "https://www.shop.example"
            called = await from_browser(
                port, b"x", host=HOST, path="/shop.v1.Carts/Get", origin=page
            )
            assert (called.status, called.messages[0]["origin"]) == ("0", "read")
            assert called.answer.headers["access-control-allow-origin"] == page
            async with client(udp) as datagrams:
                assert await datagrams.say() == "names"
            assert await ask(tcp) == {(200, "database"): 1}


async def _answers(port: int) -> bool:
    async with channel(port, HOST) as via:
        return (await call(via, "/shop.v1.Carts/List")).code == grpc.StatusCode.OK
