from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from controlplane.decide.learned import Learned
from controlplane.decide.queueing import QueueingModel
from controlplane.model import Proposal, Reason, Situation, Verdict, Weights
from controlplane.model.decisions import Decision, Record, outcome_of, records_of
from controlplane.model.features import FEATURES, features
from controlplane.model.residual import corrected
from tests.fakes import look, service
from tests.unit.decide.test_learned import situations


def decided(situation: Situation, acts: Proposal) -> Decision:
    groups = len(situation.grouping.names)
    verdict = Verdict(
        situation.service,
        situation.grouping,
        acts.shares,
        Weights((1,) * groups),
        changed=True,
        reasons=(Reason("stepped", "a step"),),
    )
    return Decision(1e9, 7.0, situation, acts, None, verdict)


def test_the_table_is_what_the_policy_saw_to_the_last_bit() -> None:
    policy = Learned(base=QueueingModel())
    asked = [*situations(2, 8, 4), *situations(1, 9, 3)]
    proposals = policy.propose(asked)
    records = records_of([decided(s, p) for s, p in zip(asked, proposals, strict=True)])
    assert len(records) == 3
    for one, situation, proposal in zip(records, asked, proposals, strict=True):
        kept = msgspec.json.decode(msgspec.json.encode(one), type=Record)
        assert kept == one
        table = np.frombuffer(kept.table, "<f4").reshape(1, -1, len(FEATURES))
        residual = np.clip(policy._run(table)[0], -kept.bound, kept.bound)
        np.testing.assert_array_equal(table[0], features(situation, np.array(kept.base)))
        again = corrected(np.array(kept.base), residual)
        np.testing.assert_allclose(again, proposal.shares, rtol=1e-6)
        assert (kept.policy, kept.digest) == ("learned", policy.release.digest)
        assert kept.passed
        assert kept.reasons == ("stepped",)


def test_what_no_correction_can_act_on_is_left_out() -> None:
    (groups,), (endpoints,) = situations(1, 6, 3), situations(1, 6, 6, by_locality=False)
    shares = np.full(3, 1 / 3)
    kept = [
        decided(groups, Proposal(shares, "equal")),
        decided(endpoints, Proposal(np.full(6, 1 / 6), "model")),
        decided(groups, Proposal(np.array([0.5, 0.5, np.nan]), "mine", base=shares)),
        decided(groups, Proposal(shares, "mine", base=shares)),
    ]
    assert [one.policy for one in records_of(kept)] == ["mine"]
    assert records_of([]) == []


def test_an_outcome_is_of_the_service_as_a_whole() -> None:
    seen = look(
        service(endpoints=3),
        9.0,
        succeeded=[90.0, 40.0, np.nan],
        failed=[10.0, 10.0, np.nan],
        latency_s=[0.01, 0.04, np.nan],
        latency_samples=[9.0, 3.0, np.nan],
    )
    found = outcome_of(replace(seen, window_s=2.0))
    assert found.rate_rps == 75.0
    assert found.error_ratio == pytest.approx(20.0 / 150.0)
    assert found.latency_s == pytest.approx((0.01 * 9 + 0.04 * 3) / 12)


def test_what_was_not_seen_is_not_known() -> None:
    nothing = [np.nan] * 2
    seen = look(service(endpoints=2), 9.0, succeeded=nothing, failed=nothing, latency_s=nothing)
    found = outcome_of(seen)
    assert (found.rate_rps, found.error_ratio, found.latency_s) == (None, None, None)
    idle = outcome_of(look(service(endpoints=2), 9.0, succeeded=[0.0] * 2, latency_s=nothing))
    assert (idle.rate_rps, idle.error_ratio, idle.latency_s) == (0.0, None, None)
