"""`python -m tests.kubernetes.apiserver --port 0 --kubeconfig FILE`: an API to play with."""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path

from tests.kubernetes.apiserver.server import ApiServer


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.kubernetes.apiserver", description=__doc__
    )
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--kubeconfig", type=Path, help="write here what clients need")
    given = parser.parse_args()
    stop = threading.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: stop.set())
    with ApiServer(given.port) as server:
        if given.kubeconfig:
            server.write_kubeconfig(given.kubeconfig)
        print(f"serving {server.url}", flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
