"""What the validators of the models refuse and a schema cannot say, in CEL.

A rule is for people too: its message is the validator's. What CEL would pay too dear for (names in
a list of thousands that are to differ), has no word for (an Envoy pattern, base64, a JSON key set)
or cannot see (other objects) stays with the controller, which says it in a condition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import BaseModel

from controlplane.resources import authorization as authz
from controlplane.resources import envoy_patch, locality, rate_limit, resilience
from controlplane.resources.api_key_auth import KeySource
from controlplane.resources.backend import BackendEndpoint, BackendSpec, Fqdn
from controlplane.resources.balancing import Guard
from controlplane.resources.client_edge import LocalReply
from controlplane.resources.client_http import ClientIpDetection, XForwardedClientCert
from controlplane.resources.client_policy import ClientSettings
from controlplane.resources.client_tls import ClientTls
from controlplane.resources.connections import CircuitBreaker, TcpKeepalive
from controlplane.resources.cors import Cors
from controlplane.resources.ext_auth import ExtAuth
from controlplane.resources.extensions import Lua
from controlplane.resources.geo_ip import GeoIp
from controlplane.resources.health_check import ActiveCheck, HttpCheck, Payload, TcpCheck
from controlplane.resources.jwt import JwtExtractFrom, JwtProvider, LocalJwks
from controlplane.resources.load_balancer import ConsistentHash, LoadBalancer
from controlplane.resources.route_filter import HttpRouteFilterSpec
from controlplane.resources.security_policy import SecurityPolicySpec
from controlplane.resources.target import TargetRef
from controlplane.resources.telemetry import LogFormat, LogSink, RequestClass
from controlplane.resources.traffic_policy import OfRequests, TrafficPolicySpec


class Rule(NamedTuple):
    """One rule of a value, `self`."""

    cel: str
    message: str


def _filled(field: str) -> str:
    return f"(has(self.{field}) && size(self.{field}) > 0)"


def _any(*fields: str) -> str:
    return " || ".join(map(_filled, fields))


def _either(one: str, other: str, message: str) -> Rule:
    return Rule(f"has(self.{one}) != has(self.{other})", message)


def _of_type(message: str, of: str = "type", /, **fields: str) -> Rule:
    """Each field is given with its type alone."""
    return Rule(
        " && ".join(f"(self.{of} == '{kind}') == has(self.{one})" for one, kind in fields.items()),
        message,
    )


_SECONDS = "duration(self.{0}) == duration(string(duration(self.{0}).getSeconds()) + 's')"


def _whole(field: str) -> Rule:
    rule = f"!has(self.{field}) || {_SECONDS.format(field)}"
    return Rule(rule, f"{field} is in whole seconds, as TCP has it")


_NOT_OF_BACKENDS = " || ".join(
    f"has(self.{info.alias or name})" for name, info in OfRequests.model_fields.items()
)

RULES: Mapping[type[BaseModel], tuple[Rule, ...]] = {
    TargetRef: (
        Rule(
            "self.group == (self.kind == 'Backend' ? 'weir.dev' : self.kind == 'Service' ? '' : "
            "'gateway.networking.k8s.io')",
            "the group of kind Backend is weir.dev, of Service it is empty, of the others "
            "gateway.networking.k8s.io",
        ),
    ),
    BackendEndpoint: (
        _either("ip", "fqdn", "an endpoint has either ip or fqdn, exactly one of them"),
    ),
    Fqdn: (Rule("!self.hostname.startsWith('*')", "a name to resolve has no '*'"),),
    BackendSpec: (
        Rule(
            "!has(self.appProtocols) || !(self.appProtocols.exists(p, p.endsWith('/h2c')) && "
            "self.appProtocols.exists(p, p.endsWith('/ws')))",
            "appProtocols say HTTP/2 and websockets; make two Backends of it",
        ),
    ),
    Guard: (
        Rule("self.stepDownSick <= self.stepDown", "guard: wanted stepDownSick <= stepDown"),
        Rule(
            "duration(self.freezeAfter) <= duration(self.decayUntil)",
            "guard: wanted freezeAfter <= decayUntil",
        ),
    ),
    locality.ZoneAware: (
        _either(
            "preferLocal",
            "leastTime",
            "wanted either preferLocal or leastTime, exactly one of them",
        ),
    ),
    locality.Locality: (
        _either(
            "failover", "zoneAware", "wanted either failover or zoneAware, exactly one of them"
        ),
    ),
    CircuitBreaker: (
        Rule(
            "!(has(self.maxParallelRetries) && has(self.retryBudget))",
            "retryBudget and maxParallelRetries both bound retries; take one",
        ),
    ),
    TcpKeepalive: (_whole("idleTime"), _whole("interval")),
    LoadBalancer: (
        _of_type(
            "consistentHash is given with type ConsistentHash, and with no other",
            consistentHash="ConsistentHash",
        ),
    ),
    ConsistentHash: (
        _of_type("header is given with type Header, and with no other", header="Header"),
        _of_type("cookie is given with type Cookie, and with no other", cookie="Cookie"),
    ),
    ActiveCheck: (
        _of_type("http is given with type HTTP, and with no other", http="HTTP"),
        *(
            Rule(
                f"!has(self.{word}) || self.type == '{kind}'",
                f"{word} is given with type {kind} alone",
            )
            for word, kind in (("tcp", "TCP"), ("grpc", "GRPC"), ("redis", "Redis"))
        ),
    ),
    HttpCheck: (
        Rule(
            "!has(self.expectedResponse) || self.method != 'HEAD'",
            "an answer to HEAD has no body to expect; take another method",
        ),
        Rule(
            "!has(self.requestHeaders) || self.requestHeaders.all(one, "
            "self.requestHeaders.exists_one(other, other.name == one.name))",
            "a header is written twice",
        ),
    ),
    TcpCheck: (
        Rule(
            "!has(self.receive) || has(self.send)",
            "receive needs send: without one, to connect is all that is looked at",
        ),
    ),
    Payload: (
        _of_type(
            "type Text has text alone, type Binary has binary alone", text="Text", binary="Binary"
        ),
    ),
    Lua: (
        _of_type(
            "type Inline has inline, type ValueRef has valueRef, and no other",
            inline="Inline",
            valueRef="ValueRef",
        ),
    ),
    LocalJwks: (
        _of_type(
            "type Inline has inline alone, type ValueRef has valueRef alone",
            inline="Inline",
            valueRef="ValueRef",
        ),
    ),
    JwtProvider: (
        _either("remoteJWKS", "localJWKS", "a provider has either remoteJWKS or localJWKS"),
    ),
    JwtExtractFrom: (
        Rule(_any("headers", "cookies", "params"), "want headers, cookies or params"),
    ),
    KeySource: (Rule(_any("headers", "params", "cookies"), "want headers, params or cookies"),),
    ExtAuth: (_either("grpc", "http", "extAuth has either grpc or http"),),
    authz.JwtPrincipal: (Rule(_any("claims", "scopes"), "want claims or scopes"),),
    authz.Principal: (
        Rule(
            f"{_any('clientCIDRs', 'headers')} || has(self.jwt)", "want clientCIDRs, jwt or headers"
        ),
    ),
    authz.Operation: (Rule(_any("methods", "paths"), "want methods or paths"),),
    authz.AuthorizationRule: (
        Rule(
            "has(self.principal) || has(self.operation)",
            "want principal or operation; defaultAction is for all other requests",
        ),
    ),
    Cors: (
        Rule(
            "!(has(self.allowCredentials) && self.allowCredentials && has(self.exposeHeaders) && "
            "self.exposeHeaders.exists(one, one == '*'))",
            "exposeHeaders '*' does not work with allowCredentials; name the headers",
        ),
    ),
    SecurityPolicySpec: (
        Rule(
            "!(has(self.cors) && has(self.cors.allowCredentials) && self.cors.allowCredentials && "
            "has(self.cors.allowOrigins) && self.cors.allowOrigins.exists(one, "
            "one in ['*', 'http://*', 'https://*']))",
            "cors.allowCredentials with an origin of any host lets every page act as the user who "
            "looks at it; name the origins, or the domain as in https://*.example.com",
        ),
        Rule(
            "!(has(self.oidc) && has(self.oidc.passThroughAuthHeader) && "
            "self.oidc.passThroughAuthHeader) || "
            "(has(self.jwt) && !(has(self.jwt.optional) && self.jwt.optional))",
            "oidc.passThroughAuthHeader lets every Authorization: Bearer pass; it needs jwt, not "
            "optional, that checks the tokens",
        ),
    ),
    TrafficPolicySpec: (
        Rule(
            f"self.targetRefs.all(one, one.kind != 'Backend') || !({_NOT_OF_BACKENDS})",
            "what is said of requests is for routes and Gateways: a Backend is a target of "
            "connections alone; put it into a policy for a route or a Gateway",
        ),
        Rule(
            "self.targetRefs.all(one, one.kind != 'Backend') || !(has(self.timeout) && "
            "has(self.timeout.http) && has(self.timeout.http.requestTimeout))",
            "timeout.http.requestTimeout says something of requests, and a Backend is a target of "
            "connections alone; put it into a policy for a route or a Gateway",
        ),
    ),
    ClientSettings: (
        Rule(
            "!has(self.http3) || !has(self.tls) || !has(self.tls.maxVersion) || "
            "self.tls.maxVersion == '1.3'",
            "http3 needs TLS 1.3: set tls.maxVersion",
        ),
        Rule(
            "!(has(self.http3) && has(self.proxyProtocol))",
            "http3 and proxyProtocol do not go together: Envoy reads it over TCP",
        ),
    ),
    ClientTls: (Rule("self.minVersion <= self.maxVersion", "minVersion is at most maxVersion"),),
    ClientIpDetection: (
        _either("xForwardedFor", "customHeader", "give either xForwardedFor or customHeader"),
    ),
    XForwardedClientCert: (
        Rule(
            f"!{_filled('certDetailsToAdd')} || self.mode in ['SanitizeSet', 'AppendForward']",
            "certDetailsToAdd is taken with mode SanitizeSet or AppendForward",
        ),
    ),
    LocalReply: (
        _either("body", "json", "an answer has either body or json, exactly one of them"),
    ),
    GeoIp: (
        Rule(
            "has(self.headers.country) || has(self.headers.region) || has(self.headers.city) || "
            "has(self.headers.asn)",
            "headers names none: say which header tells country, city or asn",
        ),
        Rule(
            "!has(self.headers.country) || has(self.countryDatabase) || has(self.cityDatabase)",
            "headers.country needs countryDatabase or cityDatabase",
        ),
        Rule(
            "!(has(self.headers.region) || has(self.headers.city)) || has(self.cityDatabase)",
            "headers.region and headers.city need cityDatabase",
        ),
        Rule("!has(self.headers.asn) || has(self.asnDatabase)", "headers.asn needs asnDatabase"),
    ),
    LogFormat: (
        _of_type("type Text has text, type JSON has json, and no other", text="Text", json="JSON"),
    ),
    LogSink: (
        _of_type(
            "type File has file, type OpenTelemetry has openTelemetry",
            file="File",
            openTelemetry="OpenTelemetry",
        ),
    ),
    RequestClass: (
        Rule(f"{_filled('headers')} || has(self.method)", "a class has headers, a method, or both"),
    ),
    rate_limit.HeaderSelector: (
        Rule(
            "(self.type == 'Distinct') != has(self.value)",
            "Distinct means every value and takes none; the other types want a value to compare "
            "with",
        ),
        Rule(
            "self.type != 'Distinct' || !(has(self.invert) && self.invert)",
            "Distinct means every value; take away invert",
        ),
    ),
    rate_limit.ClientSelector: (
        Rule(
            f"{_any('headers', 'methods')} || has(self.sourceCIDR)",
            "an empty selector; give headers, sourceCIDR or methods",
        ),
    ),
    rate_limit.LocalRule: (
        Rule(
            "!(has(self.shadowMode) && self.shadowMode) || " + _filled("clientSelectors"),
            "shadowMode of a local rule wants clientSelectors",
        ),
    ),
    rate_limit.LocalRateLimit: (
        Rule(
            "self.rules.filter(one, !has(one.clientSelectors) || "
            "size(one.clientSelectors) == 0).size() <= 1",
            "two rules without clientSelectors; keep one limit for all requests",
        ),
    ),
    rate_limit.Cost: (
        _of_type(
            "number is given with from: Number, metadata with from: Metadata",
            "from",
            number="Number",
            metadata="Metadata",
        ),
    ),
    rate_limit.RateLimit: (
        Rule("has(self.local) || has(self.global)", "give local, global, or both"),
        Rule(
            "!has(self.type) || (self.type == 'Local' ? has(self.local) : has(self.global))",
            "type Local wants the section local, type Global the section global",
        ),
    ),
    resilience.RetryOn: (
        Rule(
            "!has(self.triggers) || !('retriable-status-codes' in self.triggers) || "
            + _filled("httpStatusCodes"),
            "retriable-status-codes needs httpStatusCodes",
        ),
    ),
    resilience.BackOff: (
        Rule(
            "!has(self.maxInterval) || duration(self.maxInterval) >= duration(self.baseInterval)",
            "maxInterval is at least baseInterval",
        ),
    ),
    resilience.RetryPolicy: (
        Rule(
            "!(has(self.hedgeOnPerTryTimeout) && self.hedgeOnPerTryTimeout) || "
            "(has(self.perRetry) && has(self.perRetry.timeout) && self.numRetries > 0)",
            "hedgeOnPerTryTimeout needs perRetry.timeout, and numRetries above 0",
        ),
    ),
    resilience.FaultAbort: (
        _either(
            "httpStatus",
            "grpcStatus",
            "an abort has either httpStatus or grpcStatus, exactly one of them",
        ),
    ),
    resilience.FaultInjection: (
        Rule("has(self.delay) || has(self.abort)", "faultInjection needs delay, abort or both"),
    ),
    resilience.StatusRange: (Rule("self.start <= self.end", "start is at most end"),),
    resilience.StatusCodeMatch: (
        _of_type(
            "value is given with type Value, range with type Range", value="Value", range="Range"
        ),
    ),
    HttpRouteFilterSpec: (
        Rule(
            "[has(self.directResponse), has(self.payload), has(self.cel), has(self.jwt)]"
            ".filter(one, one).size() == 1",
            "want directResponse, payload, cel or jwt, exactly one of them",
        ),
    ),
    envoy_patch.Operation: (
        Rule(
            "(self.op in ['move', 'copy']) == has(self.from)",
            "from is given with move and copy, and with no other",
        ),
    ),
    envoy_patch.EnvoyPatchSpec: (
        Rule(_any("jsonPatches", "mergePatches"), "want jsonPatches or mergePatches"),
    ),
}

MESSAGES: Mapping[str, str] = {
    "^[A-Za-z0-9_.-]{1,100}$": "names have letters, digits, '_', '.' and '-', at most 100",
    "^[a-z0-9]([-a-z0-9_.]{0,62}[a-z0-9])?$": "names have lower-case letters, digits, '-', '_', "
    "'.'",
}
"""Of names in mappings, by the pattern that they have."""
