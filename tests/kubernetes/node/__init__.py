"""A node of a cluster without containers: what it takes to run the chart as it is written.

Beside the test API server it plays the controllers of Deployments and EndpointSlices, the kubelet,
kube-proxy and the DNS. A pod is processes of this machine in a network, a mount and a host name of
their own: the very arguments, environment, mounted files, read-only root and probes of its
template, as a user who may do all on the machine. What an image would bring is installed here
(`programs`). Not there: images, users, limits of memory and CPU, network policies, init containers
that end, several nodes, anything that the API server would ask a kubelet for (logs, exec,
port-forward). Wants root, for the namespaces.
"""

from tests.kubernetes.node.node import Node

__all__ = ["Node"]
