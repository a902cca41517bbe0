from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.resources import Loaded, ObjectKey, load
from controlplane.resources.read import UnreadableError, parse
from tests.unit.resources.documents import BACKEND, GATEWAY, POLICY, ROUTE, joined, read

WEB = ObjectKey("Backend", "default/web")
BROKEN = BACKEND.replace("port: 8080}", "port: 0}", 1)


def test_every_kind_is_read_and_namespaces_default() -> None:
    result = read({"all.yaml": joined(GATEWAY, ROUTE, BACKEND, POLICY)})
    assert result.problems == ()
    assert [str(key) for key in sorted(result.declared.sources)] == [
        "Backend default/web",
        "BalancingPolicy default/web",
        "Gateway default/edge",
        "HTTPRoute default/web",
    ]


def test_an_invalid_document_leaves_its_last_valid_version_in_force() -> None:
    good = read({"b.yaml": BACKEND, "p.yaml": POLICY})
    bad = read({"b.yaml": BROKEN, "p.yaml": POLICY}, good)
    assert bad.declared.backends["default/web"] is good.declared.backends["default/web"]
    assert [problem.field for problem in bad.problems] == ["spec.endpoints[0].ip.port"]


def test_a_document_that_does_not_parse_leaves_what_its_file_held() -> None:
    good = read({"all.yaml": joined(GATEWAY, BACKEND), "p.yaml": POLICY})
    bad = read(
        {"all.yaml": joined(GATEWAY, BACKEND.replace("spec:", "spec")), "p.yaml": POLICY}, good
    )
    assert WEB in bad.declared.sources
    mended = read({"all.yaml": GATEWAY, "p.yaml": POLICY}, bad)
    assert WEB not in mended.declared.sources


def test_a_misspelled_kind_is_not_taken_for_a_removal() -> None:
    good = read({"b.yaml": BACKEND})
    bad = read({"b.yaml": BACKEND.replace("kind: Backend", "kind: Bckend")}, good)
    assert WEB in bad.declared.sources


def test_a_file_that_cannot_be_read_leaves_what_it_held() -> None:
    good = read({"b.yaml": BACKEND})
    bad = read({"b.yaml": OSError(5, "Input/output error")}, good)
    assert WEB in bad.declared.sources
    assert "Input/output error" in str(bad.problems[0])


def test_a_file_that_is_gone_and_a_document_taken_out_are_removals() -> None:
    both = read({"b.yaml": BACKEND, "all.yaml": joined(GATEWAY, POLICY)})
    less = read({"all.yaml": GATEWAY}, both)
    assert [str(key) for key in less.declared.sources] == ["Gateway default/edge"]


def test_a_document_without_the_endpoints_it_had_is_not_an_empty_backend() -> None:
    good = read({"b.yaml": BACKEND})
    text = BACKEND.partition("    - ip")[0]
    bad = read({"b.yaml": text}, good)  # `endpoints:` with nothing after it
    assert bad.declared.backends["default/web"] is good.declared.backends["default/web"]
    assert [problem.message for problem in bad.problems] == ["is missing"]


def test_an_object_declared_twice_names_both_places_and_keeps_the_one_in_force() -> None:
    copy = BACKEND.replace("10.0.0.1", "10.0.0.9")
    first = read({"web.yaml": BACKEND})
    both = read({"a-copy.yaml": copy, "web.yaml": BACKEND}, first)
    assert both.declared.backends["default/web"] is first.declared.backends["default/web"]
    (problem,) = both.problems
    assert (problem.file, problem.line) == ("a-copy.yaml", 3)
    assert "declared already at web.yaml:1" in problem.message


def test_two_copies_in_one_file_are_told_apart_by_line() -> None:
    (problem,) = read({"web.yaml": joined(BACKEND, BACKEND)}).problems
    assert (problem.line, "web.yaml:1" in problem.message) == (13, True)


def test_an_unchanged_object_is_the_same_object() -> None:
    before = read({"all.yaml": joined(GATEWAY, ROUTE, BACKEND, POLICY)})
    moved = "# moved by a line\n" + joined(GATEWAY, ROUTE, BACKEND, POLICY + "  interval: 2s\n")
    after = read({"other.yaml": moved}, before)
    old, new = before.declared.objects(), after.declared.objects()
    assert [str(key) for key in new if new[key] is not old[key]] == ["BalancingPolicy default/web"]


def test_status_and_what_kubernetes_writes_into_metadata_is_not_looked_at() -> None:
    text = GATEWAY.replace(
        "{name: edge}",
        "{name: edge, uid: x, resourceVersion: '7', creationTimestamp: 2024-05-01T00:00:00Z}",
    )
    result = read({"g.yaml": text + "status: {anything: [1]}\n"})
    assert result.problems == ()
    created = result.declared.gateways["default/edge"].metadata.creation_timestamp
    assert created == "2024-05-01T00:00:00Z"


def test_comments_directives_and_empty_documents_are_nothing() -> None:
    text = f"%YAML 1.1\n---\n# only words\n---\n\n---\n{BACKEND}...\n---\n# the end\n"
    result = read({"b.yaml": text})
    assert (result.problems, list(result.declared.sources)) == ((), [WEB])


def test_anchors_may_be_used() -> None:
    text = BACKEND.replace("labels: {", "labels: &l {").replace(
        "{address: 10.0.0.2, port: 8080}", "{address: 10.0.0.2, port: 8080}\n      labels: *l"
    )
    result = read({"b.yaml": text})
    assert result.problems == ()
    assert result.declared.backends["default/web"].spec.endpoints[1].labels == {
        "weir.dev/class": "fast"
    }


def test_when_policies_come_and_go_documents_are_checked_again() -> None:
    files = {"p.yaml": joined(POLICY, BACKEND).encode()}
    without = load(Loaded(), files, ["equal"])
    assert {problem.field for problem in without.problems} == {"spec.policy", "spec.fallback"}
    assert load(without, files, ["equal", "model"]).problems == ()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([GATEWAY, ROUTE, BACKEND, BROKEN, POLICY, "a: [\n"]), max_size=6))
def test_loading_from_scratch_gives_what_loading_in_steps_gives_when_all_is_valid(
    documents: list[str],
) -> None:
    files = {f"{at}.yaml": one for at, one in enumerate(documents)}
    stepwise = Loaded()
    for upto in range(len(documents) + 1):
        stepwise = read(dict(list(files.items())[:upto]), stepwise)
    at_once = read(files)
    assert stepwise.problems == at_once.problems
    assert stepwise.declared.objects() == at_once.declared.objects()
    assert stepwise.declared.sources == at_once.declared.sources


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200) | st.binary(max_size=200))
def test_no_content_whatever_breaks_the_loader(content: str | bytes) -> None:
    raw = content.encode(errors="surrogatepass") if isinstance(content, str) else content
    load(Loaded(), {"x.yaml": raw})


@pytest.mark.parametrize("document", [BACKEND, GATEWAY, ROUTE, POLICY])
def test_one_line_of_json_is_read_as_yaml_is(document: str) -> None:
    """As the API server of Kubernetes sends it."""
    written = json.dumps({**yaml.safe_load(document), "status": None})
    whole, line = parse(document), parse(written)
    assert whole is not None
    assert line is not None
    assert line.root is None
    assert line.value == whole.value


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', "{" + '"a": {' * 50 + "}" * 51, '{"a": ' + "9" * 100 + "}"]
)
def test_one_line_is_bounded_as_all_is(text: str) -> None:
    with pytest.raises(UnreadableError):
        parse(text)


def test_a_mapping_on_one_line_that_is_no_json_is_yaml() -> None:
    found = parse("{a: b}")
    assert found is not None
    assert found.value == {"a": "b"}
