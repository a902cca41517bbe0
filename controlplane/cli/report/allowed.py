"""Documents cut down to what is known to be harmless. Pure.

Of objects of Kubernetes and of Envoy's configuration the structure stays, with numbers, booleans,
durations, addresses and words of upper case; of texts only those whose field is listed here. All
others are told by their length. A field that nobody thought of is therefore not told.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

from controlplane.cli.report.scrub import WITHHELD
from controlplane.settings import ServeSettings

_NAMES = frozenset(
    """
    apiVersion kind name namespace uid resourceVersion creationTimestamp deletionTimestamp
    generateName group resource plural singular scope sectionName targetPort appProtocol protocol
    hostname hostnames host hosts matchType type mode from scheme method reason status phase
    controllerName gatewayClassName policy policies unit action
    lastTransitionTime lastUpdateTime lastHeartbeatTime startTime startedAt finishedAt
    firstTimestamp lastTimestamp eventTime deprecatedFirstTimestamp deprecatedLastTimestamp
    reportingController reportingInstance reportingComponent renewTime acquireTime holderIdentity
    nodeName zone addressType image imageID imagePullPolicy restartPolicy dnsPolicy
    serviceAccountName secretName claimName mountPath containerID
    whenUnsatisfiable topologyKey operator verb verbs apiGroups resources resourceNames
    accessModes storageClassName clusterIP internalTrafficPolicy externalTrafficPolicy
    sessionAffinity ipFamilies ipFamilyPolicy gitVersion kubeletVersion osImage architecture
    operatingSystem containerRuntimeVersion kernelVersion
    message note
    """.split()  # noqa: SIM905
)
"""Fields of objects. `message` and `note` are of statuses and events, and are scrubbed."""
_ENVOY = frozenset(
    """
    name @type version node_id cluster cluster_name service_name route_config_name stat_prefix
    address domains region zone sub_zone lb_policy path_separated_prefix
    resource_api_version set_node_on_first_message_only transport_api_version type codec_type
    virtual_hosts runtime_key alpn_protocols server_names transport_protocol application_protocols
    header_name shadow_rule_stat_prefix alt_stat_name eds_config path_specifier
    place refused
    """.split()  # noqa: SIM905
)
"""Fields of Envoy's API. Neither `value` of a header nor `inline_string` are here."""
_WITHIN = frozenset((("match", "prefix"), ("header", "key")))
"""Fields that are harmless within another: of a route, and the name of a header."""
_PATHS = frozenset(("path", "replacePrefixMatch", "replaceFullPath"))
"""`value` is of a path within these."""
_FREE = frozenset(
    "value values exact prefix suffix contains regex inline_string default".split()  # noqa: SIM905
)
"""Fields in which people write anything, such as what a header is: a PIN is no number there, and a
password in upper case no word of an enumeration."""
_DOMAINS = ("kubernetes.io", "k8s.io", "helm.sh", "weir.dev", "gateway.networking")
"""Labels and annotations of these are told."""
_ANNOTATIONS = ("bundle-version", "channel", "revision", "resource-policy")
_SHAPES = re.compile(
    r"""
    -?\d{1,15}(\.\d{1,9})?\s?[A-Za-z%]{0,3}            # numbers, durations, quantities
    | \d{4}-\d\d-\d\dT[\d:.]{8,18}(Z|[+-]\d\d:\d\d)     # times
    | [A-Z]{1,24}(_[A-Z]{1,24}){0,6}(_?\d{1,2})?        # words of an enumeration
    | [Tt]rue | [Ff]alse | Unknown | None
    """,
    re.VERBOSE,
)
_SETTINGS = frozenset(
    name for name in ServeSettings.model_fields if name not in ("rate_limit_redis_url",)
)


def secret(one: Mapping[str, Any]) -> dict[str, Any]:
    """A Secret or ConfigMap: its name, and how much stands under which name."""
    entries = {**(one.get("data") or {}), **(one.get("binaryData") or {})}
    return {
        "apiVersion": kubernetes(one.get("apiVersion"), ("apiVersion",)),
        "kind": one.get("kind"),
        "metadata": kubernetes(one.get("metadata") or {}, ("metadata",)),
        "type": kubernetes(one.get("type"), ("type",)),
        "entries": {name: told(str(value)) for name, value in entries.items()},
    }


def kubernetes(one: Any, path: tuple[str, ...] = ()) -> Any:  # noqa: ANN401 (JSON)
    """An object of any kind but those that hold data."""
    return _cut(one, path, _of_object)


def envoy(one: Any) -> Any:  # noqa: ANN401 (JSON)
    """Envoy's configuration, as JSON has it."""
    return _cut(one, (), _of_envoy)


def told(text: str) -> str:
    """
    >>> told("hunter2")
    '<7 characters>'
    """
    return f"<{len(text)} characters>"


def _cut(one: Any, path: tuple[str, ...], kept: Callable[[str, tuple[str, ...]], bool]) -> Any:  # noqa: ANN401
    last = path[-1] if path else ""
    if last == "value" and isinstance(one, (Mapping, list)):
        return WITHHELD  # of a patch, or of a plugin: anything at all
    if isinstance(one, Mapping):
        below = ((str(name), each) for name, each in one.items() if name != "managedFields")
        return {name: _cut(each, (*path, name), kept) for name, each in below}
    if isinstance(one, list):
        if last == "env":
            return [_variable(each) for each in one]
        if last in ("args", "command"):
            return [argument(str(each)) for each in one]
        return [_cut(each, path, kept) for each in one]
    if not isinstance(one, str) or kept(one, path):
        return one
    harmless = _address(one) if last in _FREE else plain(one)
    return one if harmless else told(one)


def _of_object(_: str, path: tuple[str, ...]) -> bool:
    last, above = path[-1] if path else "", path[-2] if len(path) > 1 else ""
    if above in ("labels", "matchLabels", "selector", "nodeSelector"):
        return any(one in last for one in _DOMAINS)
    if above == "annotations":
        ours = any(one in last for one in _DOMAINS)
        return ours and last.rpartition("/")[2] in _ANNOTATIONS
    if last == "value":
        return above in _PATHS
    return last in _NAMES


def _of_envoy(_: str, path: tuple[str, ...]) -> bool:
    last, above = path[-1] if path else "", path[-2] if len(path) > 1 else ""
    return last in _ENVOY or (above, last) in _WITHIN


def plain(text: str) -> bool:
    """Whether a text is a number, a duration, a time, an address or a word of an enumeration.

    >>> plain("30s"), plain("10.0.0.0/8"), plain("ROUND_ROBIN"), plain("hunter2")
    (True, True, True, False)
    """
    return not text or (len(text) <= 64 and bool(_SHAPES.fullmatch(text))) or _address(text)


def _address(text: str) -> bool:
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return True


def argument(word: str) -> str:
    """An option of a container: told where it is one of `weir serve` that holds no secret.

    >>> argument("--xds-address=0.0.0.0:18000"), argument("--rate-limit-redis-url=redis://:a@b")
    ('--xds-address=0.0.0.0:18000', '--rate-limit-redis-url=<withheld>')
    """
    name, equals, _ = word.partition("=")
    if name == "serve" or name.lstrip("-").replace("-", "_") in _SETTINGS:
        return word
    return f"{name}={WITHHELD}" if equals and name.startswith("--") else told(word)


def _variable(one: Any) -> Any:  # noqa: ANN401
    """A variable of a container's environment."""
    if not isinstance(one, Mapping):
        return WITHHELD
    name = str(one.get("name", ""))
    if "value" not in one:
        return kubernetes(dict(one), ("variable",))
    setting = name.removeprefix("WEIR_").lower()
    shown = name.startswith("WEIR_") and setting in _SETTINGS
    return {"name": name, "value": one["value"] if shown else WITHHELD}
