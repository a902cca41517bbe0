"""The environment of a server process that is measured: as `weir serve` sets it for itself."""

from __future__ import annotations

import os

from controlplane.settings import GRPC_EXPERIMENTS


def environment() -> dict[str, str]:
    """Ours, with the engine of gRPC that `weir serve` chooses unless one is given."""
    return {"GRPC_EXPERIMENTS": GRPC_EXPERIMENTS, **os.environ}
