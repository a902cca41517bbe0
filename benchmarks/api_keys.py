"""What a request costs whose API key is compared by its hash, and what many routes with keys cost.

    python -m benchmarks.api_keys [--requests 8000] [--rounds 11]

Requests: one Envoy with TLS, HTTP/2, local limits, breakers and retries has a host for each way,
and h2load (Debian: nghttp2-client) asks them in turn; what counts is the CPU time of the Envoy.
`envoy` is its filter alone with keys as they are, in the route; `weir` is what Weir makes, keys
hashed. Each round is compared within itself, as the machine is not quiet.

Routes: a policy with 1,000 keys for 1,000 routes, both ways.

Writes benchmarks/results/api_keys.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # Envoys are started beside gRPC

from envoy_data_plane.envoy.extensions.filters.http.api_key_auth.v3 import (
    ApiKeyAuthPerRoute,
    Credential,
    Forwarding,
    KeySource,
)

from controlplane.lab.envoy import Envoy, die_with_parent, free_port, run_envoy
from controlplane.resources.api_key_auth import ApiKeyAuth
from controlplane.translate.security import api_keys, names
from controlplane.translate.wire import packed, wire
from controlplane.xds.kinds import EXTENSION, ROUTE
from tests.certificates import Authority
from tests.envoy.edge import FLEET, Edge, backend, edge, gateway, policy, route, secret, to

RESULT = Path(__file__).parent / "results" / "api_keys.json"
COUNTS = (1, 100, 10_000)
NONE = "none"
PER_SECRET = 1000
ROUTES, RULES, KEYS = 1000, 10, 1000
"""Routes of Envoy, of which an HTTPRoute here has so many."""
HEADER = "x-api-key"


def key(at: int) -> str:
    """As long as those that `weir create api-key` makes."""
    return f"weir_{at:043}"


def clients(count: int) -> dict[str, str]:
    return {f"client-{at}": key(at) for at in range(count)}


def keyed(host: str, count: int) -> list[str]:
    """A policy with so many keys, and its Secrets."""
    found = list(clients(count).items())
    parts = [found[at : at + PER_SECRET] for at in range(0, count, PER_SECRET)]
    held = [f"{host}-{at}" for at in range(len(parts))]
    refs = ", ".join(f"{{name: {name}}}" for name in held)
    spec = (
        f"  apiKeyAuth:\n    credentialRefs: [{refs}]\n    extractFrom: [{{headers: [{HEADER}]}}]\n"
        "    forwardClientIDHeader: x-client\n    sanitize: true\n"
    )
    secrets = [
        secret(name, {client: one.encode() for client, one in part})
        for name, part in zip(held, parts, strict=True)
    ]
    return [policy("SecurityPolicy", host, f"HTTPRoute/{host}", spec), *secrets]


@contextmanager
def envoys_filter(counts: Mapping[str, int]) -> Iterator[None]:
    """Translate these policies to Envoy's filter alone, with their keys as they are."""
    ours = api_keys.for_route

    def for_route(wanted: api_keys.Keys, auth: ApiKeyAuth) -> dict[str, bytes]:
        policy = wanted.name.partition("#")[0]
        if policy not in counts:
            return ours(wanted, auth)
        found = clients(counts[policy]).items()
        made = wire(
            ApiKeyAuthPerRoute,
            credentials=[wire(Credential, key=one, client=client) for client, one in found],
            key_sources=[wire(KeySource, header=HEADER)],
            forwarding=wire(Forwarding, header="x-client", hide_credentials=True),
        )
        return {names.API_KEYS: packed(ApiKeyAuthPerRoute, made)}

    with mock.patch.object(api_keys, "for_route", for_route):
        yield


def cpu_s(envoy: Envoy) -> float:
    """CPU time of a process, all its threads: the clock that clock_getcpuclockid(3) names."""
    return time.clock_gettime_ns((~envoy.process.pid << 3) | 2) / 1e9


def resident_mb(envoy: Envoy) -> float:
    text = Path(f"/proc/{envoy.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", text)
    assert found is not None
    return int(found[1]) / 1024


async def load(host: str, port: int, requests: int) -> None:
    """Ask so often; everybody who asks may. The last key of all is shown."""
    count = int(host.rpartition("-")[2]) if "-" in host else 1
    process = await asyncio.create_subprocess_exec(
        *("h2load", "-n", str(requests), "-c", "4", "-m", "4", "-H", f"{HEADER}: {key(count - 1)}"),
        *(f"--connect-to=127.0.0.1:{port}", f"https://{host}.test/"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        preexec_fn=die_with_parent,
    )
    said = (await process.communicate())[0].decode()
    if f"status codes: {requests} 2xx" not in said:
        raise RuntimeError(said)


def answering(port: int) -> dict[str, Any]:
    """The bootstrap of an Envoy that answers everything by itself."""
    answers = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": "ok"}},
    }
    url = "type.googleapis.com/envoy.extensions.filters"
    router = {
        "name": "router",
        "typed_config": {"@type": f"{url}.http.router.v3.Router"},
    }
    manager = {
        "@type": f"{url}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "origin",
        "http_filters": [router],
        "route_config": {"virtual_hosts": [{"name": "a", "domains": ["*"], "routes": [answers]}]},
    }
    listener = {
        "name": "origin",
        "address": _address(port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {
        "admin": {"address": _address(free_port())},
        "static_resources": {"listeners": [listener]},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def careful(port: int, origin: int, counts: tuple[int, ...]) -> tuple[list[str], list[str]]:
    """What a careful team declares, and its hosts: none has no keys."""
    issued = Authority().issue(dns=["*.test"])
    hosts = [NONE, *(f"{way}-{count}" for count in counts for way in ("envoy", "weir"))]
    limits = (
        "  rateLimit: {local: {rules: [{clientSelectors: [{sourceCIDR: {value: 0.0.0.0/0, "
        "type: Distinct}}], limit: {requests: 1000000000, unit: Second}}]}}\n"
        "  circuitBreaker: {maxConnections: 1000, maxPendingRequests: 1000, "
        "maxParallelRequests: 1000}\n  retry: {numRetries: 2, retryOn: {triggers: "
        "[gateway-error, reset, connect-failure, refused-stream]}, perRetry: {timeout: 2s}}\n"
    )
    documents = [
        gateway(
            f"name: https, port: {port}, protocol: HTTPS, tls: {{certificateRefs: [{{name: tls}}]}}"
        ),
        backend("origin", origin),
        secret("tls", {"tls.crt": issued.certificate, "tls.key": issued.key}, "kubernetes.io/tls"),
        policy("TrafficPolicy", "careful", "Gateway/edge", limits),
    ]
    for host in hosts:
        documents.append(route(host, f"[{{{to('origin')}}}]", hosts=f"[{host}.test]"))
        if host != NONE:
            documents += keyed(host, int(host.rpartition("-")[2]))
    return documents, hosts


async def of_requests(folder: Path, requests: int, rounds: int) -> dict[str, Any]:
    """Microseconds of Envoy's CPU time for a request, each way."""
    port, origin = free_port(), free_port()
    documents, hosts = careful(port, origin, COUNTS)
    native = {f"default/envoy-{count}": count for count in COUNTS}
    took: dict[str, list[float]] = {host: [] for host in hosts}
    with envoys_filter(native):
        async with (
            run_envoy(answering(origin), folder, name="origin"),
            edge(folder, *documents) as made,
        ):
            for host in hosts:
                await load(host, port, requests)
            for _ in range(rounds):
                for host in hosts:
                    before = cpu_s(made.envoy)
                    await load(host, port, requests)
                    took[host].append((cpu_s(made.envoy) - before) / requests * 1e6)
    found = {
        host: {
            "us": [round(one, 2) for one in each],
            "median_us": round(statistics.median(each), 2),
            "per_cpu_second": round(1e6 / statistics.median(each)),
        }
        for host, each in took.items()
    }
    kept = {
        str(count): round(
            statistics.median(
                before / now
                for before, now in zip(took[f"envoy-{count}"], took[f"weir-{count}"], strict=True)
            ),
            3,
        )
        for count in COUNTS
    }
    return {"hosts": found, "throughput_kept": kept}


async def of_routes(folder: Path, routes: int, keys: int, *, native: bool) -> dict[str, Any]:
    """What it takes until an Envoy has a policy for so many routes, and then a key that is new."""
    port = free_port()
    rules = ", ".join(
        f"{{matches: [{{path: {{value: /{at}}}}}], {to('origin')}}}" for at in range(RULES)
    )
    usual = [gateway(f"name: http, port: {port}, protocol: HTTP"), backend("origin", free_port())]
    usual += [
        route(f"r-{at}", f"[{rules}]", hosts=f"[r-{at}.test]") for at in range(routes // RULES)
    ]
    async with edge(folder, *usual) as made:
        empty_mb = resident_mb(made.envoy)
        first_s = await _declare(made, usual, keys - 1, native=native)
        first_mb = resident_mb(made.envoy)
        new_s = await _declare(made, usual, keys, native=native)
        view = made.cache.view(FLEET) or {}
        sizes = {url: sum(len(one.body) for one in view[url].by_name.values()) for url in view}
        return {
            "way": "envoy" if native else "weir",
            "route_table_mb": round(sizes[ROUTE] / 1e6, 2),
            "hashes_mb": round(sizes[EXTENSION] / 1e6, 2),
            "first_s": round(first_s, 2),
            "new_key_s": round(new_s, 2),
            "envoy_before_mb": round(empty_mb),
            "envoy_after_mb": round(first_mb),
        }


async def _declare(made: Edge, usual: Sequence[str], keys: int, *, native: bool) -> float:
    documents = [
        one.replace("kind: HTTPRoute, name: shared", "kind: Gateway, name: edge")
        for one in keyed("shared", keys)
    ]
    began = time.monotonic()
    with envoys_filter({"default/shared": keys} if native else {}):
        await made.apply(*usual, *documents, deadline_s=300.0)
    return time.monotonic() - began


async def measure(requests: int, rounds: int) -> dict[str, Any]:
    out: dict[str, Any] = {
        "when": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_before": round(os.getloadavg()[0], 2),
    }
    with tempfile.TemporaryDirectory() as folder:
        out["requests"] = await of_requests(Path(folder), requests, rounds)
        out["routes"] = [
            await of_routes(Path(folder), ROUTES, KEYS, native=native) for native in (True, False)
        ]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=8_000)
    parser.add_argument("--rounds", type=int, default=11)
    asked = parser.parse_args()
    found = asyncio.run(measure(asked.requests, asked.rounds))
    RESULT.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
