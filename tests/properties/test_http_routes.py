"""The clever parts of route translation beside naive twins."""

from __future__ import annotations

from fractions import Fraction

from envoy_data_plane.envoy.config.core.v3 import HeaderValueOptionHeaderAppendAction
from envoy_data_plane.envoy.config.route.v3 import Route
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.resources.filters import BackendObjectRef, Filter
from controlplane.resources.gateway import Listener
from controlplane.resources.route import Rule
from controlplane.translate.actions import MILLION, shares
from controlplane.translate.headers import changes

NAMES = ("a", "b", "C", "c", "d")
LISTENER = Listener(name="http", port=80, protocol="HTTP")

Headers = dict[str, str]


@st.composite
def modifiers(draw: st.DrawFn) -> Filter:
    actions = {name: draw(st.sampled_from(["", "set", "add", "remove"])) for name in "abcd"}
    value = st.sampled_from("xyz")
    pairs = {
        action: [{"name": name, "value": draw(value)} for name, a in actions.items() if a == action]
        for action in ("set", "add")
    }
    gone = [draw(st.sampled_from([n, n.upper()])) for n, a in actions.items() if a == "remove"]
    return Filter.model_validate(
        {"type": "RequestHeaderModifier", "requestHeaderModifier": {**pairs, "remove": gone}}
    )


def applied(headers: Headers, one: Filter) -> Headers:
    """What the Gateway API says that one filter does."""
    how = one.request_header_modifier
    assert how is not None
    gone = {name.lower() for name in how.remove}
    out = {name: value for name, value in headers.items() if name not in gone}
    out.update({header.name.lower(): header.value for header in how.set_})
    for header in how.add:
        name = header.name.lower()
        out[name] = f"{out[name]},{header.value}" if name in out else header.value
    return out


def envoys(headers: Headers, route: Route) -> Headers:
    """What Envoy does with a route: removes, then adds in order."""
    gone = {name.lower() for name in route.request_headers_to_remove}
    out = {name: value for name, value in headers.items() if name not in gone}
    append = HeaderValueOptionHeaderAppendAction.APPEND_IF_EXISTS_OR_ADD
    for one in route.request_headers_to_add:
        assert one.header is not None
        name, value = one.header.key.lower(), one.header.value
        both = one.append_action == append and name in out
        out[name] = f"{out[name]},{value}" if both else value
    return out


@given(st.dictionaries(st.sampled_from("abcde"), st.sampled_from("xyz")), modifiers(), modifiers())
def test_two_filters_made_one_do_what_they_do_one_after_the_other(
    headers: Headers, of_rule: Filter, of_part: Filter
) -> None:
    made = Route.parse(changes(Route, (of_rule, of_part)))
    assert envoys(headers, made) == applied(applied(headers, of_rule), of_part)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    refs = []
    for at in range(draw(st.integers(1, 6))):
        name = draw(st.sampled_from([f"live{at}", f"gone{at}"]))
        ref: dict[str, object] = {"name": name, "weight": draw(st.integers(0, 1_000_000))}
        if draw(st.booleans()):
            mirror = {"backendRef": {"name": f"mirror{at}"}, "percent": draw(st.integers(1, 100))}
            ref["filters"] = [{"type": "RequestMirror", "requestMirror": mirror}]
        refs.append(ref)
    return Rule.model_validate({"backendRefs": refs})


def resolve(ref: BackendObjectRef) -> str | None:
    return None if ref.name.startswith("gone") else ref.name


@settings(deadline=None)
@given(rules())
def test_every_part_gets_its_share_and_its_mirror_a_part_of_that(rule: Rule) -> None:
    total = sum(ref.weight for ref in rule.backend_refs)
    expected = {
        ref.name: Fraction(ref.weight, total) for ref in rule.backend_refs if total and ref.weight
    }
    got: dict[str, Fraction] = {}
    low = 0
    for share in shares(rule, resolve, LISTENER, b""):
        high = MILLION if share.below is None else share.below
        part = Fraction(high - low, MILLION)
        made = Route.parse(share.wire)
        if made.direct_response is not None:
            got["gone"] = got.get("gone", Fraction(0)) + part
        elif made.route is not None and made.route.weighted_clusters is not None:
            clusters = made.route.weighted_clusters.clusters
            whole = sum(one.weight or 0 for one in clusters)
            for one in clusters:
                got[one.name] = part * (one.weight or 0) / whole
        elif made.route is not None and made.route.cluster is not None:
            got[made.route.cluster] = part
            (ref,) = (one for one in rule.backend_refs if one.name == made.route.cluster)
            for policy in made.route.request_mirror_policies:
                assert policy.runtime_fraction is not None
                assert policy.runtime_fraction.default_value is not None
                copied = policy.runtime_fraction.default_value.numerator - low
                mirror = ref.filters[0].request_mirror
                assert mirror is not None
                assert abs(copied - (high - low) * mirror.share) <= 1
        low = high
    assert low == MILLION
    wanted: dict[str, Fraction] = {"gone": Fraction(0 if expected else 1)}
    for name, part in expected.items():
        place = "gone" if name.startswith("gone") else name
        wanted[place] = wanted.get(place, Fraction(0)) + part
    for name, part in wanted.items():
        assert abs(got.get(name, Fraction(0)) - part) <= Fraction(2 * 6, MILLION), (name, got)
