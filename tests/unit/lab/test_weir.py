from __future__ import annotations

import pytest

from controlplane.lab.weir import MOST_PARENTS, documents, gateway_name


@pytest.mark.parametrize("envoys", [1, 32, 33, 50, 64])
def test_every_envoy_has_a_route_and_no_route_more_parents_than_the_gateway_api_allows(
    envoys: int,
) -> None:
    made = documents(range(20_000, 20_000 + envoys), [9001], "model")
    routes = [one for one in made if one["kind"] == "HTTPRoute"]
    parents = [[ref["name"] for ref in one["spec"]["parentRefs"]] for one in routes]
    assert max(map(len, parents)) <= MOST_PARENTS
    assert [name for one in parents for name in one] == [gateway_name(i) for i in range(envoys)]
    assert len({one["metadata"]["name"] for one in routes}) == len(routes)
