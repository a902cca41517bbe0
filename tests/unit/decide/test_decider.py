"""The stage: batches, fallbacks, shadow, memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from controlplane.decide import Asked, Decided, Decider, Policies
from controlplane.decide.capacity import Capacity
from controlplane.decide.equal import Equal
from controlplane.decide.learned import Learned
from controlplane.decide.queueing import QueueingModel
from controlplane.decide.registry import Maker
from controlplane.errors import NotExplainableError, PolicyLoadError, UnknownPolicyError
from controlplane.model import (
    Actuation,
    Grouping,
    Proposal,
    Rollout,
    Service,
    ServiceName,
    Situation,
)
from controlplane.model.observation import Floats
from tests.unit.decide.worlds import NAME, World, service, situation


class Says:
    """A policy that answers what it is told to, and counts its calls."""

    def __init__(self, shares: Sequence[float] | None = None, base: object = None) -> None:
        self.shares = shares
        self.calls: list[int] = []

    def propose(self, situations: Sequence[Situation]) -> Sequence[Proposal]:
        self.calls.append(len(situations))
        return [
            Proposal(
                np.array(self.shares)
                if self.shares is not None
                else np.full(len(s.grouping.names), 1 / len(s.grouping.names)),
                "says",
            )
            for s in situations
        ]


class Breaks(Says):
    """Fails when it meets a service of this name."""

    def propose(self, situations: Sequence[Situation]) -> Sequence[Proposal]:
        if any(s.service.name.startswith("bad/") for s in situations):
            raise ZeroDivisionError("in the policy")
        return super().propose(situations)


class Residual:
    def __init__(self, base: object) -> None:
        self.base = base

    def propose(self, situations: Sequence[Situation]) -> Sequence[Proposal]:
        out = []
        for s in situations:
            n = len(s.grouping.names)
            learned = np.zeros(n)
            learned[0] = 1.0
            out.append(Proposal(learned, "learned", base=np.full(n, 1.0 / n)))
        return out


def makers(**more: object) -> dict[str, Maker]:
    """Our analytic policies, and others."""
    made: dict[str, Maker] = {
        "equal": lambda: Equal,
        "capacity": lambda: Capacity,
        "model": lambda: QueueingModel,
    }
    for name, value in more.items():
        made[name] = partial(_same, value)
    return made


def _same(value: object) -> object:
    return value


def even(_: Service, grouping: Grouping) -> Floats:
    return np.asarray(grouping.sizes / max(1, grouping.sizes.sum()), dtype=np.float64)


def run(policies: Policies, services: Sequence[Service]) -> Sequence[Decided]:
    return Decider(policies).decide([Asked(s, None) for s in services], 1.0, even)


def each(n: int = 3, name: str = "test/cart", **fields: object) -> Service:
    return replace(service(n, actuation=Actuation.ENDPOINTS, **fields), name=ServiceName(name))


def test_our_own_policies_come_in_by_entry_points() -> None:
    policies = Policies.installed()
    assert {"equal", "capacity", "model", "learned"} <= set(policies.names)
    assert policies.get("model") is policies.get("model")


def test_an_unknown_policy_says_what_is_installed() -> None:
    with pytest.raises(UnknownPolicyError, match=r"'wild'.*capacity, equal, model"):
        Policies(makers()).get("wild")


def test_a_residual_is_built_on_the_model() -> None:
    policies = Policies(makers(res=Residual))
    built = policies.get("res")
    assert isinstance(built, Residual)
    assert built.base is policies.get("model")


@pytest.mark.parametrize("broken", [dict, 7])
def test_what_is_no_policy_is_refused(broken: object) -> None:
    with pytest.raises(PolicyLoadError, match="res"):
        Policies(makers(res=broken)).get("res")


def test_each_policy_is_called_once_for_all_of_its_services() -> None:
    says = Says()
    policies = Policies(makers(says=lambda: says))
    services = [each(name=f"a/{i}", policy="says") for i in range(5)]
    decided = run(policies, [*services, each(name="a/other", policy="equal")])
    assert says.calls == [5]
    assert [d.proposal.policy for d in decided] == ["says"] * 5 + ["equal"]
    assert [d.situation.service.name for d in decided][:2] == ["a/0", "a/1"]


def test_one_bad_service_does_not_take_the_batch_with_it() -> None:
    policies = Policies(makers(breaks=Breaks))
    names = ["a/0", "bad/1", "a/2"]
    decided = run(policies, [each(name=name, policy="breaks") for name in names])
    assert [d.proposal.policy for d in decided] == ["says", "model", "says"]
    assert decided[0].reasons == ()
    assert [r.code for r in decided[1].reasons] == ["policy_failed", "fallback"]
    assert "ZeroDivisionError" in decided[1].reasons[0].text


def test_a_policy_that_always_fails_is_not_asked_a_thousand_times() -> None:
    class Broken(Says):
        def propose(self, situations: Sequence[Situation]) -> Sequence[Proposal]:
            self.calls.append(len(situations))
            raise RuntimeError("no")

    broken = Broken()
    decided = run(
        Policies(makers(broken=lambda: broken)),
        [each(name=f"a/{i}", policy="broken") for i in range(1000)],
    )
    assert len(broken.calls) < 10
    assert {d.proposal.policy for d in decided} == {"model"}


@pytest.mark.parametrize("shares", [[1.0], [0.25] * 4, []])
def test_shares_of_the_wrong_shape_fall_back(shares: list[float]) -> None:
    policies = Policies(makers(says=lambda: Says(shares)))
    (decided,) = run(policies, [each(policy="says", fallback="capacity")])
    assert decided.proposal.policy == "capacity"
    assert "shape" in decided.reasons[0].text


def test_too_few_proposals_fall_back() -> None:
    class Short(Says):
        def propose(self, situations: Sequence[Situation]) -> Sequence[Proposal]:
            return []

    (decided,) = run(Policies(makers(short=Short)), [each(policy="short")])
    assert decided.proposal.policy == "model"


def test_without_policy_and_fallback_it_is_equal() -> None:
    (decided,) = run(Policies({}), [each(4, policy="wild", fallback="wilder")])
    assert decided.proposal.shares.tolist() == [0.25] * 4
    assert [r.code for r in decided.reasons] == ["policy_unknown", "policy_unknown", "fallback"]


@pytest.mark.parametrize(
    ("rollout", "first"),
    [
        (Rollout("shadow"), 1 / 3),
        (Rollout("canary", 25.0), 0.75 / 3 + 0.25),
        (Rollout("full"), 1.0),
    ],
)
def test_a_rollout_mixes_what_was_learned_with_its_base(rollout: Rollout, first: float) -> None:
    policies = Policies(makers(res=Residual))
    (decided,) = run(policies, [each(policy="res", rollout=rollout)])
    assert decided.proposal.shares[0] == pytest.approx(first)
    assert decided.wanted.shares.tolist() == [1.0, 0.0, 0.0], "shadow is still reported"


def test_an_analytic_policy_always_acts_in_full() -> None:
    policies = Policies(makers(says=lambda: Says([0.7, 0.2, 0.1])))
    (decided,) = run(policies, [each(policy="says", rollout=Rollout("shadow"))])
    assert decided.proposal.shares.tolist() == [0.7, 0.2, 0.1]


def test_endpoint_weights_that_say_little_are_equal() -> None:
    policies = Policies(makers(says=lambda: Says([0.35, 0.33, 0.32])))
    (decided,) = run(policies, [each(policy="says")])
    assert decided.proposal.shares.tolist() == [1 / 3] * 3
    assert decided.wanted.shares.tolist() == [0.35, 0.33, 0.32]


def test_memory_goes_in_and_out_and_nothing_is_kept_inside() -> None:
    world = World(np.array([80.0, 80.0, 20.0, 20.0]))
    of = replace(world.service, actuation=Actuation.ENDPOINTS)
    first, second = Decider(Policies.installed()), Decider(Policies.installed())
    memory = None
    for tick in range(20):
        look = world.look(0.6 * world.capacity)
        asked = [Asked(of, look, memory)]
        one = first.decide(asked, float(tick), even)[0]
        other = second.decide(asked, float(tick), even)[0]
        assert one.proposal.shares.tolist() == other.proposal.shares.tolist()
        memory = one.memory
    assert one.proposal.shares[0] > 2 * one.proposal.shares[3]


def test_a_look_at_other_endpoints_is_put_in_the_order_of_those_declared() -> None:
    world = World(np.array([80.0, 40.0, 20.0]))
    turned = replace(
        world.service,
        endpoints=world.service.endpoints[::-1],
        actuation=Actuation.ENDPOINTS,
    )
    decider, memory = Decider(Policies.installed()), None
    for tick in range(20):
        look = world.look(0.6 * world.capacity)
        (made,) = decider.decide([Asked(turned, look, memory)], float(tick), even)
        memory = made.memory
    assert made.situation.estimate.endpoints == tuple(e.id for e in turned.endpoints)
    assert made.situation.estimate.capacity_rps.argmax() == 2


def test_endpoints_may_come_and_go_between_decisions() -> None:
    world = World(np.full(6, 40.0))
    decider, memory = Decider(Policies.installed()), None
    for count in (6, 5, 5, 2, 6, 1, 6):
        of = replace(world.service, endpoints=world.service.endpoints[:count])
        look = world.look(0.6 * world.capacity)
        (made,) = decider.decide([Asked(of, look, memory)], world.now_s, even)
        memory = made.memory
        assert made.proposal.shares.sum() == pytest.approx(1.0)
        assert len(made.situation.grouping.endpoints) == count


def test_a_service_without_endpoints_gets_an_empty_proposal() -> None:
    (made,) = run(Policies.installed(), [Service(NAME, (), policy="model")])
    assert made.proposal.shares.shape == (0,)


def test_a_label_that_is_no_number_counts_as_not_declared() -> None:
    of = service(2)
    odd = [
        replace(e, labels={"weir.dev/capacity": text})
        for e, text in zip(of.endpoints, ("many", "-3"), strict=True)
    ]
    (made,) = run(Policies.installed(), [replace(of, endpoints=tuple(odd))])
    assert made.memory.capacities is None


def test_what_a_formula_wants_has_no_attributions_and_that_is_said() -> None:
    policies = Policies(makers())
    (decided,) = run(policies, [each()])
    with pytest.raises(NotExplainableError, match="'model' is a formula"):
        Decider(policies).attribute(decided)


def test_what_a_learned_policy_wants_is_shared_out() -> None:
    policies = Policies(makers(learned=Learned))
    asked = situation(World(np.array([80.0, 80.0, 20.0, 20.0])).watched(20), [0, 0, 1, 1])
    (decided,) = run(policies, [each()])
    (wanted,) = policies.get("learned").propose([asked])
    found = Decider(policies).attribute(replace(decided, situation=asked, wanted=wanted))
    assert wanted.base is not None
    moved = np.log(wanted.shares / wanted.base)
    assert np.abs(moved).max() > 1e-3
    assert np.allclose(found.effects.sum(axis=1), moved, atol=1e-3)
