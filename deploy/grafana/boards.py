"""All dashboards, in the order in which they are linked."""

from __future__ import annotations

from deploy.grafana import capacity, data_path, fleet, learning, service, xds

BOARDS = tuple(one.BOARD for one in (fleet, service, xds, data_path, learning, capacity))
