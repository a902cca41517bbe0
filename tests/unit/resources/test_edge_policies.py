"""What is refused of the fields for the edge and for what is told of the path."""

from __future__ import annotations

import pytest

from tests.unit.resources.documents import BACKEND, GATEWAY, ROUTE, joined, read

TRAFFIC = """\
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: edge}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
"""
CLIENT = """\
apiVersion: weir.dev/v1alpha1
kind: ClientPolicy
metadata: {name: edge}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
"""
REF = "backendRefs: [{name: web}]"

# fields, the field that is told, words of the message
OF_TRAFFIC = [
    ("compressor: [{type: Deflate}]", "compressor[0].type", '"Deflate" is not taken'),
    ("compressor: [{type: Gzip}, {type: Gzip}]", "compressor", "Gzip is named twice"),
    ("lua: [{type: Inline}]", "lua[0]", "type Inline has inline"),
    ("lua: [{type: Inline, inline: x, valueRef: {name: a}}]", "lua[0]", "and no other"),
    ("lua: [{type: ValueRef, inline: x}]", "lua[0]", "type ValueRef has valueRef"),
    ("extProc: [{backendRefs: []}]", "extProc[0].backendRefs", "at least one"),
    (f"extProc: [{{{REF}, messageTimeout: 2m}}]", "extProc[0].messageTimeout", "60"),
    (f"extProc: [{{{REF}, processingMode: {{request: {{body: All}}}}}}]",
     "extProc[0].processingMode.request.body", '"All" is not taken'),
    ("wasm: [{name: a, code: {type: File, file: {path: a.wasm}}}]", "wasm[0].code.file.path",
     "pattern"),
    ("wasm: [{name: a, code: {type: File, file: {path: /a}}}, "
     "{name: a, code: {type: File, file: {path: /b}}}]", "wasm", "module 'a' is there twice"),
    ("responseCache: {version: 'a b'}", "responseCache.version", "pattern"),
    ("responseCache: {files: {path: /kept, maxSize: 1}}", "responseCache.files.maxSize", "1048576"),
    ("telemetry: {metrics: {routeStatName: a.b}}", "telemetry.metrics.routeStatName", "pattern"),
]  # fmt: skip
OF_CLIENT = [
    ("earlyData: Reject", "earlyData", '"Reject" is not taken'),
    ("headers: {earlyRequestHeaders: {set: [{name: host, value: a}]}}",
     "headers.earlyRequestHeaders", "host is not changed"),
    ("headers: {lateResponseHeaders: {set: [{name: a, value: b}], remove: [A]}}",
     "headers.lateResponseHeaders", "named twice"),
    ("localReplies: [{statusCodes: [404]}]", "localReplies[0]", "either body or json"),
    ("localReplies: [{body: a, json: {a: b}}]", "localReplies[0]", "either body or json"),
    ("localReplies: [{body: a, status: 99}]", "localReplies[0].status", "200"),
    ("telemetry: {accessLog: {settings: []}}", "telemetry.accessLog.settings", "at least one"),
    ("telemetry: {accessLog: {settings: [{sinks: [{type: File}]}]}}",
     "telemetry.accessLog.settings[0].sinks[0]", "type File has file"),
    ("telemetry: {accessLog: {settings: [{sinks: [{type: File, file: {path: log}}]}]}}",
     "telemetry.accessLog.settings[0].sinks[0].file.path", "pattern"),
    ("telemetry: {accessLog: {settings: [{format: {type: JSON, text: a}, "
     "sinks: [{type: File, file: {path: /dev/stdout}}]}]}}",
     "telemetry.accessLog.settings[0].format", "type JSON has json"),
    (f"telemetry: {{tracing: {{samplingRate: 101.0, provider: {{{REF}}}}}}}",
     "telemetry.tracing.samplingRate", "100"),
    ("telemetry: {tracing: {provider: {type: Zipkin}}}", "telemetry.tracing.provider.type",
     '"Zipkin" is not taken'),
    ("telemetry: {metrics: {classes: [{name: a}]}}", "telemetry.metrics.classes[0]",
     "headers, a method, or both"),
    ("telemetry: {metrics: {classes: [{name: a, method: GET}, {name: a, method: PUT}]}}",
     "telemetry.metrics.classes", "class 'a' is there twice"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "fields", "field", "message"),
    [*((TRAFFIC, *one) for one in OF_TRAFFIC), *((CLIENT, *one) for one in OF_CLIENT)],
)
def test_what_is_wrong_is_refused_with_its_field(
    policy: str, fields: str, field: str, message: str
) -> None:
    result = read({"all.yaml": f"{policy}  {fields}\n"})
    assert not result.declared.objects()
    fitting = [one for one in result.problems if one.field == f"spec.{field}"]
    assert fitting, [str(one) for one in result.problems]
    assert any(message in one.message for one in fitting), fitting
    assert {one.line for one in fitting} == {6}


@pytest.mark.parametrize(
    ("policy", "fields", "field", "message"),
    [
        (TRAFFIC, "extProc: [{backendRefs: [{name: wbe}]}]", "extProc[0].backendRefs[0]",
         "there is no Backend default/wbe"),
        (TRAFFIC, "lua: [{type: ValueRef, valueRef: {name: script}}]", "lua[0]",
         "there is no ConfigMap default/script; what it is for is answered 500"),
        (TRAFFIC, "lua: [{type: ValueRef, valueRef: {name: empty}}]", "lua[0]",
         "ConfigMap default/empty has no entry 'lua'"),
        (CLIENT, "telemetry: {tracing: {provider: {backendRefs: [{name: wbe}]}}}",
         "telemetry.tracing.provider.backendRefs[0]", "there is no Backend default/wbe"),
        (CLIENT, "telemetry: {accessLog: {settings: [{sinks: [{type: OpenTelemetry, "
         "openTelemetry: {backendRefs: [{name: wbe}]}}]}]}}",
         "telemetry.accessLog.settings[0].sinks[0].openTelemetry.backendRefs[0]",
         "there is no Backend default/wbe"),
    ],
)  # fmt: skip
def test_what_a_policy_refers_to_must_be_there(
    policy: str, fields: str, field: str, message: str
) -> None:
    empty = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: empty}\n"
    text = joined(GATEWAY, ROUTE, BACKEND, empty, f"{policy}  {fields}\n")
    (problem,) = read({"all.yaml": text}).problems
    assert (problem.field, message in problem.message) == (f"spec.{field}", True), str(problem)
    assert text.splitlines()[problem.line - 1].strip().startswith(fields.partition(":")[0])


def test_what_the_cache_does_not_heed_is_told() -> None:
    cached = f"{TRAFFIC}  responseCache: {{}}\n"
    assert read({"all.yaml": joined(GATEWAY, ROUTE, BACKEND, cached)}).problems == ()
    slow = ROUTE.replace("- backendRefs:", "- timeouts: {request: 1s}\n      backendRefs:")
    (problem,) = read({"all.yaml": joined(GATEWAY, slow, BACKEND, cached)}).problems
    assert problem.field == "spec.responseCache"
    assert "HTTPRoute default/web, spec.rules[0]" in problem.message
