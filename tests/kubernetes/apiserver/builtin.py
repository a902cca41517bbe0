"""The built-in kinds that are served.

https://kubernetes.io/docs/reference/generated/kubernetes-api/
"""

from __future__ import annotations

from tests.kubernetes.apiserver.kinds import Column, Kind, Scale

_REPLICAS = Scale(".spec.replicas", ".status.replicas", ".status.selector")
_AGE = Column("Age", ".metadata.creationTimestamp", "date")
_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"
_EVENT = (
    Column("Last Seen", ".lastTimestamp", "date"),
    Column("Type", ".type"),
    Column("Reason", ".reason"),
    Column("Object", ".involvedObject.name"),
    Column("Message", ".message"),
)
_EVENTS = (
    Column("Last Seen", ".deprecatedLastTimestamp", "date"),
    Column("Type", ".type"),
    Column("Reason", ".reason"),
    Column("Object", ".regarding.name"),
    Column("Message", ".note"),
)

BUILTIN: tuple[Kind, ...] = (
    Kind("", "v1", "Namespace", "namespaces", False, ("ns",), status=True,
         columns=(Column("Status", ".status.phase"), _AGE)),
    Kind("", "v1", "Node", "nodes", False, ("no",), status=True,
         columns=(Column("Status", '.status.conditions[?(@.type=="Ready")].status'), _AGE,
                  Column("Version", ".status.nodeInfo.kubeletVersion"))),
    Kind("", "v1", "Pod", "pods", True, ("po",), ("all",), status=True, generation=True,
         columns=(Column("Status", ".status.phase"), _AGE,
                  Column("IP", ".status.podIP", priority=1),
                  Column("Node", ".spec.nodeName", priority=1))),
    Kind("", "v1", "Service", "services", True, ("svc",), ("all",), status=True,
         columns=(Column("Type", ".spec.type"), Column("Cluster-IP", ".spec.clusterIP"),
                  Column("Port(s)", ".spec.ports[*].port"), _AGE)),
    Kind("", "v1", "ConfigMap", "configmaps", True, ("cm",),
         columns=(Column("Data", ".data", "count"), _AGE)),
    Kind("", "v1", "Secret", "secrets", True,
         columns=(Column("Type", ".type"), Column("Data", ".data", "count"), _AGE)),
    Kind("", "v1", "ServiceAccount", "serviceaccounts", True, ("sa",), columns=(_AGE,)),
    Kind("", "v1", "Endpoints", "endpoints", True, ("ep",), columns=(_AGE,)),
    Kind("", "v1", "Event", "events", True, ("ev",), columns=_EVENT),
    Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", True, ("pvc",), status=True,
         columns=(Column("Status", ".status.phase"), _AGE)),
    Kind("", "v1", "ResourceQuota", "resourcequotas", True, ("quota",), status=True,
         columns=(_AGE,)),
    Kind("", "v1", "LimitRange", "limitranges", True, ("limits",), columns=(_AGE,)),
    Kind("apps", "v1", "Deployment", "deployments", True, ("deploy",), ("all",), status=True,
         scale=_REPLICAS, generation=True,
         columns=(Column("Ready", ".status.readyReplicas .spec.replicas", "ratio"),
                  Column("Up-to-date", ".status.updatedReplicas", "integer"),
                  Column("Available", ".status.availableReplicas", "integer"), _AGE)),
    Kind("apps", "v1", "ReplicaSet", "replicasets", True, ("rs",), ("all",), status=True,
         scale=_REPLICAS, generation=True,
         columns=(Column("Desired", ".spec.replicas", "integer"),
                  Column("Ready", ".status.readyReplicas", "integer"), _AGE)),
    Kind("apps", "v1", "StatefulSet", "statefulsets", True, ("sts",), ("all",), status=True,
         scale=_REPLICAS, generation=True,
         columns=(Column("Ready", ".status.readyReplicas .spec.replicas", "ratio"), _AGE)),
    Kind("apps", "v1", "DaemonSet", "daemonsets", True, ("ds",), ("all",), status=True,
         generation=True, columns=(Column("Ready", ".status.numberReady", "integer"), _AGE)),
    Kind("batch", "v1", "Job", "jobs", True, (), ("all",), status=True, generation=True,
         columns=(Column("Succeeded", ".status.succeeded", "integer"), _AGE)),
    Kind("batch", "v1", "CronJob", "cronjobs", True, ("cj",), ("all",), status=True,
         generation=True, columns=(Column("Schedule", ".spec.schedule"), _AGE)),
    Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", True, generation=True,
         columns=(Column("AddressType", ".addressType"), Column("Ports", ".ports[*].port"),
                  Column("Endpoints", ".endpoints[*].addresses[0]"), _AGE)),
    Kind("coordination.k8s.io", "v1", "Lease", "leases", True,
         columns=(Column("Holder", ".spec.holderIdentity"), _AGE)),
    Kind("events.k8s.io", "v1", "Event", "events", True, ("ev",), stored=False,
         stored_as="events", columns=_EVENTS),
    Kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", True, ("hpa",),
         ("all",), status=True,
         columns=(Column("Reference", ".spec.scaleTargetRef.name"),
                  Column("MinPods", ".spec.minReplicas", "integer"),
                  Column("MaxPods", ".spec.maxReplicas", "integer"), _AGE)),
    Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", True, ("pdb",), status=True,
         generation=True,
         columns=(Column("Min Available", ".spec.minAvailable"),
                  Column("Max Unavailable", ".spec.maxUnavailable"), _AGE)),
    Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", True, ("netpol",),
         generation=True, columns=(_AGE,)),
    Kind("networking.k8s.io", "v1", "Ingress", "ingresses", True, ("ing",), status=True,
         generation=True, columns=(Column("Class", ".spec.ingressClassName"), _AGE)),
    Kind(_RBAC, "v1", "Role", "roles", True, columns=(_AGE,)),
    Kind(_RBAC, "v1", "RoleBinding", "rolebindings", True,
         columns=(Column("Role", ".roleRef.name"), _AGE)),
    Kind(_RBAC, "v1", "ClusterRole", "clusterroles", False, columns=(_AGE,)),
    Kind(_RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", False,
         columns=(Column("Role", ".roleRef.name"), _AGE)),
    Kind(_ADMISSION, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations",
         False, generation=True, columns=(_AGE,)),
    Kind("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", False, ("pc",),
         generation=True, columns=(Column("Value", ".value", "integer"), _AGE)),
    Kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions",
         False, ("crd", "crds"), ("api-extensions",), status=True, generation=True,
         unconditional=False, columns=(Column("Created At", ".metadata.creationTimestamp"),)),
)  # fmt: skip

SYSTEM_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
