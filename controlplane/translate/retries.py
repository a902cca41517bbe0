"""How long a request may take, and what is tried again.

Unless a rule says otherwise, tried again is only what never reached an endpoint (it did not
connect, or refused the stream): once, at another endpoint. Everything else may have had its effect.
Where a rule declares both retries and a limit for each try, a try that ran into its limit is tried
again; Envoy knows that as a reset, so one that an endpoint broke off is then tried again as well.
"""

from __future__ import annotations

import functools

from envoy_data_plane.envoy.config.route.v3 import (
    RetryPolicy,
    RetryPolicyRetryBackOff,
    RetryPolicyRetryHostPredicate,
    RouteAction,
)
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate

from controlplane.resources.delivery import Retry
from controlplane.resources.route import Rule
from controlplane.translate.wire import duration, number, packed, wire

_UNREACHED = "connect-failure,refused-stream"
_GROWTH = 10
"""The longest wait between tries, in base intervals."""


@functools.cache
def unless_said() -> bytes:
    """The RetryPolicy of every rule that declares none."""
    return _elsewhere(1, _UNREACHED)


def limits(rule: Rule) -> bytes:
    """The part of a RouteAction that holds the timeouts of a rule, and its retries, if any."""
    out = wire(RouteAction, timeout=duration(rule.timeouts.whole_s))
    each_s = rule.timeouts.backend_request or 0.0
    if rule.retry is None and not each_s:
        return out
    policy = unless_said() if rule.retry is None else _declared(rule.retry, each_s > 0)
    if each_s:
        policy += wire(RetryPolicy, per_try_timeout=duration(each_s))
    return out + wire(RouteAction, retry_policy=policy)


def _declared(retry: Retry, limited: bool) -> bytes:
    if retry.attempts == 0:
        return wire(RetryPolicy, num_retries=number(0))
    reasons = _UNREACHED
    if retry.codes:
        reasons += ",retriable-status-codes"
    if limited:
        reasons += ",reset"
    policy = _elsewhere(retry.attempts, reasons)
    for code in retry.codes:
        policy += wire(RetryPolicy, retriable_status_codes=code)
    if retry.backoff is not None:
        wait = wire(
            RetryPolicyRetryBackOff,
            base_interval=duration(retry.backoff),
            max_interval=duration(retry.backoff * _GROWTH),
        )
        policy += wire(RetryPolicy, retry_back_off=wait)
    return policy


def _elsewhere(times: int, reasons: str) -> bytes:
    """At an endpoint that has not had the request yet, if there is one."""
    elsewhere = wire(
        RetryPolicyRetryHostPredicate,
        name="envoy.retry_host_predicates.previous_hosts",
        typed_config=packed(PreviousHostsPredicate),
    )
    return wire(
        RetryPolicy,
        retry_on=reasons,
        num_retries=number(times),
        retry_host_predicate=[elsewhere],
        host_selection_retry_max_attempts=3,
    )
