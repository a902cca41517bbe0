"""`examples/04-https-edge` with the real Envoy, and certificates that its script makes."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from controlplane.lab.envoy import free_port
from tests.envoy.echo import call, echoes
from tests.envoy.edge import edge, until
from tests.envoy.test_https import REFUSED, get

pytestmark = pytest.mark.envoy

FOLDER = Path(__file__).parents[2] / "examples" / "04-https-edge"


def certificates(folder: Path) -> str:
    """What the script of the example makes."""
    subprocess.run([FOLDER / "certificates.sh", folder], check=True, capture_output=True)
    return (folder / "certificates.yaml").read_text()


def trusting(folder: Path, own: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    if own:
        context.load_cert_chain(folder / f"{own}.crt", folder / f"{own}.key")
    return context


async def test_the_shop_is_open_and_partners_show_who_they_are(tmp_path: Path) -> None:
    plain, port, made = free_port(), free_port(), tmp_path / "certificates"
    made.mkdir()
    async with echoes("web") as running:
        ports = {"8080": plain, "8443": port, "9001": running["web"].port}
        documents = [certificates(made)]
        for name in ("edge.yaml", "clients.yaml"):
            text = (FOLDER / name).read_text()
            for written, used in ports.items():
                text = text.replace(written, str(used))
            documents.append(text)

        async with edge(tmp_path, *documents) as running_edge:

            async def answer(host: str, own: str = "") -> httpx.Response:
                async with running_edge.client(verify=trusting(made, own), http2=True) as client:
                    return await get(client, port, host)

            async def open_() -> bool:
                return (await answer("shop.example.com")).status_code == 200

            await until(open_)
            shop = await answer("shop.example.com")
            assert shop.http_version == "HTTP/2"
            assert shop.headers["alt-svc"] == f'h3=":{port}"; ma=86400'
            with pytest.raises(REFUSED):
                await answer("partners.example.com")
            with pytest.raises(REFUSED):  # of our CA, but no partner
                await answer("partners.example.com", "shop")
            partner = await answer("partners.example.com", "acme")
            assert partner.status_code == 200
            told = partner.json()["headers"]["x-forwarded-client-cert"]
            assert "DNS=acme.partners.example.com" in told

            sent_on = await call(plain, "/cart", host="shop.example.com")
            assert sent_on.status == 301
            assert sent_on.headers["location"] == f"https://shop.example.com:{port}/cart"

            await running_edge.apply(certificates(made), *documents[1:])
            await until(open_)  # the new CA alone is believed by now
