"""Routing by where a client is, through the real Envoy and a small MaxMind database."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from controlplane.lab.envoy import free_port
from tests.envoy.echo import echoes
from tests.envoy.edge import backend, edge, gateway, policy, route, to
from tests.mmdb import Value, write_mmdb

pytestmark = pytest.mark.envoy

ROUTES = f"""
  - {{matches: [{{headers: [{{name: x-country, value: DE}}]}}], {to("eu")}}}
  - {{matches: [{{headers: [{{name: x-city, value: Boston}}]}}], {to("us")}}}
  - {{{to("rest")}}}
"""


async def test_a_client_is_routed_by_its_country_and_city_and_cannot_say_so_itself(
    tmp_path: Path,
) -> None:
    cities, systems, port = tmp_path / "city.mmdb", tmp_path / "asn.mmdb", free_port()
    boston: Value = {"country": {"iso_code": "US"}, "city": {"names": {"en": "Boston"}}}
    berlin: Value = {
        "country": {"iso_code": "DE"},
        "city": {"names": {"en": "Berlin"}},
        "subdivisions": [{"iso_code": "BE"}],
    }
    write_mmdb(cities, {"127.1.0.0/16": berlin, "127.2.0.0/16": boston})
    write_mmdb(systems, {"127.1.0.0/16": {"autonomous_system_number": 64500}})
    where = (
        f"  geoIP:\n    cityDatabase: {cities}\n    asnDatabase: {systems}\n"
        "    headers: {country: X-Country, region: x-region, city: x-city, asn: x-asn}\n"
    )
    nowhere = {"country": "", "region": "", "city": "", "asn": ""}
    async with echoes("eu", "us", "rest") as running:
        documents = [
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            *(backend(name, one.port) for name, one in running.items()),
            route("a", ROUTES),
            policy("ClientPolicy", "where", "Gateway/edge", where),
        ]

        async def asked(source: str, **claimed: str) -> tuple[str, dict[str, str]]:
            transport = httpx.AsyncHTTPTransport(local_address=source)
            headers = {f"x-{name}": value for name, value in claimed.items()}
            async with httpx.AsyncClient(transport=transport) as client:
                got = (await client.get(f"http://127.0.0.1:{port}/", headers=headers)).json()
            told = {name: got["headers"].get(f"x-{name}", "") for name in nowhere}
            return got["origin"], told

        async with edge(tmp_path, *documents):
            everything = {"country": "DE", "region": "BE", "city": "Berlin", "asn": "64500"}
            assert await asked("127.1.2.3") == ("eu", everything)
            assert await asked("127.2.2.3") == ("us", nowhere | {"country": "US", "city": "Boston"})
            assert await asked("127.3.2.3") == ("rest", nowhere)
            # What a client claims is not believed, nor passed on.
            assert await asked("127.3.2.3", country="DE", city="Boston") == ("rest", nowhere)
            assert (await asked("127.2.2.3", country="DE"))[0] == "us"
