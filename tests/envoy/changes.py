"""What may change at an edge that is under load: documents of which each slot holds one at a time.

None of them is to make a request of the customers fail: limits are far away, credentials are good.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.envoy.edge import policy, route, to
from tests.envoy.identities import Issuer, basic

ALICE = Issuer("https://alice.test")
CREDENTIALS = {
    **basic("ann", "password-of-ann"),
    "x-token": ALICE.token(team="shop"),
    "x-key": "key-of-ann",
    "x-user": "ann",
}
"""What lets the customers in, whichever policies are in force."""
JWT = (
    "  jwt: {{providers: [{{name: alice, issuer: 'https://alice.test', {keys}, "
    "extractFrom: {{headers: [{{name: x-token}}]}}}}]}}\n"
)
INLINE = JWT.format(keys=f"localJWKS: {{type: Inline, inline: '{ALICE.jwks}'}}")
CLAIMS = (
    "  authorization: {rules: [{action: Allow, principal: "
    "{jwt: {provider: alice, claims: [{name: team, values: [shop]}]}}}]}\n"
)
KEYS = "  apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-key]}]}\n"
ACCESS = {
    "nobody is asked": "",
    "tokens": INLINE,
    "claims of tokens": INLINE + CLAIMS,
    "API keys": KEYS,
    "passwords": "  basicAuth: {users: {name: users}}\n",
    "addresses": "  authorization: {rules: [{action: Allow, principal: "
    "{clientCIDRs: [127.0.0.0/8]}}]}\n",
    "another service is asked": "  extAuth: {http: {backendRefs: [{name: asked}]}, timeout: 10s}\n",
    "keys and tokens": INLINE + KEYS,
}
OPEN = ("nobody is asked", "addresses", "another service is asked")
"""Of these, what lets strangers in."""
EACH = "{clientSelectors: [{headers: [{name: x-user, type: Distinct}]}], "
MANY = "limit: {requests: 1000000, unit: Second}}"
TRAFFIC = {
    "as usual": "",
    "retries": "  retry: {numRetries: 3, retryOn: {triggers: [5xx]}}\n",
    "local limits": f"  rateLimit: {{local: {{rules: [{EACH}{MANY}]}}}}\n",
    "global limits": f"  rateLimit: {{global: {{rules: [{EACH}{MANY}]}}}}\n",
    "buffers": "  requestBuffer: {limit: 1000}\n",
    "high priority": "  priority: High\n",
    "time": "  timeout: {http: {requestTimeout: 10s}}\n",
    "adaptive concurrency": "  adaptiveConcurrency: {concurrencyLimitParams: "
    "{minConcurrencyLimit: 200}}\n",
    "classes": "  classes: [{name: gold, match: {headers: [{name: x-user, value: ann}]}, "
    "priority: High}, {name: bronze}]\n",
    "other answers": "  responseOverride: [{match: {statusCodes: [{value: 418}]}, "
    "response: {contentType: text/plain, body: {inline: tea}}}]\n",
    "an inspector": "  extProc: [{backendRefs: [{name: inspector}], messageTimeout: 10s, "
    "processingMode: {request: {}, response: {}}}]\n",
    "a script": "  lua: [{type: Inline, inline: 'function envoy_on_request(handle) "
    'handle:headers():add("x-script", "seen") end\'}]\n',
    "compression": "  compressor: [{type: Gzip}]\n",
    "a cache": "  responseCache: {version: '1', forAuthenticated: true}\n",
    "drills": "  faultInjection: {delay: {fixedDelay: 1ms, percentage: 50}}\n",
}
SESSIONS = {
    "sessions by cookie": "  sessionPersistence: {sessionName: cart}\n",
    "sessions by header": "  sessionPersistence: {type: Header, sessionName: x-cart}\n",
    "strict sessions while all is well": "  retry: {numRetries: 1}\n",
}
CONNECTIONS = {
    "as usual": "",
    "breakers": "  circuitBreaker: {maxConnections: 1000, maxParallelRequests: 1000, "
    "maxRequestsPerConnection: 20}\n",
    "health is asked": "  healthCheck: {active: {type: HTTP, interval: 100ms, http: {path: /}}}\n",
    "hash of the user": "  loadBalancer: {type: ConsistentHash, consistentHash: "
    "{type: Header, header: {name: x-user}}}\n",
    "short connections": "  timeout: {http: {connectionIdleTimeout: 50ms, "
    "maxConnectionDuration: 200ms}}\n",
    "admission": "  admissionControl: {rpsThreshold: 0}\n",
    "keepalive and buffers": "  tcpKeepalive: {idleTime: 5s}\n  connection: {bufferLimit: 65536}\n",
    "outliers": "  healthCheck: {passive: {consecutive5XxErrors: 2}, panicThreshold: 0}\n",
}
BALANCING = {
    "as usual": "",
    "equal": "  policy: equal\n  interval: 2s\n",
    "failover": "  policy: equal\n  locality: {failover: [{places: [{region: eu}]}]}\n",
}
ADDRESSES = {
    "everybody": "",
    "some are let in": "  clientAddresses: {allow: [127.0.0.0/8]}\n",
    "some are not": "  clientAddresses: {deny: [192.0.2.0/24]}\n",
}
CLIENTS = {
    "as usual": "",
    "streams": "  http2: {maxConcurrentStreams: 50, initialStreamWindowSize: 128Ki}\n",
    "times": "  timeout: {http: {requestHeadersTimeout: 5s, idleTimeout: 30s}}\n",
    "headers": "  headers: {maxCount: 50, preserveXRequestID: true}\n",
    "paths": "  path: {disableMergeSlashes: true}\n",
    "TLS 1.3": "  tls: {minVersion: '1.3'}\n",
    "HTTP/3": "  http3: {}\n",
}
ONE = to("one")
MATCHES = "matches: [{path: {value: /extra}}]"
FILTER = "apiVersion: weir.dev/v1alpha1\nkind: HTTPRouteFilter\nmetadata: {name: mine}\nspec: "
STATIC = {
    "nothing": "",
    "an answer": "{directResponse: {statusCode: 200, body: {inline: hello}}}",
    "another answer": "{directResponse: {statusCode: 200, body: {inline: goodbye}}}",
    "an expression": "{cel: {expression: \"request.headers['x-user'] == 'ann'\"}}",
    "a payload": "{payload: {fields: [{path: [tier], value: gold}]}}",
}


def filtered(spec: str) -> str:
    """A route with an HTTPRouteFilter, for the rule or for one of its Backends."""
    if not spec:
        return ""
    refers = (
        "filters: [{type: ExtensionRef, extensionRef: "
        "{group: weir.dev, kind: HTTPRouteFilter, name: mine}}]"
    )
    rule = refers if "directResponse" in spec else to(f"two, {refers}", "one")
    return f"{FILTER}{spec}\n---\n" + own_route("filtered", "/filtered", rule)


def own_route(name: str, path: str, rule: str) -> str:
    """A route of host a.test for the paths below one."""
    rules_ = f"[{{matches: [{{path: {{value: {path}}}}}], {rule}}}]"
    return route(name, rules_, parents="[{name: edge, sectionName: a}]")


def all_of(kind: str, name: str, target: str, specs: Mapping[str, str]) -> dict[str, str]:
    """A policy for each of these, and none where nothing is said."""
    return {what: policy(kind, name, target, spec) if spec else "" for what, spec in specs.items()}


def granted(port: int) -> str:
    """A Backend of another team, and what lets us use it."""
    return (
        "apiVersion: weir.dev/v1alpha1\nkind: Backend\nmetadata: {name: theirs, namespace: team}\n"
        f"spec: {{endpoints: [{{ip: {{address: 127.0.0.1, port: {port}}}}}]}}\n---\n"
        "apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\n"
        "metadata: {name: ours, namespace: team}\nspec:\n"
        "  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]\n"
        "  to: [{group: weir.dev, kind: Backend}]\n---\n"
        + own_route("granted", "/granted", to("theirs, namespace: team"))
    )


RULES = {
    "one Backend": f"[{{{ONE}}}]",
    "weights": f"[{{{to('one, weight: 3', 'two, weight: 1')}}}]",
    "headers": f"[{{{MATCHES}, filters: [{{type: RequestHeaderModifier, requestHeaderModifier: "
    f"{{set: [{{name: x-way, value: extra}}]}}}}], {to('two')}}}, {{{ONE}}}]",
    "rewrites": f"[{{{MATCHES}, filters: [{{type: URLRewrite, urlRewrite: {{path: "
    f"{{type: ReplacePrefixMatch, replacePrefixMatch: /else}}}}}}], {ONE}}}, {{{ONE}}}]",
    "a mirror": f"[{{filters: [{{type: RequestMirror, requestMirror: {{backendRef: {{name: two}}, "
    f"percent: 20}}}}], {ONE}}}]",
    "times and tries": f"[{{timeouts: {{request: 5s, backendRequest: 2s}}, "
    f"retry: {{codes: [503], attempts: 2}}, {ONE}}}]",
    "matches": "[{matches: [{method: GET, headers: [{name: x-user, type: RegularExpression, "
    f"value: 'a.*'}}], queryParams: [{{name: q, value: '1'}}]}}], {to('two')}}}, {{{ONE}}}]",
}
ROUTES = {
    what: route("a", one, parents="[{name: edge, sectionName: a}]") for what, one in RULES.items()
}
MORE_ROUTES = {
    "none": "",
    "one": own_route("more", "/extra", ONE),
    "three": "---\n".join(
        [
            own_route("more", "/extra", to("two")),
            own_route("even-more", "/extra/2", to("one", "two")),
            own_route("most", "/unasked", ONE),
        ]
    ),
}
LISTENERS = "type.googleapis.com/envoy.config.listener.v3.Listener"
TABLES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"


def fetched(port: int) -> str:
    """Tokens whose keys are fetched."""
    return JWT.format(keys=f"remoteJWKS: {{uri: 'http://127.0.0.1:{port}/jwks'}}")


def envoy_patch(name: str, patch: str) -> str:
    """An EnvoyPatch for the edge; what is patched is indented by four spaces."""
    return (
        f"apiVersion: weir.dev/v1alpha1\nkind: EnvoyPatch\nmetadata: {{name: {name}}}\n"
        f"spec:\n  targetRef: {{name: edge}}\n{patch}"
    )


def patches_of_routes(port: int) -> dict[str, str]:
    """A header of answers."""
    made = {"none": ""}
    for said in ("one", "two"):
        made[said] = envoy_patch(
            "routes",
            f"  mergePatches:\n    - type: {TABLES}\n      name: default/edge/https-{port}/a\n"
            "      value: {response_headers_to_add: "
            f"[{{header: {{key: x-patched, value: {said}}}}}]}}\n",
        )
    return made


def patches_of_listeners(port: int) -> dict[str, str]:
    """The name of the server of one host; the buffers of all, so that all connections drain."""
    name = "add, value: mine, path: /filter_chains/0/filters/0/typed_config/server_name"
    buffers = "replace, value: 65536, path: /per_connection_buffer_limit_bytes"
    made = {"none": ""}
    for what, said in (("of one host", name), ("of the whole", buffers)):
        made[what] = envoy_patch(
            "listener",
            f"  jsonPatches:\n    - type: {LISTENERS}\n      name: default/edge/https-{port}\n"
            f"      operation: {{op: {said}}}\n",
        )
    return made
