"""How long a request may take, and what is tried again.

Unless a rule or a policy says otherwise, tried again is only what never reached an endpoint (it did
not connect, or refused the stream): once, at another endpoint. Everything else may have had its
effect. Where retries and a limit for each try are declared, and no triggers, a try that ran into
its limit is tried again; Envoy knows that as a reset, so one that an endpoint broke off is then
tried again as well. What a rule says goes before what a policy says.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from envoy_data_plane.envoy.config.core.v3 import RoutingPriority
from envoy_data_plane.envoy.config.route.v3 import (
    HedgePolicy,
    RetryPolicy,
    RetryPolicyRetryBackOff,
    RetryPolicyRetryHostPredicate,
    RouteAction,
)
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate

from controlplane.resources import resilience
from controlplane.resources.delivery import Retry
from controlplane.resources.route import Rule
from controlplane.resources.traffic_policy import TrafficPolicySpec
from controlplane.translate.failover import at_the_next
from controlplane.translate.wire import duration, number, packed, wire

_UNREACHED = ("connect-failure", "refused-stream")
MAX_PICKS = 31
"""How often Envoy picks again, for a retry, where it picked an endpoint that failed already. It
picks by chance and weight: of 1,000 retries 84 met the same one of two endpoints again with 3,
three with 7, none with 15. More are for weights, of which one may be many times another.
"""
_GROWTH = 10
"""The longest wait between tries, in base intervals."""


@functools.cache
def unless_said() -> bytes:
    """The RetryPolicy of every rule that declares none."""
    return _elsewhere(1, _UNREACHED)


def limits(
    rule: Rule, policy: TrafficPolicySpec | None = None, *, fails_over: bool = False
) -> bytes:
    """The part of a RouteAction that holds the timeouts of a rule, its retries and priority.

    `fails_over`: there is more than one priority to try at.
    """
    usual_s = policy.timeout.http.request_timeout if policy is not None else None
    out = wire(RouteAction, timeout=duration(rule.timeouts.whole_s(usual_s)))
    if policy is not None and policy.priority == "High":
        out += wire(RouteAction, priority=RoutingPriority.HIGH)
    each_s = rule.timeouts.backend_request or 0.0
    theirs = policy.retry if policy is not None and rule.retry is None else None
    if rule.retry is not None:
        retries = _declared(rule.retry, each_s > 0)
    elif theirs is not None:
        each_s = each_s or theirs.per_retry.timeout or 0.0
        retries = _of_policy(theirs, each_s > 0)
    elif each_s or fails_over:
        retries = unless_said()
    else:
        return out
    if fails_over:
        retries += at_the_next()
    if each_s:
        retries += wire(RetryPolicy, per_try_timeout=duration(each_s))
    out += wire(RouteAction, retry_policy=retries)
    if theirs is not None and theirs.hedge_on_per_try_timeout:
        out += wire(RouteAction, hedge_policy=wire(HedgePolicy, hedge_on_per_try_timeout=True))
    return out


def _declared(retry: Retry, limited: bool) -> bytes:
    if retry.attempts == 0:
        return wire(RetryPolicy, num_retries=number(0))
    reasons = [*_UNREACHED, *(["reset"] if limited else [])]
    policy = _elsewhere(retry.attempts, reasons, retry.codes)
    if retry.backoff is not None:
        policy += _wait(retry.backoff, retry.backoff * _GROWTH)
    return policy


def _of_policy(retry: resilience.RetryPolicy, limited: bool) -> bytes:
    if retry.num_retries == 0:
        return wire(RetryPolicy, num_retries=number(0))
    named, codes = retry.retry_on.triggers, retry.retry_on.http_status_codes
    wait = retry.per_retry.back_off
    reasons = [*(named or _UNREACHED), *(["reset"] if limited and not named else [])]
    return _elsewhere(retry.num_retries, reasons, codes) + _wait(
        wait.base_interval, wait.max_interval or wait.base_interval * _GROWTH
    )


def _elsewhere(times: int, reasons: Sequence[str], codes: Sequence[int] = ()) -> bytes:
    """At an endpoint that has not had the request yet, if there is one."""
    elsewhere = wire(
        RetryPolicyRetryHostPredicate,
        name="envoy.retry_host_predicates.previous_hosts",
        typed_config=packed(PreviousHostsPredicate),
    )
    by_code = ("retriable-status-codes",) if codes else ()
    return wire(
        RetryPolicy,
        retry_on=",".join(dict.fromkeys((*reasons, *by_code))),
        num_retries=number(times),
        retry_host_predicate=[elsewhere],
        host_selection_retry_max_attempts=MAX_PICKS,
        retriable_status_codes=codes,
    )


def _wait(base_s: float, most_s: float) -> bytes:
    wait = wire(
        RetryPolicyRetryBackOff, base_interval=duration(base_s), max_interval=duration(most_s)
    )
    return wire(RetryPolicy, retry_back_off=wait)
