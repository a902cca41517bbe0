"""The xDS server, as a library too.

Knows the protocol and nothing of what the resources mean. `stream` is the protocol without any
I/O; `cache` holds what each group of Envoys should run; `server` joins both to gRPC.
"""

import os

# Read when gRPC is imported, so it cannot wait. We never use gRPC in a forked child, and its
# handlers for that case abort the child now and then (an Envoy of the demo, status -6).
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from controlplane.xds.cache import SnapshotCache
from controlplane.xds.envelope import Node
from controlplane.xds.gate import Gate
from controlplane.xds.identity import Binding
from controlplane.xds.server import Limits, XdsServer
from controlplane.xds.tls import Tls

__all__ = ["Binding", "Gate", "Limits", "Node", "SnapshotCache", "Tls", "XdsServer"]
