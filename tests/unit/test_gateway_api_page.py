from __future__ import annotations

import re
from pathlib import Path

from tests.features.catalogue import missing
from tests.features.gateway_api import api_features, written

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gateway-api.md").read_text()
FILES = [one.read_text() for one in sorted((ROOT / "tests").rglob("test_*.py"))]
TESTS = "".join(FILES)


def test_every_test_that_the_page_names_is_there() -> None:
    names = set(re.findall(r"`(test_\w+)`", PAGE))
    assert names
    assert {name for name in names if f"def {name}(" not in TESTS} == set()


def test_every_host_that_the_page_names_gets_requests() -> None:
    hosts = set(re.findall(r"`(\w+\.test)`", PAGE))
    assert hosts
    cases = "".join(one.partition("CASES = [")[2].partition("def test_")[0] for one in FILES)
    cases = cases.replace("_rewritten(", '"rewrites.test"').replace("_asked(", '"cors.test"')
    assert {host for host in hosts if f'{host}"' not in cases} == set()


def test_what_is_supported_names_the_requests() -> None:
    rows = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("| ")]
    silent = [row[0] for row in rows if row[1].strip().startswith("yes") and not row[2].strip()]
    assert silent == []


def test_the_list_of_features_is_what_the_data_says_and_its_tests_are_there() -> None:
    found = api_features()
    assert not list(missing(found))
    assert written(PAGE, found) == PAGE, "run `make features ARGS=--write`"


def test_each_feature_of_the_list_stands_there_once_and_has_a_level() -> None:
    names = [name for one in api_features() for name in one.name.split(", ")]
    assert len(names) == len(set(names))
    assert {one.level for one in api_features()} == {"core", "extended", "experimental", "mesh"}
