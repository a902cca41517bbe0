from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controlplane.model import EndpointId, Observation, ServiceName

A, B, C = EndpointId("10.0.0.1:80"), EndpointId("10.0.0.2:80"), EndpointId("10.0.0.3:80")
NAME = ServiceName("default/cart")


def test_a_look_for_other_endpoints_knows_nothing_of_those_it_did_not_see() -> None:
    look = replace(Observation.unknown(NAME, (A, B), at_s=3.0), succeeded=np.array([1.0, 2.0]))
    moved = look.for_endpoints((C, B))
    assert moved.endpoints == (C, B)
    np.testing.assert_array_equal(moved.succeeded, [np.nan, 2.0])
    assert moved.at_s == 3.0


def test_no_error_ratio_is_invented_where_nothing_ended() -> None:
    look = replace(
        Observation.unknown(NAME, (A, B, C)),
        succeeded=np.array([0.0, 3.0, np.nan]),
        failed=np.array([0.0, 1.0, np.nan]),
    )
    np.testing.assert_array_equal(look.error_ratio, [np.nan, 0.25, np.nan])


def test_arrays_of_another_length_are_refused() -> None:
    look = Observation.unknown(NAME, (A, B))
    with pytest.raises(ValueError, match="succeeded has shape"):
        replace(look, endpoints=(A,))
