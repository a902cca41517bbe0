"""`weir translate`, `weir validate` and `weir x explain-route` on folders of documents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from controlplane.cli.root import build
from controlplane.cli.validate import with_path
from tests.certificates import Authority
from tests.envoy.edge import backend, gateway, policy, route, secret, to

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "01-quickstart"
HTTP = "name: http, port: 8080, protocol: HTTP"


def weir(*args: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(build(), [str(one) for one in args])
    return done.exit_code, done.stdout


def folder(path: Path, *documents: str) -> Path:
    for at, document in enumerate(documents):
        (path / f"{at}.yaml").write_text(document)
    return path


def test_the_page_shows_what_is_printed() -> None:
    status, said = weir("x", "explain-route", "GET", "http://localhost:8080/foo", "-f", EXAMPLE)
    assert status == 0
    assert said in (ROOT / "docs" / "tools.md").read_text()


def test_policies_filters_and_near_candidates_are_told(tmp_path: Path) -> None:
    rules = f"""
  - {{name: named, matches: [{{path: {{value: /a}}}}], {to("a")},
     filters: [{{type: URLRewrite, urlRewrite: {{hostname: b.test}}}}]}}
  - {{matches: [{{path: {{value: /a}}, method: POST}}], {to("gone")}}}
"""
    limit = "  circuitBreaker: {maxConnections: 1}\n"
    folder(
        tmp_path, gateway(HTTP), route("web", rules), backend("a", 1),
        policy("TrafficPolicy", "far", "Gateway/edge", limit),
        policy("TrafficPolicy", "near", "HTTPRoute/web/named", limit),
        policy("ClientPolicy", "clients", "Gateway/edge/http", "  tls: {minVersion: '1.3'}\n"),
        policy("BalancingPolicy", "weights", "Backend/a", "  policy: equal\n"),
    )  # fmt: skip
    url = "http://a.test:8080/a?x=1"
    status, said = weir("x", "explain-route", "GET", url, "-f", tmp_path, "-o", "json")
    (one,) = json.loads(said)
    assert status == 0
    assert one["chosen"]["name"] == "default/web/0/0/named"
    assert (one["chosen"]["file"], one["chosen"]["line"]) == ("1.yaml", 8)
    (near,) = one["near"]
    assert (near["matches"], near["why_not"]) == (False, ["method GET is not POST"])
    assert [(part["share"], part["backend"]) for part in one["to"]] == [(1.0, "default/a")]
    assert one["to"][0]["filters"] == [{"type": "URLRewrite", "urlRewrite": {"hostname": "b.test"}}]
    assert [(each["kind"], each["name"], each["for"]) for each in one["policies"]] == [
        ("TrafficPolicy", "default/near", "HTTPRoute default/web named"),
        ("ClientPolicy", "default/clients", "Gateway default/edge http"),
        ("BalancingPolicy", "default/weights", "Backend default/a"),
        ("TrafficPolicy", "default/near", "Backend default/a"),
    ]
    assert one["policies"][0]["outranked"] == ["default/far of Gateway default/edge"]

    url = "http://a.test:8080/a"
    (one,) = json.loads(weir("x", "explain-route", "POST", url, "-f", tmp_path, "-o", "json")[1])
    assert one["why"] == "it names the method"
    assert one["to"][0]["status"] == 500
    assert one["near"][0]["why_not"] == ["default/web/1/0 goes before: it names the method"]


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("GET", "a.test/x"), "want a whole URL"),
        (("GET", "http://a.test:99/x"), "no Gateway listens on port 99 for http"),
        (("GET", "http://a.test:8080/x", "-H", "nothing"), "want 'name: value'"),
        (("G T", "http://a.test:8080/x"), "is no method"),
        (("GET", "http://a.test:8080/", "--gateway", "default/x"), "there is no Gateway default/x"),
    ],
)
def test_what_cannot_be_explained_is_said_in_words(args: tuple[str, ...], why: str) -> None:
    done = CliRunner().invoke(build(), ["x", "explain-route", *args, "-f", str(EXAMPLE)])
    assert done.exit_code == 1
    assert why in str(done.exception)


def test_translate_writes_what_envoy_will_get_and_no_secret(tmp_path: Path) -> None:
    pair = Authority().issue(dns=["a.test"])
    tls = "name: tls, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}"
    documents = (
        gateway(HTTP, tls),
        route("web", f"[{{{to('a')}}}]"),
        backend("a", 1),
        secret("cert", {"tls.crt": pair.certificate, "tls.key": pair.key}),
    )
    folder(tmp_path, *documents)
    status, said = weir("translate", "-f", tmp_path)
    assert status == 0
    fleets = yaml.safe_load(said)
    assert set(fleets) == {"default/edge", "overlay"}
    edge = fleets["default/edge"]
    assert edge["sds"] == [{"name": "default/cert", "withheld": "it is, or carries, a secret"}]
    assert sorted(one["name"] for one in edge["lds"]) == [
        "default/edge/http-8080",
        "default/edge/https-443",
    ]
    assert edge["cds"][0]["config"]["name"] == "default/a"
    assert "PRIVATE KEY" not in said
    args = ("--fleet", "default/edge", "--type", "cds", "-o", "json")
    status, said = weir("translate", "-f", tmp_path, *args)
    assert json.loads(said) == {"default/edge": {"cds": edge["cds"]}}


def test_causes_come_before_consequences(tmp_path: Path) -> None:
    broken = backend("a", 1).replace("port", "prot")
    folder(tmp_path, gateway(HTTP), route("web", f"[{{{to('a')}}}]"), broken)
    status, said = weir("validate", "-f", tmp_path, "-o", "json")
    first, *_, second = json.loads(said)["problems"]
    assert status == 1
    assert (first["file"], first["object"]) == ("2.yaml", "Backend default/a")
    assert second["object"] == "HTTPRoute default/web"
    assert second["advice"] == f"its document is refused: 2.yaml:{first['line']}"


def test_both_names_of_the_option_may_stand_alone() -> None:
    assert with_path(["--with-envoy"]) == ["--with-envoy", "found"]
    assert with_path(["--envoy", "-f", "x"]) == ["--envoy", "found", "-f", "x"]


def test_a_patch_that_does_not_fit_is_a_problem(tmp_path: Path) -> None:
    patch = """\
apiVersion: weir.dev/v1alpha1
kind: EnvoyPatch
metadata: {name: mine}
spec:
  targetRef: {name: edge}
  mergePatches:
    - type: type.googleapis.com/envoy.config.route.v3.RouteConfiguration
      name: default/edge/http-8080
      value: {nothing_of_that_name: 1}
"""
    folder(tmp_path, gateway(HTTP), route("web", f"[{{{to('a')}}}]"), backend("a", 1), patch)
    status, said = weir("validate", "-f", tmp_path, "-o", "json")
    (one,) = json.loads(said)["problems"]
    assert (status, one["object"], one["file"]) == (1, "EnvoyPatch default/mine", "3.yaml")
    assert 'no field named "nothing_of_that_name"' in one["message"]
