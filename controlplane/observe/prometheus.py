"""Observations from a Prometheus server.

Two dialects: what our own replicas expose, added up over them, and what Envoys with
`track_cluster_stats.per_endpoint_stats` expose themselves, where nothing comes to us. The second
has no latency; it is worked out by Little's law: mean requests in flight over successes a second.
Time in flight of failures counts against the successes, so that an endpoint that fails fast never
looks fast; the answer is biased high, and good to order by. It has no quantiles: those are NaN.

The library is synchronous, so it has one thread of its own. A look that takes too long is given up
by the caller's deadline or ours, whichever is shorter; while its thread is still busy further looks
are refused and not queued.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from json import JSONDecodeError
from typing import Any

import numpy as np
import requests
from prometheus_api_client import PrometheusApiClientException, PrometheusConnect
from urllib3.util.retry import Retry

from controlplane.errors import MetricsUnavailableError
from controlplane.model import EndpointId, Observation, Service, ServiceName, Zone
from controlplane.model.observation import Floats
from controlplane.observe.bounded_http import BoundedSession, TooLargeError
from controlplane.observe.promql import FIELD, PLACES, WEIR, Dialect, query

MAX_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PrometheusSettings:
    """How a Prometheus server is asked."""

    url: str
    window_s: float = 5.0
    """Rates are over this; at least three scrapes."""
    deadline_s: float = 0.7
    """A look is given up after this; shorter than the deadline of the loop, which names no kind."""
    matchers: Mapping[str, str] = field(default_factory=dict)
    """Labels that every series must have, such as `job`."""


Series = dict[str, dict[EndpointId | Zone, float]]
"""Field -> endpoint -> value, of one service. The endpoint is empty for the service as a whole, and
a place where the field is by place."""
_WHOLE = EndpointId("")


class PrometheusSource:
    """A `MetricSource`. `close` it at the end."""

    def __init__(
        self,
        settings: PrometheusSettings,
        clock: Callable[[], float],
        dialect: Dialect = WEIR,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._dialect = dialect
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "prometheus")
        self._running: concurrent.futures.Future[Any] | None = None
        session = BoundedSession(settings.deadline_s, MAX_BYTES)
        self._server = PrometheusConnect(
            url=settings.url, session=session, retry=Retry(total=0), method="POST"
        )

    def close(self) -> None:
        """Let go of the connection. A request that still runs ends at its own deadline."""
        self._server.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def observe(self, services: Sequence[Service]) -> Mapping[ServiceName, Observation]:
        """Ask once for all of them."""
        if not services:
            return {}
        names = _names(services)
        text = query(self._dialect, sorted(names), self._settings.window_s, self._settings.matchers)
        answer = await self._ask(text)
        now_s = self._clock()
        asked_at_s, found = _sorted_out(answer, self._dialect, names)
        looks = (
            _observation(service, found[service.name], self._settings.window_s, asked_at_s, now_s)
            for service in services
            if service.name in found
        )
        return {look.service: look for look in looks if look is not None}

    async def _ask(self, text: str) -> object:
        if self._running is not None and not self._running.done():
            raise self._unavailable("busy", "the look before is still being waited for")
        self._running = self._thread.submit(self._server.custom_query, text)
        try:
            async with asyncio.timeout(self._settings.deadline_s):
                return await asyncio.wrap_future(self._running)
        except (TimeoutError, requests.exceptions.Timeout):
            words = f"no answer within {self._settings.deadline_s:.2f} s"
            raise self._unavailable("timeout", words) from None
        except PrometheusApiClientException as error:
            raise self._unavailable("status", str(error)[:300]) from error
        except TooLargeError as error:
            raise self._unavailable("body", str(error)) from error
        except (
            JSONDecodeError,
            requests.exceptions.ChunkedEncodingError,
            requests.exceptions.ContentDecodingError,
            KeyError,
            TypeError,
            ValueError,
        ) as error:
            raise self._unavailable("body", f"its answer cannot be read: {error}") from error
        except requests.exceptions.RequestException as error:
            raise self._unavailable("down", str(error)[:300]) from error

    def _unavailable(self, kind: str, words: str) -> MetricsUnavailableError:
        return MetricsUnavailableError(f"Prometheus at {self._settings.url}: {words}", kind)


def _names(services: Sequence[Service]) -> dict[str, ServiceName]:
    """What a service may be called in the answer: its name, and its bare name where unique."""
    bare: dict[str, list[ServiceName]] = {}
    for service in services:
        bare.setdefault(service.name.rpartition("/")[2], []).append(service.name)
    names = {name: owners[0] for name, owners in bare.items() if len(owners) == 1}
    names.update((str(service.name), service.name) for service in services)
    return names


def _sorted_out(
    answer: object, dialect: Dialect, names: Mapping[str, ServiceName]
) -> tuple[float, dict[ServiceName, Series]]:
    """The moment of the answer on Prometheus's clock, and the numbers of each service."""
    if not isinstance(answer, list):
        raise MetricsUnavailableError("Prometheus gave an answer without a list", "body")
    found: dict[ServiceName, Series] = {}
    at_s = math.nan
    try:
        for one in answer:
            labels = one["metric"]
            name = names.get(labels.get(dialect.service, ""))
            if name is None:
                continue
            at_s, value = float(one["value"][0]), float(one["value"][1])
            if math.isfinite(value):
                series = found.setdefault(name, {}).setdefault(labels[FIELD], {})
                of = _of(labels, dialect)
                series[of] = series.get(of, 0.0) + value
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        words = f"Prometheus gave an answer of another shape: {error!r}"
        raise MetricsUnavailableError(words, "body") from error
    return at_s, found


def _of(labels: Mapping[str, str], dialect: Dialect) -> EndpointId | Zone:
    if labels[FIELD] == PLACES:
        return Zone(labels.get("region", ""), labels.get("zone", ""))
    return EndpointId(labels.get(dialect.endpoint, ""))


def _observation(
    service: Service, series: Series, window_s: float, asked_at_s: float, now_s: float
) -> Observation | None:
    """What the answer says of one service; None when it says nothing of its endpoints."""
    endpoints = tuple(endpoint.id for endpoint in service.endpoints)

    def column(name: str) -> Floats:
        have = series.get(name, {})
        return np.array([have.get(endpoint, math.nan) for endpoint in endpoints])

    age_s = np.maximum(asked_at_s - column("taken"), 0.0)
    known = np.isfinite(age_s)
    if not known.any():
        return None
    newest_s = float(age_s[known].min())
    succeeded, failed = column("succeeded") * window_s, column("failed") * window_s
    in_flight = column("in_flight")
    if "looks" in series:
        scrapes = column("looks") / np.maximum(column("reporting"), 1.0)
        latency_s, samples = littles_law(in_flight, succeeded, scrapes, window_s)
        p99_s = np.full(len(endpoints), np.nan)
    else:
        latency_s, p99_s = column("latency"), column("latency_p99")
        samples = np.where(known, np.nan_to_num(column("samples")), np.nan) * window_s
    proxies = max(1, round(_proxies(series)))
    return Observation(
        service=service.name,
        at_s=now_s - newest_s,
        window_s=window_s,
        endpoints=endpoints,
        succeeded=succeeded,
        failed=failed,
        in_flight=in_flight,
        latency_s=latency_s,
        latency_p99_s=p99_s,
        latency_samples=samples,
        utilisation=column("utilisation"),
        age_s=age_s - newest_s,
        proxies=proxies,
        workers=max(proxies, round(series.get("workers", {}).get(_WHOLE, 0.0))),
        coverage=_coverage(series, known, endpoints),
        sticky_share=_sticky_share(series),
        by_place={
            place: rate * window_s
            for place, rate in series.get(PLACES, {}).items()
            if isinstance(place, Zone)
        },
    )


def littles_law(
    in_flight: Floats, succeeded: Floats, scrapes: Floats, window_s: float
) -> tuple[Floats, Floats]:
    """Mean latency = mean in flight / successes a second, and how many samples that rests on.

    It rests on the requests that the scrapes caught in flight, and on no more than ended well.
    Where none was caught nothing is known: not 0.
    """
    caught = (succeeded > 0) & (in_flight > 0)
    latency_s = np.full(len(succeeded), np.nan)
    np.divide(in_flight * window_s, succeeded, out=latency_s, where=caught)
    samples = np.minimum(in_flight * scrapes, succeeded)
    return latency_s, np.where(caught, samples, np.where(scrapes >= 0, 0.0, scrapes))


def _sticky_share(series: Series) -> float:
    logged = sum(series.get("samples", {}).values())
    sticky = series.get("sticky", {}).get(_WHOLE, 0.0)
    return min(1.0, sticky / logged) if logged > 0.0 else 0.0


def _proxies(series: Series) -> float:
    if "proxies" in series:
        return sum(series["proxies"].values())
    return max(series.get("reporting", {}).values(), default=1.0)


def _coverage(
    series: Series, known: np.ndarray[Any, np.dtype[np.bool_]], endpoints: tuple[EndpointId, ...]
) -> float:
    """Part of the endpoints that has numbers, times the part of their series that still comes."""
    of_endpoints = float(known.mean())
    expected = series.get("expected")
    if not expected:
        return of_endpoints
    reporting = series.get("reporting", {})
    wanted = sum(expected.get(endpoint, 0.0) for endpoint in endpoints)
    have = sum(reporting.get(endpoint, 0.0) for endpoint in endpoints)
    return of_endpoints * min(1.0, have / wanted) if wanted > 0 else of_endpoints
