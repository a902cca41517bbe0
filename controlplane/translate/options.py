"""What holds for every fleet of this control plane."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.translate.patches import Patcher


@dataclass(frozen=True, slots=True)
class TranslateOptions:
    """How Envoys report, and to whom."""

    access_logs: bool = True
    """Listeners send access logs to the cluster `weir` of the bootstrap."""
    endpoint_stats: bool = False
    """Clusters keep counters for each endpoint, for a Prometheus that scrapes Envoy. Envoy refuses
    them together with load reports: one or the other in a fleet."""
    control_cluster: str = "weir"
    """The cluster of the bootstrap that leads to us."""
    system_ca: str = "/etc/ssl/certs/ca-certificates.crt"
    """PEM file on the machines of the Envoys: the CAs of servers that Envoy asks over `https`."""
    patcher: Patcher | None = None
    """What uses EnvoyPatches; None: they are not used."""
