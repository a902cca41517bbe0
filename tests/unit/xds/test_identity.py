"""Templates of identities: what they accept, and that nothing else is accepted."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controlplane.errors import ConfigurationError
from controlplane.xds.identity import MAX_CLAIM, Binding, Claim, Kind, Name, Template

SPIFFE = "spiffe://example.org/ns/{namespace}/envoy/{node_id}"
DNS = "{node_id}.{cluster}.mesh.example"
ENVOY_1 = Claim("envoy-1", "default/edge")


def uri(text: str) -> Name:
    return Name("uri", text)


def dns(text: str) -> Name:
    return Name("dns", text)


def entitles(template: str, name: Name, claim: Claim) -> bool:
    return Binding.parse([template]).entitles([name], claim)


@pytest.mark.parametrize(
    ("template", "name", "claim"),
    [
        (SPIFFE, uri("spiffe://example.org/ns/default/envoy/envoy-1"), ENVOY_1),
        (SPIFFE, uri("spiffe://example.org/ns/default/envoy/a.b.c"), Claim("a.b.c", "default/x")),
        (DNS, dns("envoy-1.edge.mesh.example"), Claim("envoy-1", "edge")),
        (
            "spiffe://example.org/{namespace}/{gateway}/{node_id}",
            uri("spiffe://example.org/default/edge/envoy-1"),
            ENVOY_1,
        ),
        ("system:serviceaccount:{namespace}:{node_id}", None, ENVOY_1),
        ("{node_id}", dns("envoy-1.mesh.example"), Claim("envoy-1.mesh.example", "")),
    ],
)
def test_a_name_entitles_to_what_it_says(template: str, name: Name | None, claim: Claim) -> None:
    name = name or Name("subject", "system:serviceaccount:default:envoy-1")
    assert entitles(template, name, claim)
    assert not entitles(template, name, Claim(claim.node_id + "x", claim.cluster))


@pytest.mark.parametrize(
    "claim",
    [
        Claim("envoy-2", "default/edge"),
        Claim("envoy-1", "other/edge"),
        Claim("envoy-1", "default"),  # no namespace is claimed
        Claim("envoy-1", ""),
        Claim("envoy-1", "/edge"),
        Claim("envoy-1", "default/edge/more"),
        Claim("", "default/edge"),
        Claim("ENVOY-1", "default/edge"),
        Claim("envoy-1 ", "default/edge"),
        Claim("envoy-1\n", "default/edge"),
        Claim("envoy-1", "default\0/edge"),
        Claim("{node_id}", "default/edge"),
        Claim("*", "default/edge"),
        Claim(".*", "default/edge"),
    ],
)
def test_a_name_entitles_to_nothing_else(claim: Claim) -> None:
    assert not entitles(SPIFFE, uri("spiffe://example.org/ns/default/envoy/envoy-1"), claim)


@pytest.mark.parametrize(
    "name",
    [
        "spiffe://example.org/ns/default/envoy/envoy-1/",
        "spiffe://example.org/ns/default/envoy/envoy-1/more",
        "xspiffe://example.org/ns/default/envoy/envoy-1",
        "spiffe://example.org/ns//envoy/envoy-1",
        "spiffe://EXAMPLE.org/ns/default/envoy/envoy-1",
        "spiffe://example.org.evil/ns/default/envoy/envoy-1",
        "spiffe://example.org/ns/default/envoy/envoy%2D1",
        "",
    ],
)
def test_a_name_is_matched_from_end_to_end(name: str) -> None:
    assert not entitles(SPIFFE, uri(name), ENVOY_1)


def test_a_place_never_takes_a_slash() -> None:
    name = uri("spiffe://example.org/ns/default/envoy/a/b")
    assert not entitles(SPIFFE, name, Claim("a/b", "default/edge"))
    cluster = "spiffe://example.org/{cluster}/{node_id}"
    assert not entitles(
        cluster, uri("spiffe://example.org/default/edge/e"), Claim("e", "default/edge")
    )


def test_a_place_among_dots_never_takes_a_dot() -> None:
    name = dns("a.b.c.mesh.example")
    assert not entitles(DNS, name, Claim("a.b", "c"))
    assert not entitles(DNS, name, Claim("a", "b.c"))
    mixed = "spiffe://example.org/{node_id}.{cluster}"
    assert not entitles(mixed, uri("spiffe://example.org/a.b.c"), Claim("a", "b.c"))


def test_a_place_never_takes_what_separates_it_from_the_next() -> None:
    dashed = "{node_id}-{cluster}"
    assert entitles(dashed, dns("a-b-c"), Claim("a", "b-c"))
    assert not entitles(dashed, dns("a-b-c"), Claim("a-b", "c"))


def test_a_wildcard_certificate_is_the_node_of_that_name_and_no_other() -> None:
    assert not entitles(DNS, dns("*.edge.mesh.example"), Claim("envoy-1", "edge"))


def test_a_template_of_uris_is_not_matched_by_a_dns_name_nor_the_other_way_round() -> None:
    assert not entitles("{node_id}.x", uri("envoy-1.x"), ENVOY_1)
    assert not entitles("urn:{node_id}", dns("urn:envoy-1"), ENVOY_1)
    assert entitles("{node_id}.x", Name("subject", "envoy-1.x"), ENVOY_1)
    assert entitles("urn:{node_id}", Name("subject", "urn:envoy-1"), ENVOY_1)


def test_one_of_several_templates_and_one_of_several_names_suffice() -> None:
    rule = Binding.parse([SPIFFE, DNS])
    names = [dns("envoy-1.elsewhere"), uri("spiffe://example.org/ns/default/envoy/envoy-1")]
    assert rule.entitles(names, ENVOY_1)
    assert rule.entitles([dns("envoy-1.edge.mesh.example")], Claim("envoy-1", "edge"))
    assert not rule.entitles(names, Claim("envoy-2", "default/edge"))
    assert not rule.entitles([], ENVOY_1)


def test_a_place_is_bounded() -> None:
    for length, fits in ((MAX_CLAIM, True), (MAX_CLAIM + 1, False)):
        assert (
            entitles("urn:{node_id}", uri("urn:" + "x" * length), Claim("x" * length, "")) is fits
        )


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("spiffe://example.org/{node}", r"\{node\} is not known; use \{node_id\}"),
        ("spiffe://example.org/{}", "is not known"),
        ("spiffe://example.org/{node_id", "without its partner"),
        ("spiffe://example.org/node_id}", "without its partner"),
        ("spiffe://example.org/{{node_id}}", "without its partner"),
        ("spiffe://example.org/envoy", "binds nothing"),
        ("", "binds nothing"),
        ("{node_id}{cluster}", "side by side"),
        ("a b {node_id}", "visible ASCII"),
        ("é{node_id}", "visible ASCII"),
        ("/".join(["{node_id}"] * 9), "at most 8"),
        ("x" * 513 + "{node_id}", "longer than 512"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_with_advice(template: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        Binding.parse([template])


def test_there_are_some_templates_and_not_too_many() -> None:
    for texts in ([], [SPIFFE] * 65):
        with pytest.raises(ConfigurationError, match="1 to 64"):
            Binding.parse(texts)


# A twin that reads the name instead of filling the template: a regular expression of our own, in
# which each place is the longest run of what may stand in it.
PLACES = st.sampled_from(["node_id", "cluster", "namespace", "gateway"])
LITERAL = st.text("/.-:ab", min_size=1, max_size=3)
VALUE = st.text("/.-:abA", max_size=4)


@st.composite
def templates(draw: st.DrawFn) -> str:
    places = draw(st.lists(PLACES, min_size=1, max_size=4))
    text = draw(st.text("/.-:ab", max_size=3))
    for place in places[:-1]:
        text += f"{{{place}}}" + draw(LITERAL)
    return text + f"{{{places[-1]}}}" + draw(st.text("/.-:ab", max_size=3))


def twin(template: str, name: Name, claim: Claim) -> bool:
    parts = re.split(r"\{(\w+)\}", template)
    if name.kind != "subject" and name.kind != ("uri" if ":" in "".join(parts[::2]) else "dns"):
        return False
    segments = [
        part
        for part in re.sub(r"\{\w+\}", "\0", template).split("/")
        for _ in range(part.count("\0"))
    ]
    pattern = re.escape(parts[0])
    for place in range(len(parts) // 2):
        after = parts[2 * place + 2]
        barred = "/" + after[:1] + ("." if "." in segments[place] else "")
        pattern += f"([^{re.escape(barred)}]{{1,256}}){re.escape(after)}"
    found = re.fullmatch(pattern, name.text)
    namespace, slash, gateway = claim.cluster.partition("/")
    whole = slash and "/" not in gateway
    said = {
        "node_id": claim.node_id,
        "cluster": claim.cluster,
        "namespace": namespace if whole else "",
        "gateway": gateway if whole else "",
    }
    return found is not None and all(
        value == said[place] for value, place in zip(found.groups(), parts[1::2], strict=True)
    )


def filled(template: str, claim: Claim) -> str:
    """The template with the claim written into it, whether that is allowed or not."""
    return re.sub(r"\{(\w+)\}", lambda at: claim.filling(at.group(1)), template)


@given(
    template=templates(),
    claims=st.tuples(st.builds(Claim, VALUE, VALUE), st.builds(Claim, VALUE, VALUE)),
    kind=st.sampled_from(["uri", "dns", "subject"]),
    other=st.text("/.-:abA", max_size=8) | st.none(),
)
@example("{node_id}-{cluster}", (Claim("a", "b-c"), Claim("a-b", "c")), "dns", None)
def test_the_matcher_agrees_with_its_twin_and_no_name_entitles_to_two_things(
    template: str, claims: tuple[Claim, Claim], kind: Kind, other: str | None
) -> None:
    one, two = claims
    name = Name(kind, other if other is not None else filled(template, one))
    rule = Template.parse(template)
    for claim in claims:
        assert rule.matches(name, claim) is twin(template, name, claim)
    if rule.matches(name, one) and rule.matches(name, two):
        assert [one.filling(place) for place in rule.places] == [
            two.filling(place) for place in rule.places
        ]


@given(st.text(max_size=40), st.builds(Claim, st.text(max_size=10), st.text(max_size=10)))
def test_whatever_is_claimed_an_unrelated_name_entitles_to_nothing(text: str, claim: Claim) -> None:
    assert not entitles(SPIFFE, uri(text), claim)
    assert not entitles(DNS, dns(text), claim)
