"""Of a `TrafficPolicy`: what happens when requests fail or are too many, and drills of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from controlplane.resources.connections import Limit, Percent
from controlplane.resources.delivery import distinct
from controlplane.resources.kinds import Duration, Fields, Flag, Integer, Number

Status = Annotated[Integer, Field(ge=100, le=599)]
Wait = Annotated[Duration, Field(ge=0.001, le=3600)]

Trigger = Literal[
    "5xx",
    "gateway-error",
    "reset",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
]


class RetryOn(Fields):
    """What is tried again."""

    triggers: Annotated[tuple[Trigger, ...], AfterValidator(distinct)] = Field(
        default=(),
        description="As Envoy has them; the last five are statuses of gRPC. None given: what never "
        "reached an endpoint (`connect-failure`, `refused-stream`).",
    )
    http_status_codes: Annotated[
        tuple[Annotated[Integer, Field(ge=400, le=599)], ...], AfterValidator(distinct)
    ] = Field(
        default=(),
        max_length=200,
        description="Statuses that are tried again too, with or without `retriable-status-codes`.",
    )

    @model_validator(mode="after")
    def _codes_for_their_trigger(self) -> RetryOn:
        if "retriable-status-codes" in self.triggers and not self.http_status_codes:
            raise ValueError("retriable-status-codes needs httpStatusCodes")
        return self


class BackOff(Fields):
    """The wait between tries, by chance up to a bound that doubles with each."""

    base_interval: Wait = Field(default=0.025, description="The first bound.")
    max_interval: Wait | None = Field(
        default=None, description="The last; not given: ten times the first."
    )

    @model_validator(mode="after")
    def _ordered(self) -> BackOff:
        if self.max_interval is not None and self.max_interval < self.base_interval:
            raise ValueError("maxInterval is at least baseInterval")
        return self


class PerRetry(Fields):
    """Of each try."""

    timeout: Wait | None = Field(
        default=None,
        description="How long one may take, the first among them; `backendRequest` of the route "
        "goes before. Not given: no other limit than that of the request.",
    )
    back_off: BackOff = BackOff()


class RetryPolicy(Fields):
    """What is tried again, where the route says nothing. At another endpoint, if there is one."""

    num_retries: Annotated[Integer, Field(ge=0, le=100)] = Field(
        default=2, description="How often, beside the first try; 0: never."
    )
    retry_on: RetryOn = RetryOn()
    per_retry: PerRetry = PerRetry()
    hedge_on_per_try_timeout: Flag = Field(
        default=False,
        description="A try that takes longer than `perRetry.timeout` goes on beside the next one, "
        "and the first good answer counts. For requests that may be done twice.",
    )

    @model_validator(mode="after")
    def _hedges_after_something(self) -> RetryPolicy:
        if self.hedge_on_per_try_timeout and (
            self.per_retry.timeout is None or not self.num_retries
        ):
            raise ValueError("hedgeOnPerTryTimeout needs perRetry.timeout, and numRetries above 0")
        return self


class FaultDelay(Fields):
    """Requests that have to wait."""

    fixed_delay: Annotated[Duration, Field(ge=0.001, le=300)] = Field(description="For so long.")
    percentage: Percent = Field(default=100.0, description="So many of a hundred.")


class FaultAbort(Fields):
    """Requests that are not sent on."""

    http_status: Annotated[Integer, Field(ge=200, le=599)] | None = Field(
        default=None, description="How they are answered: this"
    )
    grpc_status: Annotated[Integer, Field(ge=0, le=16)] | None = Field(
        default=None, description="or this."
    )
    percentage: Percent = Field(default=100.0, description="So many of a hundred.")

    @model_validator(mode="after")
    def _one_answer(self) -> FaultAbort:
        if (self.http_status is None) == (self.grpc_status is None):
            raise ValueError("an abort has either httpStatus or grpcStatus, exactly one of them")
        return self


class FaultInjection(Fields):
    """Faults on purpose, to see in a drill what they do."""

    delay: FaultDelay | None = Field(default=None, description="Either this, or")
    abort: FaultAbort | None = Field(default=None, description="this, or both.")

    @model_validator(mode="after")
    def _some_fault(self) -> FaultInjection:
        if self.delay is None and self.abort is None:
            raise ValueError("faultInjection needs delay, abort or both")
        return self


class GradientController(Fields):
    """What is looked at."""

    sample_aggregate_percentile: Percent = Field(
        default=90.0, description="The latency that counts, as a percentile."
    )


class ConcurrencyLimit(Fields):
    """The limit of requests in flight."""

    max_concurrency_limit: Limit = Field(default=1000, description="It is never above this,")
    min_concurrency_limit: Limit = Field(
        default=3, description="nor below this, which is in force while the latency is measured."
    )
    concurrency_update_interval: Wait = Field(default=0.1, description="How often it is set.")


class MinRtt(Fields):
    """The latency without load, measured now and then with few requests in flight."""

    interval: Annotated[Duration, Field(ge=1, le=86400)] = Field(
        default=60.0, description="Between two measurements."
    )
    request_count: Limit = Field(default=50, description="Requests that one takes.")
    jitter: Percent = Field(default=10.0, description="Part of `interval` that is added by chance.")
    buffer: Percent = Field(default=25.0, description="Latency above it that is no sign of load.")


class AdaptiveConcurrency(Fields):
    """Requests in flight are limited by what latency says; what is more is answered 503 at once.

    Of each Envoy, for each match of a rule. It begins anew when the route changes.
    """

    gradient_controller: GradientController = GradientController()
    concurrency_limit_params: ConcurrencyLimit = ConcurrencyLimit()
    min_rtt_calculation: MinRtt = Field(default=MinRtt(), alias="minRTTCalculation")


class AdmissionControl(Fields):
    """Requests to a Backend that fails are answered 503 by chance, the more the more it fails."""

    sampling_window: Annotated[Duration, Field(ge=1, le=600)] = Field(
        default=60.0, description="How far back is looked."
    )
    success_rate_threshold: Annotated[Number, Field(ge=0.01, le=1)] = Field(
        default=0.95, description="With this part of successes or more all is sent."
    )
    aggression: Annotated[Number, Field(ge=1, le=10)] = Field(
        default=1.0, description="1: in proportion; more: sooner."
    )
    rps_threshold: Annotated[Integer, Field(ge=0, le=2**32 - 1)] = Field(
        default=1, description="With fewer requests per second all is sent."
    )
    max_rejection_probability: Annotated[Number, Field(ge=0, le=0.99)] = Field(
        default=0.95, description="So much is answered at most: the rest shows when it is well."
    )


class StatusRange(Fields):
    """From one status to another."""

    start: Status = Field(description="The first")
    end: Status = Field(description="and the last.")

    @model_validator(mode="after")
    def _ordered(self) -> StatusRange:
        if self.start > self.end:
            raise ValueError("start is at most end")
        return self


class StatusCodeMatch(Fields):
    """A status, or some."""

    type: Literal["Value", "Range"] = Field(default="Value", description="Which of the two.")
    value: Status | None = Field(default=None, description="With `Value`.")
    range_: StatusRange | None = Field(default=None, alias="range", description="With `Range`.")

    @model_validator(mode="after")
    def _of_its_type(self) -> StatusCodeMatch:
        if (self.type == "Value") != (self.value is not None) or (self.type == "Range") != (
            self.range_ is not None
        ):
            raise ValueError("value is given with type Value, range with type Range")
        return self

    @property
    def statuses(self) -> Sequence[int]:
        """All of them."""
        if self.range_ is not None:
            return range(self.range_.start, self.range_.end + 1)
        return [self.value] if self.value is not None else []


class OverrideMatch(Fields):
    """Which answers."""

    status_codes: tuple[StatusCodeMatch, ...] = Field(
        min_length=1, max_length=50, description="One of them fits."
    )


class OverrideBody(Fields):
    """What is said instead."""

    type: Literal["Inline"] = Field(default="Inline", description="It stands here.")
    inline: Annotated[str, StringConstraints(max_length=16_384)] = Field(description="The text.")


class OverrideResponse(Fields):
    """What is answered instead."""

    content_type: Annotated[
        str, StringConstraints(pattern=r"^[!-$&-~]+(; ?[!-$&-~]+)*$", max_length=256)
    ] = Field(default="text/plain", description="The header `content-type`.")
    body: OverrideBody
    status_code: Annotated[Integer, Field(ge=200, le=599)] | None = Field(
        default=None, description="Not given: that of the answer."
    )


class ResponseOverride(Fields):
    """Answers that are replaced, whoever gave them: an endpoint, or Envoy itself."""

    match: OverrideMatch
    response: OverrideResponse
