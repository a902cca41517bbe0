"""`weir bug-report`: secrets are planted wherever one may stand, and none is in the archive."""

from __future__ import annotations

import base64
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from controlplane.inspection.canonical import to_bytes
from controlplane.telemetry.version import version
from controlplane.xds.kinds import ROUTE
from tests.certificates import Authority
from tests.kubernetes import replicas, tools
from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.replicas import HOME, weir
from tests.kubernetes.scene import Scene, scene

KEY = Authority().issue(dns=["a.example"]).key.decode()
KEY_LINE = KEY.splitlines()[1]
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
PLANTED = {
    "of a secret": "opal-lantern-ferry",
    "of a registry": "walrus-in-a-teapot",
    "of a config map": "granite-parasol-dune",
    "of an annotation": "copper-meadow-lynx",
    "of a label": "velvet-anchor-plum",
    "of a header that a route sets": "marble-otter-quill",
    "of a header that a route wants": "saffron-tundra-kite",
    "of a patch": "cobalt-harbour-finch",
    "of a variable": "amber-cactus-loom",
    "of an option": "ivory-canyon-wren",
    "of a settings URL": "hazel-glacier-moth",
    "of a header in Envoy": "scarlet-prairie-newt",
    "of a script in Envoy": "indigo-cavern-stork",
    "of a log's header": "Zm9vYmFyLWJhc2ljLWNyZWRz",
    "of a log's URL": "maroon-orchard-crane",
    "of a log's field": "olive-summit-gecko",
    "of a log before": "russet-lagoon-heron",
    "of a condition": "teal-boulder-vole",
    "of an event": "umber-thicket-swan",
    "of a metric": "coral-bramble-ibis",
    "of a page that fails": "ochre-valley-shrew",
    "of a document that is broken": "fuchsia-delta-mole",
    "a line of a key": KEY_LINE,
    "a token": JWT,
    "of chance": "Xq7Rk2Pz9Lw4Tn8Vb3Mc6Hd1Jf5Gs0Ya",
}
WORDS = {name: text.encode() for name, text in PLANTED.items()}
ROUTE_IN_ENVOY = {
    "name": "shop/edge/http-8080",
    "virtual_hosts": [
        {
            "name": "web",
            "domains": ["web.example"],
            "routes": [
                {
                    "match": {"prefix": "/cart"},
                    "direct_response": {
                        "status": 200,
                        "body": {"inline_string": PLANTED["of a script in Envoy"]},
                    },
                    "request_headers_to_add": [
                        {
                            "header": {
                                "key": "x-upstream",
                                "value": PLANTED["of a header in Envoy"],
                            }
                        }
                    ],
                }
            ],
        }
    ],
}
LOG = f"""\
2027-01-01T00:00:00Z starting with 3 workers
authorization: Basic {PLANTED["of a log's header"]}
connecting to redis://weir:{PLANTED["of a log's URL"]}@redis:6379/0
{{"level": "info", "client_password": "{PLANTED["of a log's field"]}", "event": "logged in"}}
the secret was {PLANTED["of a secret"]}; token {JWT}
key {KEY_LINE}
random {PLANTED["of chance"]}
2027-01-01T00:00:09Z serving
"""


def pages() -> dict[str, Any]:
    resource = {
        "name": ROUTE_IN_ENVOY["name"],
        "version": "1",
        "state": "SYNCED",
        "body": base64.b64encode(to_bytes(ROUTE, ROUTE_IN_ENVOY)).decode(),
    }
    withheld = {"name": "tls", "version": "2", "state": "SYNCED", "withheld": "it is a secret"}
    routes = {"version": "1", "wildcard": True, "names": [], "type_url": ROUTE}
    held = {"types": {"rds": {**routes, "resources": [resource, withheld]}}}
    condition = {
        "type": "Accepted",
        "status": False,
        "reason": "Invalid",
        "part": "",
        "message": f"https://bob:{PLANTED['of a condition']}@example.com cannot be read",
    }
    redis = f"redis://:{PLANTED['of a settings URL']}@redis:6379"
    return {
        "/readyz": "ready\n",
        "/metrics": f'weir_seen{{url="x?token={PLANTED["of a metric"]}"}} 1\n',
        "/v1/about": {"version": version(), "settings": {"prometheus_url": redis}},
        "/v1/services": [{"service": "shop/web", "state": "ok"}],
        "/v1/services/shop/web/explain": {"service": "shop/web", "reasons": [{"code": "held"}]},
        "/v1/status": [{"kind": "Gateway", "name": "shop/edge", "conditions": [condition]}],
        "/v1/problems": [{"object": "Backend shop/web", "message": f"bearer {JWT} is none"}],
        "/v1/proxies": [{"node": "envoy/1", "fleet": "shop/edge"}],
        "/v1/proxies/envoy%2F1/acked": held,
    }


OBJECTS = f"""
apiVersion: v1
kind: Secret
metadata:
  name: keys
  annotations: {{note: {PLANTED["of an annotation"]}}}
stringData:
  password: {PLANTED["of a secret"]}
  key: {json.dumps(KEY)}
  .dockerconfigjson: '{{"auths": {{"r.example": {{"password": "{PLANTED["of a registry"]}"}}}}}}'
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings}}
data: {{anything: {PLANTED["of a config map"]}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: web
  labels: {{team: {PLANTED["of a label"]}, app.kubernetes.io/name: web}}
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: '{{"a": "{PLANTED["of an annotation"]}"}}'
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [web.example]
  rules:
    - matches:
        - path: {{type: PathPrefix, value: /cart}}
          headers: [{{name: x-key, value: {PLANTED["of a header that a route wants"]}}}]
      filters:
        - type: RequestHeaderModifier
          requestHeaderModifier:
            set: [{{name: x-upstream, value: {PLANTED["of a header that a route sets"]}}}]
---
apiVersion: weir.dev/v1alpha1
kind: EnvoyPatch
metadata: {{name: patch}}
spec:
  targetRef: {{name: edge}}
  mergePatches:
    - type: type.googleapis.com/envoy.config.route.v3.RouteConfiguration
      name: shop/edge/http-8080
      value: {{response_headers_to_add: [{{header: {{key: a, value: {PLANTED["of a patch"]}}}}}]}}
"""


@dataclass(frozen=True)
class Report:
    """An archive, unpacked."""

    files: dict[str, bytes]

    @classmethod
    def read(cls, archive: Path) -> Report:
        assert archive.stat().st_mode & 0o777 == 0o600
        with tarfile.open(archive) as tar:
            found = {one.name.partition("/")[2]: tar.extractfile(one) for one in tar}
            return cls({name: file.read() for name, file in found.items() if file is not None})

    def json(self, name: str) -> Any:  # noqa: ANN401
        return json.loads(self.files[name])

    def leaked(self) -> list[str]:
        """Which of the planted secrets stand in which file, in any form that it was planted in."""
        return [
            f"{name} in {path}"
            for path, data in self.files.items()
            for name, word in WORDS.items()
            if word in data or base64.b64encode(word) in data or word in path.encode()
        ]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to work in. Of two replicas of the cluster one cannot be reached."""
    folder = tmp_path_factory.mktemp("report")
    with (
        pytest.MonkeyPatch.context() as patch,
        ApiServer(rollouts=True) as server,
        scene(server) as made,
        replicas.admin(pages()) as admin,
    ):
        patch.setenv("KUBECONFIG", str(server.write_kubeconfig(folder / "kubeconfig")))
        patch.setenv("PATH", f"{Path(tools.program('kubectl')).parent}:/usr/bin:/bin")
        _plant(server, made, admin.port)
        replicas.replica(server, made.http, "weir-2", 1)
        failing = f"password={PLANTED['of a page that fails']}"
        admin.pages["/v1/proxies/envoy%2F1/intended"] = {"types": {failing: None}}
        yield folder


@pytest.fixture(scope="module")
def report(cluster: Path) -> Report:
    to = cluster / "report.tar.gz"
    done = weir("bug-report", "--to", str(to), plugin=True)
    assert done.exit_code == 0, done.output
    assert not any(word in done.output.encode() for word in WORDS.values())
    return Report.read(to)


def _plant(server: ApiServer, made: Scene, port: int) -> None:
    made.put(OBJECTS)
    environment = [
        {"name": "WEIR_LOG_FORMAT", "value": "json"},
        {"name": "SOMETHING", "value": PLANTED["of a variable"]},
    ]
    arguments = [
        *("serve", "--xds-address=0.0.0.0:18000"),
        f"--rate-limit-redis-url=redis://:{PLANTED['of an option']}@redis",
    ]
    replicas.replica(server, made.http, "weir-1", port, env=environment, args=arguments)
    path = f"/api/v1/namespaces/{HOME}/pods/weir-1"
    container = {"name": "weir", "restartCount": 2, "ready": True, "image": "i", "imageID": "i"}
    again = {"status": {"containerStatuses": [container]}}
    merge = {"content-type": "application/merge-patch+json"}
    made.http.patch(f"{path}/status", json=again, headers=merge).raise_for_status()
    key = (HOME, "weir-1", "weir")
    server.api.kubelet.logs[key] = LOG.encode()
    before = f"x-api-key: {PLANTED['of a log before']}\npanic\n"
    server.api.kubelet.previous[key] = before.encode()
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "one"},
        "eventTime": "2027-01-01T00:00:00.000000Z",
        "reportingController": "weir.dev/controller",
        "reportingInstance": "weir-1",
        "action": "Freeze",
        "type": "Warning",
        "reason": "Frozen",
        "note": f"held by ?api_key={PLANTED['of an event']}",
        "regarding": {"kind": "Gateway", "name": "edge", "namespace": "shop"},
    }
    replicas.put(made.http, f"/apis/events.k8s.io/v1/namespaces/{HOME}/events", event)


def test_nothing_that_is_secret_is_in_an_archive_of_a_cluster(report: Report) -> None:
    assert report.leaked() == []


def test_what_a_reader_needs_is_in_it(report: Report) -> None:
    (route,) = report.json("objects/httproutes.gateway.networking.k8s.io.json")
    assert route["spec"]["hostnames"] == ["web.example"]
    assert route["spec"]["rules"][0]["matches"][0]["path"]["value"] == "/cart"
    assert route["metadata"]["labels"]["app.kubernetes.io/name"] == "web"
    secrets = {one["metadata"]["name"]: one for one in report.json("objects/secrets.core.json")}
    assert set(secrets["keys"]["entries"]) == {"password", "key", ".dockerconfigjson"}
    log = report.files["logs/weir-1/weir.log"].decode()
    assert "starting with 3 workers" in log
    assert "redis://<withheld>@redis:6379/0" in log
    assert '"event": "logged in"' in log
    assert b"panic" in report.files["logs/weir-1/weir.previous.log"]
    assert report.json("replicas/weir-1/decisions/shop_web.json")["reasons"] == [{"code": "held"}]
    dump = report.json("replicas/weir-1/envoys/envoy_1/acked.json")["rds"]
    assert dump[0]["config"]["virtual_hosts"][0]["domains"] == ["web.example"]
    assert dump[1]["not_shown"] == "it is a secret"
    pod = report.json("workload/pods.json")[0]
    assert "--xds-address=0.0.0.0:18000" in pod["spec"]["containers"][0]["args"]
    assert {"name": "WEIR_LOG_FORMAT", "value": "json"} in pod["spec"]["containers"][0]["env"]
    (event,) = report.json("events.json")
    assert event["reason"] == "Frozen"
    assert report.json("replicas/weir-1/about.json")["version"] == version()


def test_what_cannot_be_had_is_said_and_stops_nothing(report: Report) -> None:
    left_out = report.json("left-out.json")
    assert "no answer" in left_out["replicas/weir-2/metrics.txt"]
    assert (
        "is the control plane of the same version?"
        in (left_out["replicas/weir-1/envoys/envoy_1/intended.json"])
    )
    assert "logs/weir-2/weir.log" in report.files


def test_a_dry_run_lists_what_would_be_taken_and_takes_nothing(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    listed = json.loads(weir("bug-report", "--dry-run", "-o", "json", plugin=True).stdout)
    paths = {one["path"] for one in listed}
    assert {"logs/weir-1/weir.log", "objects/secrets.core.json", "events.json"} <= paths
    assert list(tmp_path.iterdir()) == []


def test_analyze_finds_in_a_cluster_what_it_finds_in_a_folder(
    cluster: Path, tmp_path: Path
) -> None:
    (tmp_path / "all.yaml").write_text(OBJECTS)

    def found(*options: str) -> set[tuple[str, str]]:
        done = weir("analyze", "-o", "json", *options)
        return {(one["code"], one["object"]) for one in json.loads(done.stdout)}

    in_folder = found("-f", str(tmp_path))
    assert ("WEIR0101", "HTTPRoute default/web") in in_folder
    assert found("--context", "test") == in_folder
    assert found("--context", "test", "-n", "elsewhere") == set()


def test_of_a_folder_nothing_secret_is_taken_either(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "all.yaml").write_text(OBJECTS)
    (folder / "broken.yaml").write_text(f"a: [{PLANTED['of a document that is broken']}")
    log = tmp_path / "weir.log"
    log.write_text(LOG)
    to = tmp_path / "report.tar.gz"
    with replicas.admin(pages()) as admin:
        admin.pages["/v1/about"]["settings"]["config"] = str(folder)
        address = f"127.0.0.1:{admin.port}"
        options = ("--admin-address", address, "--log", str(log), "--to", str(to))
        done = weir("bug-report", *options)
    assert done.exit_code == 0, done.output
    report = Report.read(to)
    assert report.leaked() == []
    assert [one["kind"] for one in report.json("documents/all.yaml.json")] == [
        *("Secret", "ConfigMap", "HTTPRoute", "EnvoyPatch")
    ]
    assert report.json("documents/broken.yaml.json")[0]["line"] >= 0
    assert b"starting with 3 workers" in report.files["logs/weir.log"]
    assert "replicas/replica-0/metrics.txt" in report.files


def test_a_report_of_what_does_not_run_has_its_documents(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "all.yaml").write_text(OBJECTS)
    to = tmp_path / "report.tar.gz"
    nobody = ("--admin-address", "127.0.0.1:1")
    assert weir("bug-report", "-f", str(folder), *nobody, "--to", str(to)).exit_code == 0
    report = Report.read(to)
    assert "no answer" in report.json("left-out.json")["replicas/replica-0/about.json"]
    nowhere = weir("bug-report", *nobody, "--to", str(tmp_path / "no" / "where"))
    assert "No such file or directory" in str(nowhere.exception)
    assert "documents/all.yaml.json" in report.files
