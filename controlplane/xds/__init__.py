"""The xDS server, as a library too.

Knows the protocol and nothing of what the resources mean. `stream` is the protocol without any
I/O; `cache` holds what each group of Envoys should run; `server` joins both to gRPC.
"""

from controlplane.xds.cache import SnapshotCache
from controlplane.xds.envelope import Node
from controlplane.xds.server import Limits, XdsServer

__all__ = ["Limits", "Node", "SnapshotCache", "XdsServer"]
