"""What serving says of a decision is what captum says of the network, and sums to what was done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import ShapleyValueSampling

from controlplane.decide.learned import Learned, released
from controlplane.decide.queueing import QueueingModel
from controlplane.model.attribution import Attribution
from controlplane.model.features import FEATURES, features_of
from controlplane.model.observation import Floats
from policies.agents.network import Actor, Bounded, Released
from policies.training.card import card
from policies.training.export import TOLERANCE, export, largest_difference
from policies.training.importance import Decisions, Moves, effects, importance, swaps
from policies.training.read_back import read_back
from tests.learning.test_training import lively, some_table
from tests.unit.decide.test_learned import situations

pytestmark = pytest.mark.learning

FOLDER = released("learned")
AGREE = 2e-4
"""Of a share: the derivatives of serving are differences of numbers with 24 bits."""


def network() -> Released:
    return read_back(FOLDER / "model.onnx", 0.7)


def served(endpoints: int, groups: int) -> tuple[Attribution, Decisions]:
    """A decision, attributed by serving, and what it was about."""
    policy = Learned(QueueingModel())
    (situation,) = situations(1, endpoints, groups)
    base = policy.propose([situation])[0].base
    assert base is not None
    seen = features_of([situation], [base]).table
    return policy.attribute(situation, base), Decisions(seen, base[None].astype(np.float32))


def test_a_released_network_is_read_back(tmp_path: Path) -> None:
    """Also one that is deeper; whether it is centred shows in its answers alone."""
    actor = Actor(24, 3, centred=True)
    torch.nn.init.normal_(actor.head.weight, std=0.3)
    export(actor, tmp_path / "model.onnx")
    found = read_back(tmp_path / "model.onnx", 0.7)
    assert found.actor.centred
    export(lively(), tmp_path / "other.onnx")
    assert not read_back(tmp_path / "other.onnx", 0.7).actor.centred
    for name, value in actor.state_dict().items():
        assert torch.equal(value, found.actor.state_dict()[name])
    assert largest_difference(network(), (FOLDER / "model.onnx").read_bytes()) <= TOLERANCE


def test_a_network_that_squashes_its_answers_is_read_back_too(tmp_path: Path) -> None:
    squashed = Bounded(lively())
    export(squashed, tmp_path / "model.onnx")
    found = read_back(tmp_path / "model.onnx", 0.7).actor
    assert isinstance(found, Bounded)
    assert all(
        torch.equal(value, found.state_dict()[n]) for n, value in squashed.state_dict().items()
    )


@pytest.mark.parametrize(("endpoints", "groups"), [(8, 2), (12, 3), (20, 5)])
def test_serving_and_captum_agree_about_the_released_network(endpoints: int, groups: int) -> None:
    found, decision = served(endpoints, groups)
    by_captum, answer = effects(Moves(network()), decision, points=found.points)
    assert np.allclose(found.answer, answer[0], atol=AGREE)
    assert np.allclose(found.effects, by_captum[0], atol=AGREE)
    assert np.abs(by_captum).max() > 50 * AGREE


def test_captum_sums_to_what_was_done_at_any_size() -> None:
    """Completeness, where the network is far from linear."""
    table, base = some_table(6, 4).numpy(), np.full((6, 4), 0.25, np.float32)
    found, answer = effects(Moves(Released(lively(), 2.0)), Decisions(table, base), points=200)
    assert np.abs(answer).max() > 0.1
    assert np.abs(found.sum(axis=2) - answer).max() < 0.02 * np.abs(answer).max()


def test_shapley_values_sum_to_the_same_and_name_the_same_features() -> None:
    """Another method with the same axiom (Castro, Gomez and Tejada 2009): features join in random
    order, each for all groups of the service together."""
    found, decision = served(12, 2)
    table, base = torch.from_numpy(decision.table), torch.from_numpy(decision.base)
    alike = table.mean(1, keepdim=True).expand_as(table).contiguous()
    torch.manual_seed(0)
    shapley: Floats = (
        ShapleyValueSampling(Moves(network()))
        .attribute(
            table, alike, target=0, additional_forward_args=(base,), n_samples=30,
            feature_mask=torch.arange(len(FEATURES)).repeat(1, 2, 1),
        )[0, 0].detach().numpy()
    )  # fmt: skip
    assert shapley.sum() == pytest.approx(found.answer[0], abs=AGREE)
    largest = np.argsort(-np.abs(found.effects[0]))[:5]
    assert set(largest[:2]) <= set(np.argsort(-np.abs(shapley))[:5])
    assert np.corrcoef(shapley, found.effects[0])[0, 1] > 0.9


def test_a_wrong_answer_would_not_agree() -> None:
    """The comparison can fail: the same decision by a network that is a little different."""
    found, decision = served(12, 3)
    other = network()
    with torch.no_grad():
        other.actor.head.weight[0, :8] += 0.3
    by_captum, _ = effects(Moves(other), decision, points=found.points)
    assert not np.allclose(found.effects, by_captum[0], atol=10 * AGREE)


class OneFeature(torch.nn.Module):  # type: ignore[misc]
    """Goes by the latency of a group, and by the load of the service."""

    def forward(self, table: torch.Tensor) -> torch.Tensor:
        latency, load = (table[:, :, FEATURES.index(name)] for name in ("latency", "load"))
        return -0.1 * latency * (1.0 + load)


def test_importance_finds_what_a_policy_goes_by() -> None:
    table, base = some_table(200, 2).numpy(), np.full((200, 2), 0.5, np.float32)
    load = FEATURES.index("load")
    table[:, :, load] = table[:, :1, load]
    some = Decisions(table, base)
    found = importance(Released(OneFeature(), 5.0), [some])["features"]
    assert max(found, key=lambda name: found[name]["effect"]) == "latency"
    assert found["load"]["effect"] == 0.0  # the same for both groups
    assert sorted(found, key=lambda name: -found[name]["swap"])[:2] == ["latency", "load"]
    assert {name for name, one in found.items() if one["swap"]} == {"latency", "load"}
    moves = Moves(Released(OneFeature(), 5.0))
    assert np.array_equal(swaps(moves, some), swaps(moves, some))


class Steps(torch.nn.Module):  # type: ignore[misc]
    """A policy that decides in steps has no gradient to integrate."""

    def forward(self, table: torch.Tensor) -> torch.Tensor:
        latency = table[:, :, FEATURES.index("latency")]
        return 0.0 * latency - 0.2 * (latency > 0.0).float()


def test_a_policy_that_decides_in_steps_is_told_by_swaps_alone() -> None:
    table, base = some_table(50, 2).numpy(), np.full((50, 2), 0.5, np.float32)
    found = importance(Released(Steps(), 1.0), [Decisions(table, base)])
    assert found["features"]["latency"]["effect"] is None
    assert found["features"]["latency"]["swap"] > 0.0
    text = card(some_manifest(), {"families": {}}, found)
    assert "decides in steps" in text
    assert "| `latency` | - |" in text


class AsBase(torch.nn.Module):  # type: ignore[misc]
    """What an algorithm gives that found nothing better."""

    def forward(self, table: torch.Tensor) -> torch.Tensor:
        return torch.zeros(table.shape[:2])


def test_a_policy_that_does_nothing_goes_by_nothing() -> None:
    table, base = some_table(9, 2).numpy(), np.full((9, 2), 0.5, np.float32)
    found = importance(Released(AsBase(), 1.0), [Decisions(table, base)])
    assert found["moved"] == 0.0
    assert not any(one["effect"] or one["swap"] for one in found["features"].values())


def some_manifest() -> dict[str, object]:
    recipe = {"algorithm": "dqn", "name": "x", "seed": 1}
    recipe |= {"scenarios": {"families": [], "endpoints": [], "proxies": []}}
    return {
        "name": "x", "base": "model", "bound": 0.7, "recipe": recipe, "digest": "", "commit": "",
        "training": {"step": 1, "steps": 1},
    }  # fmt: skip


def test_the_card_of_the_release_has_what_it_goes_by() -> None:
    text = (FOLDER / "card.md").read_text()
    assert "## What it goes by" in text
    assert "importance.png" in text
    assert (FOLDER / "importance.png").read_bytes().startswith(b"\x89PNG")
