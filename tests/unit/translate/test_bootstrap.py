from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from controlplane.translate.bootstrap import ads_bootstrap
from controlplane.translate.examples import examples

FOLDER = Path(__file__).parents[3] / "envoy"


@pytest.mark.parametrize("name", sorted(examples()))
def test_the_files_in_envoy_are_what_the_functions_give(name: str) -> None:
    assert (FOLDER / name).read_text() == examples()[name], (
        "write them anew: python -m controlplane.translate.examples envoy"
    )


def test_the_files_hold_the_bootstraps_and_nothing_else() -> None:
    own = yaml.safe_load(examples()["own.yaml"])
    assert own == json.loads(json.dumps(ads_bootstrap(node_id="envoy-1", fleet="default/edge")))
