from __future__ import annotations

from dataclasses import replace

from controlplane.model import Part, Service, ServiceName
from controlplane.observe.in_process import InProcessSource
from controlplane.observe.parts import ByPart, wholes
from tests.unit.observe.messages import PROXY, Clock, entry, logs, service

WEB = service()
PARTS = tuple(
    replace(WEB, name=ServiceName(f"{WEB.name}@{place}"), endpoints=(one,), part=Part(priority))
    for priority, (place, one) in enumerate(zip(("eu", "us"), WEB.endpoints, strict=True))
)


def test_parts_of_a_cluster_are_one_service_to_envoys() -> None:
    other = service("default/other", first=11)
    assert wholes([*PARTS, other]) == [WEB, other]


async def test_each_part_sees_its_own_endpoints_of_one_look() -> None:
    source, clock = InProcessSource(Clock()), Clock()
    other = service("default/other", first=11)
    source.declare(wholes([*PARTS, other]))
    entries = (
        entry(),
        entry("10.0.0.2"),
        entry("10.0.0.2"),
        entry("10.0.0.11", cluster=other.name),
    )
    source.access_logs.on_access_logs(PROXY, logs(*entries))
    clock.now_s += 1

    async def seen(*asked: Service) -> dict[str, list[float]]:
        looks = await ByPart(source).observe(asked)
        assert all(name == look.service for name, look in looks.items())
        return {name: look.succeeded.tolist() for name, look in looks.items()}

    assert await seen(*PARTS, other) == {
        "default/web@eu": [1.0],
        "default/web@us": [2.0],
        "default/other": [1.0, 0.0],
    }
    assert await seen(PARTS[1]) == {"default/web@us": [2.0]}
