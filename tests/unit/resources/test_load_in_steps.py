"""Changes of files one after another mean what all files mean, worked out anew each time."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.resources import Declared, Loaded, ObjectKey, load
from controlplane.resources.references import policy_of
from controlplane.resources.topology import attachments, backends_under
from tests.unit.resources import naive_load
from tests.unit.resources.documents import BACKEND, GATEWAY, POLICIES, POLICY, ROUTE
from tests.unit.resources.test_service_backends import (
    BALANCING,
    NODE,
    SERVICE,
    at,
    slice_of,
)
from tests.unit.resources.test_service_backends import ROUTE as TO_SERVICE
from tests.unit.resources.test_unkept import BROKEN as UNKEPT

OTHER = TO_SERVICE.replace("name: web", "name: other").replace("port: 80", "port: 81")
DOCUMENTS = (
    GATEWAY,
    GATEWAY.replace("port: 8080", "port: 8081"),
    ROUTE,
    ROUTE.replace("name: web}", "name: gone}"),
    BACKEND,
    BACKEND.replace("10.0.0.1", "10.0.0.9"),
    BACKEND.replace("spec:", "spec:\n  fallback: true"),
    BACKEND.replace("spec:", "spec:\n  appProtocols: [kubernetes.io/h2c]"),
    BACKEND.replace("port: 8080}", "port: 0}", 1),  # refused
    BACKEND.replace("kind: Backend", "kind: Bckend"),  # who knows what
    POLICY,
    POLICY.replace("policy: model", "policy: nobody"),  # refused
    UNKEPT,  # refused, and its requests with it
    TO_SERVICE,
    OTHER,
    SERVICE,
    SERVICE.replace("port: 80,", "port: 90,"),
    SERVICE.replace("spec:", "spec:\n  ipFamilies: [IPv6]"),
    SERVICE.replace("port: 80,", "port: eighty,"),  # refused
    slice_of("one", at("10.0.0.1", ready=True)),
    slice_of("one", at("10.0.0.1", ready=True), at("10.0.0.2", ready=False, terminating=True)),
    slice_of("two", at("10.0.0.2", ready=True)),
    slice_of("two", at("2001:db8::1", ready=True), family="IPv6"),
    slice_of("two", at("10.0.0.2", ready=True)).replace("name: carts", "name: users"),
    NODE,
    NODE.replace('"2"', '"3"'),
    BALANCING,
    "a: [\n",  # not YAML
)
FILES = ("a.yaml", "b.yaml", "c.yaml", "d.yaml")
CONTENT = st.one_of(
    st.lists(st.sampled_from(DOCUMENTS), min_size=1, max_size=5).map(
        lambda some: "---\n".join(some).encode()
    ),
    st.just(OSError(13, "Permission denied")),
    st.none(),
)
STEPS = st.lists(st.tuples(st.sampled_from(FILES), CONTENT), min_size=1, max_size=12)


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_each_step_means_what_it_means_when_all_is_worked_out_anew(
    steps: list[tuple[str, bytes | OSError | None]],
) -> None:
    loaded, naive = Loaded(), naive_load.Naive()
    files: dict[str, bytes | OSError] = {}
    for name, content in steps:
        if content is None:
            files.pop(name, None)
        else:
            files[name] = content
        before = loaded.declared
        loaded, naive = load(loaded, files, POLICIES), naive_load.load(naive, files, POLICIES)
        declared = loaded.declared
        assert declared.objects() == naive.documents()
        assert declared.sources == naive.sources()
        assert declared.unkept == naive.unkept
        assert list(loaded.problems) == naive.problems
        assert [*declared.objects()] == sorted(declared.sources)
        assert_kept_is_as_new(declared, naive)
        assert_same_is_the_very_same(before, declared)


def assert_kept_is_as_new(declared: Declared, naive: naive_load.Naive) -> None:
    """What was worked out once and kept since is what comes out now."""
    fresh = Declared().after(naive.objects, naive.unkept)
    assert declared.names == fresh.names
    assert (declared.fallbacks, declared.h2c) == (fresh.fallbacks, fresh.h2c)
    assert attachments(declared) == attachments(fresh)
    assert backends_under(declared) == backends_under(fresh)
    assert policy_of(declared) == policy_of(fresh)


def assert_same_is_the_very_same(before: Declared, now: Declared) -> None:
    was = before.objects()
    for key, one in now.objects().items():
        assert key not in was or was[key] is one or was[key] != one, key
    for kind, held in now.by_kind.items():
        same = held == before.by_kind.get(kind)
        assert not same or held is before.by_kind[kind], kind


def test_a_state_may_be_gone_on_from_more_than_once() -> None:
    """What is loaded is a value: who loads after it leaves it as it was."""
    texts = {"g": GATEWAY, "r": TO_SERVICE, "s": SERVICE, "e": slice_of("one", at("10.0.0.1"))}
    files = {name: text.encode() for name, text in texts.items()}
    first = load(Loaded(), files, POLICIES)
    others = [
        load(first, {**files, "e": slice_of("one", at(address)).encode()}, POLICIES)
        for address in ("10.0.0.2", "10.0.0.3")
    ]
    again = load(first, files, POLICIES)
    key = ObjectKey("Backend", "default/carts:80")
    said = [str(one.declared.objects()[key]) for one in (first, *others, again)]
    assert ["10.0.0.1" in one for one in said] == [True, False, False, True]
    assert "10.0.0.3" in said[2]


def test_of_what_did_not_change_nothing_is_worked_out_again() -> None:
    texts = {"g": GATEWAY, "r": TO_SERVICE, "s": SERVICE, "b": BALANCING, "n": NODE}
    files = {name: text.encode() for name, text in texts.items()}
    files["e"] = slice_of("one", at("10.0.0.1")).encode()
    first = load(Loaded(), files, POLICIES)
    before = (attachments(first.declared), policy_of(first.declared))
    second = load(first, {**files, "e": slice_of("one", at("10.0.0.2")).encode()}, POLICIES)
    assert second.declared.differs_in_endpoints_alone(first.declared)
    assert second.declared.by_kind["Backend"] is not first.declared.by_kind["Backend"]
    assert attachments(second.declared) is before[0]
    assert policy_of(second.declared) is before[1]
