"""`SecurityPolicy`: who may send which requests. The words are those of Envoy Gateway's
SecurityPolicy."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from controlplane.resources.api_key_auth import ApiKeyAuth, BasicAuth
from controlplane.resources.authorization import Authorization
from controlplane.resources.cors import Cors
from controlplane.resources.ext_auth import ExtAuth
from controlplane.resources.jwt import Jwt
from controlplane.resources.kinds import WeirApiVersion
from controlplane.resources.oidc import Oidc
from controlplane.resources.problems import did_you_mean
from controlplane.resources.target import Policy, PolicySpec, RouteTargetRef


class SecurityPolicySpec(PolicySpec):
    """What it is for, and who may what."""

    target_refs: tuple[RouteTargetRef, ...] = Field(
        min_length=1, max_length=16, description="What the policy is for."
    )
    cors: Cors | None = Field(
        default=None,
        description="Which pages of other origins may call; a CORS filter of a route goes before.",
    )
    ext_auth: ExtAuth | None = None
    api_key_auth: ApiKeyAuth | None = None
    basic_auth: BasicAuth | None = None
    oidc: Oidc | None = None
    jwt: Jwt | None = None
    authorization: Authorization | None = None

    @property
    def identifies(self) -> bool:
        """Whether clients say who they are."""
        ways = (self.ext_auth, self.api_key_auth, self.basic_auth, self.oidc, self.jwt)
        return any(one is not None for one in ways)

    @model_validator(mode="after")
    def _fits(self) -> SecurityPolicySpec:
        providers = [one.name for one in self.jwt.providers] if self.jwt else []
        for rule in self.authorization.rules if self.authorization else ():
            of = rule.principal.jwt.provider if rule.principal and rule.principal.jwt else None
            if of is not None and of not in providers:
                raise ValueError(
                    f"authorization: jwt has no provider {of!r}; {did_you_mean(of, providers)}"
                )
        if self.cors is not None and self.cors.lets_everybody_act:
            raise ValueError(
                "cors.allowCredentials with an origin of any host lets every page act as the user "
                "who looks at it; name the origins, or the domain as in https://*.example.com"
            )
        passes = self.oidc is not None and self.oidc.pass_through_auth_header
        if passes and (self.jwt is None or self.jwt.optional):
            raise ValueError(
                "oidc.passThroughAuthHeader lets every Authorization: Bearer pass; it needs jwt, "
                "not optional, that checks the tokens"
            )
        return self


class SecurityPolicy(Policy):
    """Who may send which requests."""

    about: ClassVar[str] = (
        "Of several policies the nearest counts, as a whole. Of two for one target the older "
        "is in force, then the first by name; the other is reported. What is given must all hold, "
        "in this order: `cors`, `extAuth`, `apiKeyAuth`, `basicAuth`, `oidc`, `jwt`, "
        "`authorization`. Where something that it refers to is not there, the requests that it is "
        "for are answered 500. See [security-policy.md](../security-policy.md)."
    )
    api_version: WeirApiVersion
    kind: Literal["SecurityPolicy"]
    spec: SecurityPolicySpec
