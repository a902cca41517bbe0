"""The errors that Weir raises, one tree.

WeirError
├── ConfigurationError        what a person wrote cannot be used; says file, line, field and advice
├── MetricsUnavailableError   a source could not answer in time; the loop holds
├── RateLimitError            an Envoy asked the rate limit service what cannot be read
├── ReviewError               an API server, or somebody else, asked the webhook what cannot be read
├── TelemetryError            an Envoy sent a log or a load report that cannot be read
├── PolicyError
│   ├── NotExplainableError   what a policy did has no attributions
│   ├── UnknownPolicyError    no installed distribution offers a policy of that name
│   └── PolicyLoadError       a released policy is refused: digest, shape, manifest
├── StoreError                the state store failed; serving goes on without it
├── InspectionError           what an Envoy runs, or should run, cannot be read
└── StartupError              an address is taken, or may not be served as asked
"""

from __future__ import annotations


class WeirError(Exception):
    """Anything that Weir itself raises. The message is meant for a person."""


class ConfigurationError(WeirError):
    """What a person wrote cannot be used."""


class MetricsUnavailableError(WeirError):
    """The source could not answer in time. The loop holds its weights rather than invent numbers.

    `kind` is a short stable word for the counter of failures, such as `timeout` or `status`.
    """

    def __init__(self, message: str, kind: str = "unavailable") -> None:
        super().__init__(message)
        self.kind = kind


class RateLimitError(WeirError):
    """An Envoy asked the rate limit service what cannot be read."""


class ReviewError(WeirError):
    """The webhook was asked what is no admission review."""


class TelemetryError(WeirError):
    """An Envoy sent an access log or a load report that cannot be read. Its stream is closed."""


class PolicyError(WeirError):
    """A policy cannot be had."""


class NotExplainableError(PolicyError):
    """What a policy did cannot be shared out among what it saw: it is a formula, or too large."""


class UnknownPolicyError(PolicyError):
    """No installed distribution offers a policy of this name."""


class PolicyLoadError(PolicyError):
    """A released policy is refused: wrong digest, wrong shape, unreadable manifest."""


class StoreError(WeirError):
    """The state store failed or did not answer in time. Serving goes on without it."""


class InspectionError(WeirError):
    """What an Envoy runs, or should run, cannot be read or compared."""


class StartupError(WeirError):
    """An address is taken, or may not be served in the way asked for."""
