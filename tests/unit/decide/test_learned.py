"""The learned policy: only a release that holds is loaded, and what it says stays bounded."""

# ruff: noqa: ANN401 - onnx has no types
from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from controlplane.decide.learned import (
    MOST_CELLS,
    NO_OBJECTIVE,
    OTHER_OBJECTIVE,
    Learned,
    _portions,
    released,
)
from controlplane.decide.queueing import QueueingModel
from controlplane.errors import NotExplainableError, PolicyLoadError
from controlplane.model import (
    Endpoint,
    Estimate,
    Grouping,
    Observation,
    Service,
    ServiceName,
    Situation,
)
from controlplane.model.attribution import CLOSE, alike
from controlplane.model.estimate import fold_all
from controlplane.model.features import FEATURES, features_of
from controlplane.model.objective import Objective

WIDTH = len(FEATURES)


def situations(
    count: int, endpoints: int, groups: int, *, by_locality: bool = True
) -> list[Situation]:
    """Services with unlike endpoints that have been looked at once."""
    random = np.random.default_rng(count * 1000 + endpoints)
    services, looks, estimates = [], [], []
    addresses = tuple(Endpoint(f"10.0.{i // 250}.{i % 250 + 1}", 80) for i in range(endpoints))
    ids = tuple(e.id for e in addresses)
    for k in range(count):
        service = Service(ServiceName(f"default/s{k}"), addresses, policy="learned")
        rate = random.uniform(20.0, 80.0, endpoints)
        latency = random.uniform(0.02, 0.2, endpoints)
        services.append(service)
        looks.append(
            Observation(
                service=service.name,
                at_s=1.0,
                window_s=1.0,
                endpoints=ids,
                succeeded=np.round(rate),
                failed=np.zeros(endpoints),
                in_flight=rate * latency,
                latency_s=latency,
                latency_p99_s=3.0 * latency,
                latency_samples=np.round(rate),
                utilisation=np.full(endpoints, np.nan),
                age_s=np.zeros(endpoints),
                proxies=12,
                workers=12,
            )
        )
        estimates.append(Estimate.unknown(ids))
    index = np.arange(endpoints) % groups
    names = tuple(f"g{i}" for i in range(groups))
    if not by_locality:
        index, names = np.arange(endpoints), ids
    grouping = Grouping(ids, names, index, by_locality=by_locality)
    shares = grouping.total(np.full(endpoints, 1.0 / endpoints))
    return [
        Situation(service, look, estimate, grouping, shares)
        for service, look, estimate in zip(services, looks, fold_all(estimates, looks), strict=True)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the released policy that a test may spoil."""
    copy = tmp_path / "release"
    shutil.copytree(released("learned"), copy)
    return copy


def change_manifest(folder: Path, **fields: Any) -> None:
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    document.update(fields)
    path.write_text(json.dumps({k: v for k, v in document.items() if v is not ...}))


def put_model(folder: Path, nodes: Sequence[Any], takes: Any, gives: Any, *constants: Any) -> None:
    """Another model, with a manifest that agrees with it."""
    graph = helper.make_graph(nodes, "g", [takes], [gives], list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    change_manifest(folder, digest="sha256:" + hashlib.sha256(content).hexdigest())


FEATURES_IN = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["s", "g", WIDTH])
RESIDUAL_OUT = helper.make_tensor_value_info("residual", TensorProto.FLOAT, ["s", "g"])
AXIS = helper.make_tensor("axis", TensorProto.INT64, [1], [2])


def put_formula(folder: Path, *steps: tuple[str, list[str], str], **numbers: float) -> None:
    """A model that sums the features of a group and then takes these steps, up to `residual`."""
    nodes = [helper.make_node("ReduceSum", ["features", "axis"], ["sum"], keepdims=0)]
    nodes += [helper.make_node(kind, inputs, [output]) for kind, inputs, output in steps]
    constants = [helper.make_tensor(k, TensorProto.FLOAT, [], [v]) for k, v in numbers.items()]
    put_model(folder, nodes, FEATURES_IN, RESIDUAL_OUT, AXIS, *constants)


def load(folder: Path) -> Learned:
    return Learned(QueueingModel(), folder)


def test_the_released_policy_corrects_its_base_within_its_bound() -> None:
    policy = Learned(QueueingModel())
    seen = situations(6, 8, 2)
    moved = 0.0
    for proposal, base in zip(policy.propose(seen), QueueingModel().propose(seen), strict=True):
        assert proposal.base is not None
        assert proposal.base.tolist() == base.shares.tolist()
        assert proposal.shares.sum() == pytest.approx(1.0)
        assert proposal.digest == policy.release.digest
        assert proposal.policy == "learned"
        ratio = np.log(proposal.shares / base.shares)
        assert np.ptp(ratio) <= 2.0 * policy.release.bound + 1e-6
        moved = max(moved, float(np.abs(ratio).max()))
    assert moved > 1e-3


def test_what_it_did_is_shared_out_among_what_it_saw() -> None:
    policy = Learned(QueueingModel())
    for situation in situations(4, 8, 2) + situations(3, 12, 4):
        (proposal,) = policy.propose([situation])
        assert proposal.base is not None
        found = policy.attribute(situation, proposal.base)
        assert found.groups == situation.grouping.names
        assert np.allclose(found.answer, np.log(proposal.shares / proposal.base), atol=1e-6)
        assert np.abs(found.answer).max() > 1e-3
        assert np.abs(found.unexplained).max() < CLOSE
        common = [FEATURES.index(name) for name in ("load", "proxies", "groups", "present")]
        assert not found.effects[:, common].any()


def test_groups_that_are_alike_are_left_to_the_base(folder: Path) -> None:
    """The baseline: what is explained is then the whole of what the policy did."""
    policy = load(folder)
    (situation,) = situations(1, 8, 2)
    seen = features_of([situation], [situation.shares]).table
    answers = policy._run(np.stack([alike(seen[0]), seen[0]]))
    assert np.ptp(answers[0]) < 1e-6
    assert np.ptp(answers[1]) > 1e-3


def test_where_the_base_acts_there_is_nothing_to_share_out(folder: Path) -> None:
    policy = load(folder)
    for situation in situations(1, 8, 1) + situations(1, 8, 2, by_locality=False):
        with pytest.raises(NotExplainableError, match="base acts"):
            policy.attribute(situation, situation.shares)


def test_a_correction_of_another_base_is_refused(folder: Path) -> None:
    """What was trained between regions must not act inside a service."""
    change_manifest(folder, base="leastTime")
    with pytest.raises(PolicyLoadError, match="correction of leastTime, and would correct model"):
        load(folder)


def test_a_policy_that_was_trained_for_another_objective_says_so_and_acts(folder: Path) -> None:
    change_manifest(folder, objective={"latency_p99": 2.0})
    (one,) = situations(1, 8, 2)

    def notes(wanted: Objective | None) -> tuple[str, ...]:
        asked = replace(one, service=replace(one.service, objective=wanted))
        return load(folder).propose([asked])[0].notes

    assert OTHER_OBJECTIVE in notes(Objective())
    assert OTHER_OBJECTIVE not in notes(Objective(latency_p99=2.0))
    assert OTHER_OBJECTIVE not in notes(None)
    change_manifest(folder, objective={"latency_p98": 2.0})
    with pytest.raises(PolicyLoadError, match="objective"):
        load(folder)


def test_with_one_group_or_with_endpoint_weights_its_base_acts() -> None:
    policy = Learned(QueueingModel())
    assert policy.release.actuations == ("groups",)
    seen = situations(1, 8, 1) + situations(1, 8, 8, by_locality=False)
    for proposal in policy.propose(seen):
        assert proposal.base is not None
        assert proposal.shares.tolist() == proposal.base.tolist()


def test_where_the_base_acts_it_says_that_an_objective_is_not_heeded() -> None:
    policy = Learned(QueueingModel())
    seen = situations(1, 8, 1) + situations(1, 8, 8, by_locality=False) + situations(1, 8, 2)
    wanted = policy.release.objective
    asked = [replace(one, service=replace(one.service, objective=wanted)) for one in seen]
    plain, told = policy.propose(seen), policy.propose(asked)
    assert [NO_OBJECTIVE in one.notes for one in told] == [True, True, False]
    assert not any(NO_OBJECTIVE in one.notes for one in plain)
    for one, other in zip(plain, told, strict=True):
        assert one.shares.tolist() == other.shares.tolist()


def test_a_batch_of_unlike_services_gets_what_each_would_get_alone() -> None:
    policy = Learned(QueueingModel())
    mixed = situations(3, 8, 2) + situations(2, 12, 4) + situations(1, 5, 1) + situations(2, 9, 3)
    together = policy.propose(mixed)
    for situation, proposal in zip(mixed, together, strict=True):
        alone = policy.propose([situation])[0]
        assert proposal.shares == pytest.approx(alone.shares, abs=1e-6)


def test_a_thousand_services_of_a_hundred_endpoints_are_proposed_for_in_one_call() -> None:
    policy = Learned(QueueingModel())
    seen = situations(1000, 100, 4)
    proposals = policy.propose(seen)
    assert len(proposals) == 1000
    shares = np.stack([proposal.shares for proposal in proposals])
    assert np.isfinite(shares).all()
    assert (shares > 0).all()
    assert shares.sum(axis=1) == pytest.approx(np.ones(1000))
    probe = policy.propose(seen[777:778])[0]
    assert proposals[777].shares == pytest.approx(probe.shares, abs=1e-6)


def test_no_run_of_the_model_is_larger_than_the_limit() -> None:
    large, small = situations(1, 4000, 4000)[0], situations(1, 4, 2)[0]
    seen = [large] + [small] * 200
    parts = list(_portions(list(range(201)), seen))
    assert [i for part in parts for i in part] == list(range(201))
    for part in parts:
        assert len(part) * max(len(seen[i].grouping.names) for i in part) <= MOST_CELLS


def test_nothing_is_proposed_for_nothing() -> None:
    assert list(Learned(QueueingModel()).propose([])) == []


SPOILT: list[tuple[str, Callable[[Path], object], str]] = [
    ("no manifest", lambda f: (f / "manifest.json").unlink(), "cannot be read"),
    ("no model", lambda f: (f / "model.onnx").unlink(), "cannot be read"),
    ("manifest no JSON", lambda f: (f / "manifest.json").write_text("{"), "not JSON"),
    ("manifest a list", lambda f: (f / "manifest.json").write_text("[]"), "wanted an object"),
    ("manifest not UTF-8", lambda f: (f / "manifest.json").write_bytes(b"\xff{}"), "not JSON"),
    (
        "manifest too deep",
        lambda f: (f / "manifest.json").write_text("[" * 100_000),
        "not JSON",
    ),
    ("another format", lambda f: change_manifest(f, format=2), "format 2"),
    ("no bound", lambda f: change_manifest(f, bound=...), "bound"),
    ("bound not finite", lambda f: change_manifest(f, bound=float("nan")), "bound"),
    ("bound too wide", lambda f: change_manifest(f, bound=50.0), "bound"),
    ("no name", lambda f: change_manifest(f, name=""), "name"),
    ("unknown actuation", lambda f: change_manifest(f, actuations=["all"]), "actuations"),
    (
        "other features",
        lambda f: change_manifest(f, features=["colour", *FEATURES[1:]]),
        "colour",
    ),
    (
        "another order",
        lambda f: change_manifest(f, features=list(reversed(FEATURES))),
        "another order",
    ),
    ("another digest", lambda f: change_manifest(f, digest="sha256:00"), "digest"),
    (
        "a bit of the model turned",
        lambda f: (f / "model.onnx").write_bytes(
            bytes([(f / "model.onnx").read_bytes()[0] ^ 1]) + (f / "model.onnx").read_bytes()[1:]
        ),
        "digest",
    ),
    (
        "a model too large",
        lambda f: (f / "model.onnx").write_bytes(bytes(17 * 2**20)),
        "larger",
    ),
]


@pytest.mark.parametrize(("spoil", "wanted"), [s[1:] for s in SPOILT], ids=[s[0] for s in SPOILT])
def test_a_release_that_does_not_hold_is_refused_in_words(
    folder: Path, spoil: Callable[[Path], object], wanted: str
) -> None:
    spoil(folder)
    with pytest.raises(PolicyLoadError, match=wanted):
        load(folder)


def test_a_file_that_is_no_model_is_refused_though_its_digest_is_right(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"not a model")
    change_manifest(folder, digest="sha256:" + hashlib.sha256(b"not a model").hexdigest())
    with pytest.raises(PolicyLoadError, match="not a model that runs here"):
        load(folder)


def test_a_model_with_another_input_output_or_shape_is_refused(folder: Path) -> None:
    node = helper.make_node("ReduceSum", ["x", "axis"], ["residual"], keepdims=0)
    other = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["s", "g", WIDTH])
    put_model(folder, [node], other, RESIDUAL_OUT, AXIS)
    with pytest.raises(PolicyLoadError, match="wanted one float input 'features'"):
        load(folder)
    node = helper.make_node("ReduceSum", ["features", "axis"], ["y"], keepdims=0)
    other = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["s", "g"])
    put_model(folder, [node], FEATURES_IN, other, AXIS)
    with pytest.raises(PolicyLoadError, match="wanted one float output 'residual'"):
        load(folder)
    node = helper.make_node("ReduceSum", ["features", "axis"], ["residual"], keepdims=0)
    narrow = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["s", "g", 3])
    put_model(folder, [node], narrow, RESIDUAL_OUT, AXIS)
    with pytest.raises(PolicyLoadError, match="takes 3 features"):
        load(folder)


def test_a_model_that_answers_with_nan_or_beyond_its_bound_is_refused(folder: Path) -> None:
    put_formula(folder, ("Mul", ["sum", "k"], "residual"), k=float("nan"))
    with pytest.raises(PolicyLoadError, match="NaN or infinity"):
        load(folder)
    put_formula(folder, ("Mul", ["sum", "k"], "residual"), k=100.0)
    with pytest.raises(PolicyLoadError, match="beyond the bound"):
        load(folder)


def test_where_the_model_gives_nan_the_base_acts_and_the_others_keep_their_correction(
    folder: Path,
) -> None:
    # sqrt(sum + 60) / 1000: the probe's sums are above -60, only a service far below gets NaN.
    put_formula(
        folder,
        ("Add", ["sum", "shift"], "above"),
        ("Sqrt", ["above"], "root"),
        ("Mul", ["root", "small"], "residual"),
        shift=60.0,
        small=0.001,
    )
    policy = load(folder)
    good = situations(2, 8, 2)
    strange = replace(good[1], shares=np.array([1.0, 1e-9]))
    run = policy._run

    def spoilt(table: Any) -> Any:
        table = table.copy()
        table[1] -= 10.0
        return run(table)

    policy._run = spoilt  # type: ignore[method-assign]
    first, second = policy.propose([good[0], strange])
    assert second.base is not None
    assert second.shares.tolist() == second.base.tolist()
    assert "no numbers" in second.notes[-1]
    assert "learned correction" in first.notes[-1]


def test_a_released_policy_that_nobody_offers_is_said_to_be_missing() -> None:
    with pytest.raises(PolicyLoadError, match="no installed distribution"):
        released("nobody")
