"""A Kubernetes API server for tests: real HTTP, real watches, objects in memory.

What it answers follows the documentation of Kubernetes, named in each module; what no controller
of a real cluster does (scheduling, rollouts, service networking) does not happen here either.
"""

from tests.kubernetes.apiserver.faults import Faults
from tests.kubernetes.apiserver.server import ApiServer

__all__ = ["ApiServer", "Faults"]
