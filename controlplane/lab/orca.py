"""What a backend says of itself in its answers: ORCA's requests a second, errors and utilisation.

Means over windows of a second, anew after each, as the simulator's endpoints report. Pure: the
caller keeps the time. Fields: xds.data.orca.v3.OrcaLoadReport; what Envoy's
client_side_weighted_round_robin makes of them: gRPC's proposal A58.
"""

from __future__ import annotations

import json

WINDOW_S = 1.0


class LoadReport:
    """The newest whole window of one backend."""

    def __init__(self, workers: int, now_s: float) -> None:
        self._workers = workers
        self._at_s = now_s
        self._until_s = now_s + WINDOW_S
        self._busy = self._ended = self._failed = 0
        self._busy_s = 0.0
        self.utilisation = self.rps = self.eps = 0.0
        """Part of the workers that were busy; requests, and failed ones, that ended a second."""

    def busy(self, workers: int, now_s: float) -> None:
        """So many workers are busy from now on."""
        self.advance(now_s)
        self._busy = workers

    def ended(self, now_s: float, *, failed: bool) -> None:
        """A request was answered."""
        self.advance(now_s)
        self._ended += 1
        self._failed += failed

    def advance(self, now_s: float) -> None:
        """Close the windows that have passed."""
        if now_s >= self._until_s:
            self._busy_s += self._busy * (self._until_s - self._at_s)
            self._at_s = self._until_s
            self._close()
            passed = int((now_s - self._at_s) / WINDOW_S)
            if passed:  # nothing began or ended in these
                self._busy_s = self._busy * WINDOW_S
                self._at_s += passed * WINDOW_S
                self._close()
            self._until_s = self._at_s + WINDOW_S
        self._busy_s += self._busy * max(0.0, now_s - self._at_s)
        self._at_s = max(now_s, self._at_s)

    def header(self) -> bytes:
        """`endpoint-load-metrics` with its name, without an end of line."""
        metrics = {
            "application_utilization": round(self.utilisation, 4),
            "rps_fractional": round(self.rps, 3),
            "eps": round(self.eps, 3),
        }
        return b"endpoint-load-metrics: JSON " + json.dumps(metrics).encode()

    def _close(self) -> None:
        self.utilisation = self._busy_s / (WINDOW_S * self._workers)
        self.rps = self._ended / WINDOW_S
        self.eps = self._failed / WINDOW_S
        self._busy_s, self._ended, self._failed = 0.0, 0, 0
