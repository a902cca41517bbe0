"""Logins at a provider (OAuth 2.0 code flow with PKCE), kept in cookies that Envoy seals.

Envoy fetches the two secrets by name (SDS), and refuses requests until it has them.
"""

from __future__ import annotations

import hashlib
import hmac

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.filters.http.oauth2.v3 import (
    CookieConfig,
    CookieConfigs,
    CookieConfigSameSite,
    OAuth2Config,
    OAuth2Credentials,
    OAuth2CredentialsCookieNames,
    OAuth2PerRoute,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import GenericSecret, Secret
from envoy_data_plane.envoy.type.matcher.v3 import PathMatcher, StringMatcher

from controlplane.resources import oidc as declared_oidc
from controlplane.translate.secrets import by_name
from controlplane.translate.security.servers import http_uri
from controlplane.translate.wire import FALSE, TRUE, duration, packed, wire

_TOKEN_S = 10.0
_SAME_SITE = {
    "Lax": CookieConfigSameSite.LAX,
    "Strict": CookieConfigSameSite.STRICT,
    "None": CookieConfigSameSite.NONE,
}
_COOKIES = (
    "bearer_token_cookie_config",
    "oauth_hmac_cookie_config",
    "oauth_expires_cookie_config",
    "id_token_cookie_config",
    "refresh_token_cookie_config",
)
_FLOW_COOKIES = ("oauth_nonce_cookie_config", "code_verifier_cookie_config")
"""They come back with the browser from the provider's pages, so they are never `Strict`."""


def secrets(policy: str, client_secret: bytes) -> dict[str, bytes]:
    """What Envoy fetches by name: the client's secret, and the key that seals cookies.

    The key is made from the secret, so every replica has the same one, and nobody who does not know
    the secret has it.
    """
    message = f"weir.dev oidc cookies of {policy}".encode()
    seal = hmac.new(client_secret, message, hashlib.sha256).hexdigest().encode()
    return {
        name: wire(
            Secret,
            name=name,
            generic_secret=wire(GenericSecret, secret=wire(DataSource, inline_bytes=value)),
        )
        for name, value in ((_client(policy), client_secret), (_seal(policy), seal))
    }


def for_route(policy: str, oidc: declared_oidc.Oidc) -> bytes:
    """For a route: who comes without a login is sent to the provider."""
    scopes = dict.fromkeys(("openid", *oidc.scopes))
    made = wire(
        OAuth2Config,
        token_endpoint=http_uri(oidc.provider.token_endpoint, _TOKEN_S),
        authorization_endpoint=oidc.provider.authorization_endpoint,
        credentials=_credentials(policy, oidc),
        redirect_uri=oidc.redirect_url,
        redirect_path_matcher=_path(oidc.redirect_path),
        signout_path=_path(oidc.logout_path),
        forward_bearer_token=oidc.forward_access_token,
        auth_scopes=list(scopes),
        resources=oidc.resources,
        use_refresh_token=TRUE if oidc.refresh_token else FALSE,
        cookie_configs=_cookies(oidc),
        stat_prefix=policy,
    )
    if oidc.default_token_ttl is not None:
        made += wire(OAuth2Config, default_expires_in=duration(oidc.default_token_ttl))
    if oidc.pass_through_auth_header:
        bearer = wire(StringMatcher, prefix="Bearer ")
        passing = wire(HeaderMatcher, name="authorization", string_match=bearer)
        made += wire(OAuth2Config, pass_through_matcher=[passing])
    return packed(OAuth2PerRoute, wire(OAuth2PerRoute, config=made))


def _credentials(policy: str, oidc: declared_oidc.Oidc) -> bytes:
    suffix = hashlib.sha256(policy.encode()).hexdigest()[:8]
    names = wire(
        OAuth2CredentialsCookieNames,
        bearer_token=oidc.cookie_names.access_token or f"AccessToken-{suffix}",
        oauth_hmac=f"OauthHMAC-{suffix}",
        oauth_expires=f"OauthExpires-{suffix}",
        id_token=oidc.cookie_names.id_token or f"IdToken-{suffix}",
        refresh_token=f"RefreshToken-{suffix}",
        oauth_nonce=f"OauthNonce-{suffix}",
        code_verifier=f"CodeVerifier-{suffix}",
    )
    return wire(
        OAuth2Credentials,
        client_id=oidc.client_id,
        token_secret=by_name(_client(policy)),
        hmac_secret=by_name(_seal(policy)),
        cookie_names=names,
        cookie_domain=oidc.cookie_domain or "",
    )


def _cookies(oidc: declared_oidc.Oidc) -> bytes:
    same_site = _SAME_SITE[oidc.cookie_same_site]
    kept = wire(CookieConfig, same_site=same_site)
    strict = same_site == CookieConfigSameSite.STRICT
    flow = wire(CookieConfig, same_site=CookieConfigSameSite.LAX if strict else same_site)
    return wire(
        CookieConfigs, **dict.fromkeys(_COOKIES, kept), **dict.fromkeys(_FLOW_COOKIES, flow)
    )


def _path(path: str) -> bytes:
    return wire(PathMatcher, path=wire(StringMatcher, exact=path))


def _client(policy: str) -> str:
    return f"weir.dev/oidc/{policy}/client"


def _seal(policy: str) -> str:
    return f"weir.dev/oidc/{policy}/cookies"
