"""The speed table of the xDS server, how its cost grows, and what storms do: one run, one table.

    python -m benchmarks.xds_table            # about 10 minutes
    python -m benchmarks.xds_table --quick    # the first row alone, to see that it runs

Every line is a run of benchmarks/xds_push.py in processes of its own, which keeps its result and a
note of the machine in benchmarks/results/xds_push.json. Written besides: xds_table.md, and
xds_growth.png with the cost of a push against streams and endpoints.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PUSH = RESULTS / "xds_push.json"


@dataclass(frozen=True)
class Row:
    """One line of the table. The two others were measured before on a machine of this kind."""

    streams: int
    clusters: int
    endpoints: int
    changed: int
    linear_us: int
    """go-control-plane's LinearCache, microseconds of CPU a push."""
    snapshot_us: int
    """Its SnapshotCache."""
    target_us: int


TABLE = (
    Row(1000, 1, 100, 1, 66, 141, 95),
    Row(500, 100, 100, 1, 192, 7339, 110),
    Row(100, 100, 100, 100, 530, 9236, 345),
    Row(1000, 1, 1000, 1, 81, 833, 130),
)
STREAMS = (10, 100, 1000, 5000)
ENDPOINTS = (10, 100, 1000, 10_000)


def push(*options: str) -> dict[str, Any]:
    """One run; its row of results."""
    command = [sys.executable, "-m", "benchmarks.xds_push", *options]
    print(" ".join(command[1:]), file=sys.stderr, flush=True)
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, timeout=600)
    print(done.stdout, file=sys.stderr, end="", flush=True)
    saved: dict[str, dict[str, Any]] = json.loads(PUSH.read_text())
    return saved[done.stdout.splitlines()[0]]


def sized(streams: int, clusters: int, endpoints: int, changed: int) -> dict[str, Any]:
    pushes = max(2, min(20, 20_000 // streams))  # about as many pushes in each round
    return push(
        *("--streams", str(streams), "--clusters", str(clusters)),
        *("--endpoints", str(endpoints), "--changed", str(changed)),
        *("--pushes", str(pushes), "--rounds", "3"),
    )


def table(rows: list[tuple[Row, dict[str, Any]]]) -> list[str]:
    lines = [
        "| streams x clusters x endpoints, changed | LinearCache, SnapshotCache | ours | at most |"
        " 99 of 100 streams, all of them after a change |",
        "|---|---|---|---|---|",
    ]
    for row, got in rows:
        lines.append(
            f"| {row.streams:,} x {row.clusters} x {row.endpoints}, {row.changed} "
            f"| {row.linear_us} us, {row.snapshot_us:,} us "
            f"| {got['server_cpu_us_per_push']:.0f} us | {row.target_us} us "
            f"| {got['99_of_100_streams_converged_median_ms']} ms, "
            f"{got['all_streams_converged_median_ms']} ms |"
        )
    memory = rows[0][1]["kb_per_stream"]
    return [*lines, f"| memory of a stream | 46 kB | {memory:.0f} kB | 46 kB | |"]


def plot(streams: dict[int, float], endpoints: dict[int, float]) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
    both = ((streams, "streams, 100 endpoints"), (endpoints, "endpoints, 100 streams"))
    for axis, (values, label) in zip(axes, both, strict=True):
        axis.plot(list(values), list(values.values()), marker="o")
        axis.set(xscale="log", yscale="log", xlabel=label)
        axis.grid(visible=True, alpha=0.3)
    axes[0].set_ylabel("server CPU of a push, us")
    figure.tight_layout()
    figure.savefig(RESULTS / "xds_growth.png", dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    rows = [
        (row, sized(row.streams, row.clusters, row.endpoints, row.changed))
        for row in TABLE[: 1 if quick else None]
    ]
    lines = table(rows)
    print("\n".join(lines))
    if quick:
        return
    cost = "server_cpu_us_per_push"
    by_streams = {n: sized(n, 1, 100, 1)[cost] for n in STREAMS}
    by_endpoints = {n: sized(100, 1, n, 1)[cost] for n in ENDPOINTS}
    plot(by_streams, by_endpoints)
    storm = push("--connect-storm", "5000")
    all_read = push("--streams", "500", "--rounds", "3")
    stalled = push("--streams", "500", "--stalled", "100", "--rounds", "3")
    lines += [
        "",
        f"Push by streams (100 endpoints): {_list(by_streams)}. By endpoints (100 streams): "
        f"{_list(by_endpoints)}.",
        "",
        f"5,000 connects at once: {storm['lost']} lost, all converged in "
        f"{storm['all_converged_s']} s. 500 streams, all converged (median): "
        f"{all_read['all_streams_converged_median_ms']} ms; the others while 100 of them do not "
        f"read: {stalled['all_streams_converged_median_ms']} ms, and the server grew by "
        f"{stalled['grown_kb']:,} kB over {3 * 20} pushes.",
    ]
    (RESULTS / "xds_table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def _list(values: dict[int, float]) -> str:
    return ", ".join(f"{n:,}: {value:.0f} us" for n, value in values.items())


if __name__ == "__main__":
    main()
