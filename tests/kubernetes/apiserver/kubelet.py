"""What the nodes would answer of their pods: logs, and who listens on a port.

Nothing runs in a pod here. A test says what a container wrote and which address stands in for a
port.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.kubernetes.apiserver import errors
from tests.kubernetes.apiserver.errors import Object
from tests.kubernetes.apiserver.requests import Request


@dataclass
class Kubelet:
    """Of all nodes."""

    logs: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    """By namespace, pod and container."""
    previous: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    """Of the container before it was started again."""
    ports: dict[tuple[str, str, int], tuple[str, int]] = field(default_factory=dict)
    """By namespace, pod and port: where somebody listens."""

    def log(self, request: Request, pod: Object) -> bytes:
        """https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#get-read-log-of-the-specified-pod"""
        containers = [one["name"] for one in pod["spec"]["containers"]]
        wanted = request.query.get("container") or containers[0]
        if wanted not in containers:
            raise errors.bad_request(f"container {wanted} is not valid for pod {request.name}")
        kept = self.previous if request.flag("previous") else self.logs
        key = (request.namespace, request.name, wanted)
        if key not in kept and request.flag("previous"):
            raise errors.bad_request(
                f'previous terminated container "{wanted}" in pod "{request.name}" not found'
            )
        lines = kept.get(key, b"").splitlines(keepends=True)
        tail = request.whole("tailLines", len(lines))
        found = b"".join(lines[len(lines) - min(tail, len(lines)) :])
        return found[: request.whole("limitBytes", len(found))]
