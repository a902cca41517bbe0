"""`oidc` of a SecurityPolicy: people log in at a provider, and Envoy keeps them logged in."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from controlplane.resources.filters import PreciseHostname
from controlplane.resources.kinds import Duration, Fields, Flag
from controlplane.resources.matches import HeaderName, check_path
from controlplane.resources.object_refs import PolicySecretRef
from controlplane.resources.uris import Uri

CLIENT_SECRET = "client-secret"  # noqa: S105 (the name of an entry)
ORIGIN = "%REQ(x-forwarded-proto)%://%REQ(:authority)%"
_REDIRECT = re.compile(rf"(?:{re.escape(ORIGIN)}|https?://[a-zA-Z0-9.:\[\]-]+)(/[^?#%]*)")
_VISIBLE = re.compile(r"[!-~]+")


def _redirect(text: str) -> str:
    found = _REDIRECT.fullmatch(text)
    if found is None:
        raise ValueError(
            f"want an address such as https://example.com/oauth2/callback; {ORIGIN} stands for "
            "the address that was asked"
        )
    check_path(found[1])
    return text


def _visible(text: str) -> str:
    if not _VISIBLE.fullmatch(text):
        raise ValueError("want printable ASCII without spaces")
    return text


Visible = Annotated[str, StringConstraints(min_length=1, max_length=1024), AfterValidator(_visible)]


class OidcProvider(Fields):
    """Where people log in. Nothing is fetched from the issuer, so the two addresses are given."""

    issuer: Uri = Field(description="Who it is; with `jwt` its tokens can be checked.")
    authorization_endpoint: Uri = Field(description="Where browsers are sent.")
    token_endpoint: Uri = Field(description="Where Envoy fetches tokens.")


class OidcCookieNames(Fields):
    """Names of cookies that others read."""

    access_token: HeaderName | None = Field(default=None, description="Of the access token.")
    id_token: HeaderName | None = Field(default=None, description="Of the ID token.")


class Oidc(Fields):
    """Requests need a login."""

    provider: OidcProvider
    client_id: Visible = Field(alias="clientID", description="What the provider calls us.")
    client_secret: PolicySecretRef = Field(description="A Secret with `client-secret`.")
    redirect_url: Annotated[str, AfterValidator(_redirect)] = Field(
        default=f"{ORIGIN}/oauth2/callback",
        alias="redirectURL",
        description="Where the provider sends browsers back to; a route with this policy must "
        "take it.",
    )
    logout_path: Annotated[str, AfterValidator(check_path)] = Field(
        default="/logout", description="Who goes there is logged out."
    )
    scopes: tuple[Visible, ...] = Field(
        default=("openid",), max_length=32, description="What is asked for; `openid` always is."
    )
    resources: tuple[Visible, ...] = Field(
        default=(), max_length=16, description="For which resources (RFC 8707)."
    )
    cookie_names: OidcCookieNames = Field(
        default=OidcCookieNames(),
        description="Not given: names with a suffix that is the policy's own.",
    )
    cookie_domain: PreciseHostname | None = Field(
        default=None, description="Cookies are for this domain; not given: for the host alone."
    )
    cookie_same_site: Literal["Lax", "Strict", "None"] = Field(
        default="Lax", description="Which pages of others may send the cookies along."
    )
    forward_access_token: Flag = Field(
        default=False, description="The Backend gets the access token in `Authorization`."
    )
    pass_through_auth_header: Flag = Field(
        default=False,
        description="Requests that bring `Authorization: Bearer` need no login; `jwt` checks them.",
    )
    refresh_token: Flag = Field(
        default=True, description="Fetch a new token by itself when one is too old."
    )
    default_token_ttl: Annotated[Duration, Field(ge=1)] | None = Field(
        default=None,
        alias="defaultTokenTTL",
        description="For how long a token is good whose provider does not say so.",
    )

    @model_validator(mode="after")
    def _apart(self) -> Oidc:
        if self.redirect_path == self.logout_path:
            raise ValueError("logoutPath is not the path of redirectURL")
        return self

    @property
    def redirect_path(self) -> str:
        """Where browsers come back."""
        found = _REDIRECT.fullmatch(self.redirect_url)
        assert found is not None
        return found[1]
