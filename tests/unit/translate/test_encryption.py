"""Backends that must be spoken to with TLS are never spoken to without it."""

from __future__ import annotations

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType

from controlplane.translate import Translator
from controlplane.translate.types import CLUSTER, SECRET
from tests.unit.resources.documents import BACKEND, GATEWAY, ROUTE, joined, read
from tests.unit.translate.scenes import all_services, even

POLICY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: web}
spec:
  targetRefs: [{group: weir.dev, kind: Backend, name: web}]
  validation: {hostname: web.test, caCertificateRefs: [{kind: ConfigMap, name: gone}]}
"""


def test_without_a_ca_to_believe_nothing_is_sent() -> None:
    loaded = read({"all.yaml": joined(GATEWAY, ROUTE, BACKEND, POLICY)})
    (problem,) = loaded.problems
    assert "answered 503" in problem.message
    services = all_services(loaded.declared)
    edge, _ = Translator().snapshots(loaded.declared, services, even(services))
    made = Cluster.parse(edge.resources[CLUSTER]["default/web"])
    assert (made.type, made.load_assignment) == (ClusterDiscoveryType.STATIC, None)
    assert not edge.resources[SECRET]
