"""Validating admission webhooks.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from tests.kubernetes.apiserver import errors, selectors, versions
from tests.kubernetes.apiserver.errors import ApiError, Object
from tests.kubernetes.apiserver.kinds import Kind
from tests.kubernetes.apiserver.requests import Request

if TYPE_CHECKING:
    from tests.kubernetes.apiserver.api import Api

CONFIGURATIONS = "validatingwebhookconfigurations.admissionregistration.k8s.io"
_EXEMPT = "admissionregistration.k8s.io"
LATE_S = 0.5


class Unreachable(Exception):
    """A webhook that gave no answer, and why."""


async def ask(
    api: Api,
    operation: str,
    request: Request,
    kind: Kind,
    one: Object | None,
    before: Object | None,
) -> tuple[str, ...]:
    """Ask every webhook that is to be asked; answers with their warnings, or raises a refusal."""
    if kind.group == _EXEMPT:
        return ()  # what configures webhooks is never sent to them
    warnings: tuple[str, ...] = ()
    for hook, as_kind in _asked(api, operation, request, kind, one, before):
        try:
            review = _review(api.source.uid(), operation, request, kind, as_kind, one, before)
            warnings += await _one(api, hook, review)
        except Unreachable as error:
            if hook.get("failurePolicy", "Fail") == "Fail":
                raise errors.internal(
                    f'failed calling webhook "{hook["name"]}": {error}'
                ) from error
    return warnings


def _asked(
    api: Api,
    operation: str,
    request: Request,
    kind: Kind,
    one: Object | None,
    before: Object | None,
) -> Iterator[tuple[Object, Kind]]:
    """Webhooks, and the version of the object that each is to see."""
    for _, configuration in api.store.items(CONFIGURATIONS):
        for hook in configuration.get("webhooks") or ():
            seen = _ruled_as(api, hook, operation, request, kind)
            if seen is not None and _selected(api, hook, request, kind, one, before):
                yield hook, seen


def _ruled_as(api: Api, hook: Object, operation: str, request: Request, kind: Kind) -> Kind | None:
    """The kind itself where a rule has it; another version of it, where the policy is Equivalent
    and a rule has that one."""
    others = (one for one in api.kinds if one.resource == kind.resource and one != kind)
    exact = hook.get("matchPolicy", "Equivalent") == "Exact"
    for as_kind in (kind,) if exact else (kind, *others):
        if any(_ruled(rule, operation, request, as_kind) for rule in hook.get("rules") or ()):
            return as_kind
    return None


def _ruled(rule: Object, operation: str, request: Request, kind: Kind) -> bool:
    resource = f"{kind.plural}/{request.part}" if request.part else kind.plural
    wild = {"*/*"} if request.part else {"*", "*/*"}
    wild |= {f"{kind.plural}/*", f"*/{request.part}"} if request.part else set()
    scope = "Namespaced" if kind.namespaced else "Cluster"
    return (
        bool({"*", operation} & set(rule.get("operations") or ()))
        and bool({"*", kind.group} & set(rule.get("apiGroups") or ()))
        and bool({"*", kind.version} & set(rule.get("apiVersions") or ()))
        and bool({resource, *wild} & set(rule.get("resources") or ()))
        and rule.get("scope", "*") in ("*", scope)
    )


def _selected(
    api: Api, hook: Object, request: Request, kind: Kind, one: Object | None, before: Object | None
) -> bool:
    by_object = selectors.of_labels(hook.get("objectSelector"))
    if not any(by_object(given) for given in (one, before) if given is not None):
        return False
    by_namespace = selectors.of_labels(hook.get("namespaceSelector"))
    if kind.namespaced:
        home = api.store.get("namespaces", ("", request.namespace))
        return home is None or by_namespace(home)
    return kind.resource != "namespaces" or by_namespace(one or before or {})


async def _one(api: Api, hook: Object, review: Object) -> tuple[str, ...]:
    said = await _post(api, hook, review)
    response = said.get("response")
    if not isinstance(response, dict) or response.get("uid") != review["request"]["uid"]:
        raise Unreachable("expected response.uid of the request")
    if any(said.get(name) != review[name] for name in ("apiVersion", "kind")):
        raise Unreachable(f"expected webhook response of {review['apiVersion']} AdmissionReview")
    if not response.get("allowed"):
        raise _denied(hook["name"], response.get("status") or {})
    return tuple(response.get("warnings") or ())


def _review(
    uid: str,
    operation: str,
    request: Request,
    kind: Kind,
    as_kind: Kind,
    one: Object | None,
    before: Object | None,
) -> Object:
    sent, own = ({"group": each.group, "version": each.version} for each in (as_kind, kind))
    name = ((one or before or {}).get("metadata") or {}).get("name", "")
    asked: Object = {
        "uid": uid,
        "kind": {**sent, "kind": kind.kind},
        "resource": {**sent, "resource": kind.plural},
        "requestKind": {**own, "kind": kind.kind},
        "requestResource": {**own, "resource": kind.plural},
        "name": name,
        "operation": operation,
        "userInfo": {"username": request.user, "groups": list(request.groups)},
        "object": one and versions.converted(one, kind, as_kind),
        "oldObject": before and versions.converted(before, kind, as_kind),
        "dryRun": request.dry_run,
        "options": {"kind": f"{operation.capitalize()}Options", "apiVersion": "meta.k8s.io/v1"},
    }
    if kind.namespaced:
        asked["namespace"] = request.namespace
    if request.part:
        asked |= {"subResource": request.part, "requestSubResource": request.part}
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": asked}


def _denied(name: str, status: Object) -> ApiError:
    why = status.get("message") or status.get("reason") or ""
    words = f'admission webhook "{name}" denied the request'
    words += f": {why}" if why else " without explanation"
    code = int(status.get("code") or 0)
    return ApiError(code if code >= 400 else 400, status.get("reason") or "BadRequest", words)


async def _post(api: Api, hook: Object, review: Object) -> Object:
    config = hook.get("clientConfig") or {}
    url, shown, server_name = _address(api, config)
    timeout_s = hook.get("timeoutSeconds", 10)
    shown += f"?timeout={timeout_s}s"
    try:
        context = _trust(config)
        # httpx counts each step for itself, and closes what it gives up: cancelled, it would not.
        async with (
            asyncio.timeout(timeout_s + LATE_S),
            httpx.AsyncClient(verify=context, timeout=timeout_s) as http,
        ):
            answer = await http.post(
                url,
                params={"timeout": f"{timeout_s}s"},
                json=review,
                headers={"host": server_name},
                extensions={"sni_hostname": server_name},
            )
    except (TimeoutError, httpx.TimeoutException) as error:
        words = f'failed to call webhook: Post "{shown}": context deadline exceeded'
        raise Unreachable(words) from error
    except (httpx.HTTPError, ssl.SSLError, ValueError) as error:
        words = str(error) or type(error).__name__
        raise Unreachable(f'failed to call webhook: Post "{shown}": {words}') from error
    if answer.status_code != 200:
        raise Unreachable(f"the server answered {answer.status_code}")
    try:
        said = answer.json()
    except ValueError as error:
        raise Unreachable(f"the answer cannot be read: {error}") from error
    if not isinstance(said, dict):
        raise Unreachable("the answer is not an object")
    return said


def _trust(config: Object) -> ssl.SSLContext:
    bundle = config.get("caBundle")
    if not bundle:
        return ssl.create_default_context()
    return ssl.create_default_context(cadata=base64.b64decode(bundle).decode())


def _address(api: Api, config: Object) -> tuple[str, str, str]:
    """Where to call, what errors say of it, and the name that the certificate must have. A service
    is reached at a ready address of its EndpointSlices.
    """
    if config.get("url"):
        url = str(config["url"])
        return url, url, urlsplit(url).hostname or ""
    service = config.get("service") or {}
    namespace, name = service.get("namespace", ""), service.get("name", "")
    port, path = service.get("port", 443), service.get("path") or "/"
    host, at = api.endpoint(namespace, name, port)
    server_name = f"{name}.{namespace}.svc"
    return f"https://{host}:{at}{path}", f"https://{server_name}:{port}{path}", server_name
