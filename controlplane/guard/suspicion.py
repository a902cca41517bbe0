"""Point 7: when most endpoints go bad at once it is the numbers, or what all of them need.

Either way moving traffic among them does not help. Also here: numbers that cover too little.
"""

from __future__ import annotations

from controlplane.guard.evidence import Evidence
from controlplane.guard.reasons import Code
from controlplane.model import GuardSettings, Observation, Reason


def suspicion(
    evidence: Evidence, look: Observation, endpoints: int, settings: GuardSettings
) -> Reason | None:
    """Why these numbers are not acted on, if so."""
    if evidence.bad > settings.suspect_ratio * endpoints:
        return Reason(
            Code.SUSPECT,
            f"{evidence.bad} of {endpoints} endpoints are bad at once, more than "
            f"{settings.suspect_ratio:.0%}: the numbers are suspect, nothing moves",
        )
    if not look.coverage >= settings.coverage:  # NaN is not enough either
        return Reason(
            Code.COVERAGE,
            f"the numbers cover {look.coverage:.0%} of what should report, below "
            f"{settings.coverage:.0%}: nothing moves",
        )
    return None
