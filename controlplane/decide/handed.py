"""What another replica decided, as if it had been decided here. No policy is asked."""

from __future__ import annotations

from controlplane.decide.decider import Decided, Memory
from controlplane.decide.grouping import Grouped, carried
from controlplane.model import Handover, Observation, Proposal, Service, Situation


def handed(service: Service, one: Handover, look: Observation) -> Decided:
    """`look` is of this replica, which may see nothing. What is proposed is what is in force."""
    endpoints = tuple(endpoint.id for endpoint in service.endpoints)
    last = one.last
    grouping = carried(last.grouping, endpoints, one.estimate.align(endpoints))
    situation = Situation(service, look, one.estimate, grouping, last.shares)
    proposal = Proposal(last.shares, last.policy)
    grouped = Grouped(one.wanted, one.wanted_since_s, one=one.seen_enough)
    memory = Memory((), one.estimate.endpoints, None, one.estimate, grouped)
    return Decided(situation, proposal, proposal, memory, one.reasons)
