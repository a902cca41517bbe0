"""How much of a learned policy acts: w = (1 - p) base + p learned. Analytic ones act in full."""

from __future__ import annotations

from dataclasses import replace

from controlplane.model import Proposal, Rollout


def acting(proposal: Proposal, rollout: Rollout) -> Proposal:
    """The part of a proposal that is to act.

    A share of 0 takes the base as it is: nothing that a shadow proposes, NaN included, gets in.
    """
    if proposal.base is None or rollout.share >= 1.0:
        return proposal
    if rollout.share <= 0.0:
        note = f"{proposal.policy} in shadow: its base acts"
        return replace(proposal, shares=proposal.base, notes=(*proposal.notes, note))
    p = rollout.share
    mixed = (1.0 - p) * proposal.base + p * proposal.shares
    note = f"{p:.0%} of {proposal.policy} acts"
    return replace(proposal, shares=mixed, notes=(*proposal.notes, note))
