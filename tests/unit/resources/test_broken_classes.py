"""What is refused of classes of requests and of where clients are, and in which words."""

from __future__ import annotations

import pytest

from tests.unit.resources.documents import read

TRAFFIC = """\
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: plans}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  classes:
"""
CLIENT = """\
apiVersion: weir.dev/v1alpha1
kind: ClientPolicy
metadata: {name: where}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  geoIP:
"""
OF_BACKEND = TRAFFIC.replace(
    "gateway.networking.k8s.io, kind: HTTPRoute", "weir.dev, kind: Backend"
)
GOLD = "    - {name: gold, match: {clientCIDRs: [10.0.0.0/8]}}\n"
CITY = "    cityDatabase: /var/lib/city.mmdb\n"

# document, line, field, words of the message
BROKEN = [
    (TRAFFIC + "    - {name: bronze}\n" + GOLD, 7, "spec.classes", "'bronze' has no match"),
    (TRAFFIC + GOLD + GOLD, 7, "spec.classes", "two classes are called 'gold'"),
    (TRAFFIC + "    - {name: Gold}\n", 7, "spec.classes[0].name", "lower-case"),
    (TRAFFIC + GOLD.replace("10.0.0.0/8", "10.0.0.1/8"), 7,
     "spec.classes[0].match.clientCIDRs[0]", "without bits of a host"),
    (TRAFFIC + GOLD.replace("match", "when"), 7, "spec.classes[0].when", "no such field"),
    (TRAFFIC + "    - {name: gold, priority: Highest}\n", 7, "spec.classes[0].priority",
     '"Highest" is not taken'),
    (TRAFFIC + "    - {name: gold, circuitBreaker: {maxParallelRequests: 0}}\n", 7,
     "spec.classes[0].circuitBreaker.maxParallelRequests", "greater than or equal to 1"),
    (OF_BACKEND + GOLD, 5, "spec", "classes says something of requests"),
    (CLIENT + CITY, 6, "spec.geoIP.headers", "is missing"),
    (CLIENT + CITY + "    headers: {}\n", 7, "spec.geoIP", "headers names none"),
    (CLIENT + CITY + "    headers: {asn: x-asn}\n", 7, "spec.geoIP", "asn needs asnDatabase"),
    (CLIENT + "    headers: {country: x-country}\n", 7, "spec.geoIP",
     "country needs countryDatabase or cityDatabase"),
    (CLIENT + "    countryDatabase: /c.mmdb\n    headers: {city: x-city}\n", 7, "spec.geoIP",
     "city needs cityDatabase"),
    (CLIENT + "    cityDatabase: city.mmdb\n    headers: {city: x-city}\n", 7,
     "spec.geoIP.cityDatabase", "pattern"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "field", "words"), BROKEN)
def test_a_broken_document_is_refused_where_it_is_broken(
    text: str, line: int, field: str, words: str
) -> None:
    (problem,) = [one for one in read({"a.yaml": text}).problems if one.field == field]
    assert (problem.line, words in problem.message) == (line, True), str(problem)
