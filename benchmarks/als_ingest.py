"""How many access log entries a second one core reads and aggregates.

Messages are built as Envoy sends them: batches of what came within 0.1 s, every field that Envoy
fills in, several services and endpoints, some failures. Reading, aggregating and the looks of the
loop (one a second of such traffic) are all in the time. CPU seconds of this process are taken, so
that a busy machine changes little.

    .venv/bin/python benchmarks/als_ingest.py            writes benchmarks/results/als_ingest.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from envoy_data_plane.envoy.config.core.v3 import Address, SocketAddress
from envoy_data_plane.envoy.data.accesslog.v3 import (
    AccessLogCommon,
    AccessLogType,
    HttpAccessLogEntry,
    HttpAccessLogEntryHttpVersion,
    HttpRequestProperties,
    HttpResponseProperties,
    ResponseFlags,
)
from envoy_data_plane.envoy.service.accesslog.v3 import (
    StreamAccessLogsMessage,
    StreamAccessLogsMessageHttpAccessLogEntries,
)

from controlplane.model import Endpoint, Proxy, ProxyId, Service, ServiceName
from controlplane.observe.in_process import InProcessSource

RESULT = Path(__file__).parent / "results" / "als_ingest.json"
TARGET = 50_000


def address(host: str, port: int) -> Address:
    return Address(socket_address=SocketAddress(address=host, port_value=port))


def one_entry(service: Service, rng: random.Random) -> HttpAccessLogEntry:
    endpoint = rng.choice(service.endpoints)
    sent_s = rng.uniform(0.0002, 0.002)
    taken_s = rng.expovariate(1 / 0.08)
    failed = rng.random() < 0.02
    common = AccessLogCommon(
        downstream_remote_address=address("192.0.2.17", rng.randrange(30_000, 60_000)),
        downstream_local_address=address("10.1.0.4", 8443),
        downstream_direct_remote_address=address("192.0.2.17", 51_234),
        upstream_remote_address=address(endpoint.address, endpoint.port),
        upstream_local_address=address("10.1.0.4", rng.randrange(30_000, 60_000)),
        upstream_cluster=service.name,
        start_time=datetime.now(UTC),
        time_to_last_rx_byte=timedelta(seconds=sent_s / 2),
        time_to_first_upstream_tx_byte=timedelta(seconds=sent_s),
        time_to_last_upstream_tx_byte=timedelta(seconds=sent_s),
        time_to_first_upstream_rx_byte=timedelta(seconds=sent_s + taken_s * 0.98),
        time_to_last_upstream_rx_byte=timedelta(seconds=sent_s + taken_s),
        time_to_first_downstream_tx_byte=timedelta(seconds=sent_s + taken_s),
        time_to_last_downstream_tx_byte=timedelta(seconds=sent_s + taken_s + 0.0001),
        duration=timedelta(seconds=sent_s + taken_s + 0.0002),
        response_flags=ResponseFlags(upstream_connection_termination=True) if failed else None,
        route_name=f"route-{service.name}",
        stream_id="4ecaa715-7d5e-42fa-9678-58b3e2dc1976",
        upstream_request_attempt_count=1,
        downstream_wire_bytes_sent=1_420,
        downstream_wire_bytes_received=610,
        upstream_wire_bytes_sent=702,
        upstream_wire_bytes_received=1_380,
        access_log_type=AccessLogType.DownstreamEnd,
    )
    return HttpAccessLogEntry(
        common_properties=common,
        protocol_version=HttpAccessLogEntryHttpVersion.HTTP2,
        request=HttpRequestProperties(
            scheme="https",
            authority="shop.example.com",
            path="/api/v1/carts/8f2c/items?page=2",
            user_agent="Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
            request_id="0cbbd01f-6bb2-9d58-8f5e-2f3e4f6ad2be",
            request_headers_bytes=612,
        ),
        response=HttpResponseProperties(
            response_code=503 if failed else 200,
            response_headers_bytes=188,
            response_body_bytes=1_232,
            response_code_details="via_upstream",
        ),
    )


def batches(services: list[Service], entries: int, batch: int, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    made = []
    for _ in range(entries // batch):
        logs = [one_entry(rng.choice(services), rng) for _ in range(batch)]
        made.append(
            bytes(
                StreamAccessLogsMessage(
                    http_logs=StreamAccessLogsMessageHttpAccessLogEntries(log_entry=logs)
                )
            )
        )
    return made


async def run_once(services: list[Service], messages: list[bytes], batch: int) -> float:
    """Entries for each CPU second, looks included."""
    virtual_s = 0.0
    source = InProcessSource(lambda: virtual_s)
    source.declare(services)
    proxies = [Proxy(ProxyId(f"envoy-{i}"), "fleet") for i in range(12)]
    taken = 0
    begin_s = time.process_time()
    for _ in range(4):
        for i, message in enumerate(messages * 4):
            source.access_logs.on_access_logs(proxies[i % len(proxies)], message)
            taken += batch
        virtual_s += 1.0
        await source.observe(services)
    spent_s = time.process_time() - begin_s
    assert source.receipts.log_entries == taken
    assert source.receipts.unknown_entries == 0
    return taken / spent_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--entries", type=int, default=5_000, help="different entries; a look sees each four times"
    )
    parser.add_argument("--batch", type=int, default=50, help="entries in a message")
    parser.add_argument("--services", type=int, default=20)
    parser.add_argument("--endpoints", type=int, default=20)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    services = [
        Service(
            ServiceName(f"shop/service-{s}"),
            tuple(Endpoint(f"10.2.{s}.{e + 1}", 8080) for e in range(options.endpoints)),
        )
        for s in range(options.services)
    ]
    messages = batches(services, options.entries, options.batch, options.seed)
    rates = [asyncio.run(run_once(services, messages, options.batch)) for _ in range(options.runs)]
    result = {
        "what": "access log entries read and aggregated for each second of one core",
        "entries_per_cpu_s": {
            "median": round(statistics.median(rates)),
            "least": round(min(rates)),
            "most": round(max(rates)),
        },
        "target": TARGET,
        "entry_bytes": round(sum(map(len, messages)) / (len(messages) * options.batch)),
        "options": vars(options),
        "machine": {
            "cpus": os.cpu_count(),
            "system": platform.platform(),
            "processor": processor(),
            "python": platform.python_version(),
            "note": "a shared machine: other work was running beside it",
        },
        "command": ".venv/bin/python benchmarks/als_ingest.py",
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["entries_per_cpu_s"]))


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
