"""Documents that tests start from."""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.resources import Loaded, load

GATEWAY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  listeners:
    - {name: http, port: 8080, protocol: HTTP}
"""

ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs:
    - name: edge
  rules:
    - backendRefs:
        - {group: weir.dev, kind: Backend, name: web}
"""

BACKEND = """\
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: web}
spec:
  endpoints:
    - ip: {address: 10.0.0.1, port: 8080}
      labels: {weir.dev/class: fast}
      zone: a
    - ip: {address: 10.0.0.2, port: 8080}
"""

POLICY = """\
apiVersion: weir.dev/v1alpha1
kind: BalancingPolicy
metadata: {name: web}
spec:
  targetRefs:
    - {group: weir.dev, kind: Backend, name: web}
  policy: model
"""

POLICIES = ("equal", "capacity", "pid", "model", "learned")


def read(files: Mapping[str, str | bytes | OSError], previous: Loaded | None = None) -> Loaded:
    """Load these files after what was loaded before."""
    raw = {name: one.encode() if isinstance(one, str) else one for name, one in files.items()}
    return load(previous or Loaded(), raw, POLICIES)


def joined(*documents: str) -> str:
    """Several documents in one file."""
    return "---\n".join(documents)
