from __future__ import annotations

import subprocess
import sys

LOOK = "import sys, controlplane.cli.serve; print('grpc' in sys.modules)"


def test_the_engine_of_grpc_is_chosen_before_grpc_is_loaded() -> None:
    """gRPC reads its environment once."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "False"
