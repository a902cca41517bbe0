"""What the xDS address tells in the log: who came and went, who was refused and what was."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from controlplane.model import OVERLAY
from controlplane.telemetry.throttle import Throttle
from controlplane.xds.kinds import CLUSTER
from controlplane.xds.status import Connected, Event, Left, Nack, Refusal, Reload, UnknownType

logger = structlog.get_logger(__name__)


class Journal:
    """An `Observer`. A storm of events of one kind is a few lines, and how many more there were."""

    def __init__(
        self, throttle: Throttle | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._throttle = throttle or Throttle()
        self._clock = clock

    def __call__(self, event: Event) -> None:
        """A line, or none where there were many like it."""
        left_out = self._throttle.admit(type(event).__name__, self._clock())
        if left_out is None:
            return
        more = {"not_shown_before": left_out} if left_out else {}
        match event:
            case Reload(what, ""):
                logger.info("files are in force", files=what, **more)
            case Reload(what, problem):
                words = "files are refused, the last good ones stay"
                logger.warning(words, files=what, problem=problem, **more)
            case Connected(node, group, mode, peer):
                words = "a client connected"
                logger.info(words, node=node.id, group=group, mode=mode.value, peer=peer, **more)
            case Left(node, group, lasted_s):
                words = "a client's stream ended"
                logger.info(words, node=node.id, group=group, lasted_s=round(lasted_s, 1), **more)
            case UnknownType(node, group, type_url) if group == OVERLAY and type_url == CLUSTER:
                logger.warning(
                    "an Envoy asks for clusters and is of no Gateway: it is given endpoints alone",
                    node=node.id,
                    node_cluster=node.cluster,
                    wanted="node.cluster is the namespace/name of a declared Gateway",
                    **more,
                )
            case UnknownType(node, group, type_url):
                words = "a client asks for a type that its snapshot does not have"
                logger.warning(words, node=node.id, group=group, type_url=type_url, **more)
            case Nack(node, group, type_url, version, message):
                logger.warning(
                    "a client refused a version (NACK)",
                    node=node.id,
                    group=group,
                    type_url=type_url,
                    version=version,
                    message=message,
                    **more,
                )
            case Refusal(known, group, code, message):
                logger.warning(
                    "a stream was ended by us",
                    node=known.id if known is not None else "",
                    group=group,
                    code=code,
                    message=message,
                    **more,
                )
