from __future__ import annotations

import pytest

from controlplane.resources.cel import check_expression

TAKEN = {
    "request.headers['x-tier'] in ['gold', 'silver']": True,
    "request.headers['x-tier'] == 'bronze'": False,
    "request.headers['x-none'] == 'x'": False,
    "'x-none' in request.headers": False,
    "'x-tier' in request.headers && request.method == 'GET'": True,
    "int(request.headers['x-age']) * 2 - 1 > 40 / 2": True,
    "double(request.headers['x-age']) <= 17.5 || request.url_path.startsWith('/cel/')": True,
    "request.path.endsWith('?q=1') && request.query.contains('q=')": True,
    "request.host.matches('cel[.].*') && request.useragent.size() > 3": True,
    "size(request.headers) >= 100": False,
    "!(connection.mtls) && source.address.startsWith('127.0.0.1:')": True,
    "source.port > 0 && destination.port != -1": True,
    "request.protocol == 'HTTP/1.1' ? request.scheme == \"http\" : false": True,
    "request.referer == '' || request.id.size() == 36": True,
    "connection.requested_server_name == 'x' || connection.tls_version == 'TLSv1.3'": False,
    "connection.subject_peer_certificate == connection.uri_san_peer_certificate "
    "&& connection.dns_san_peer_certificate == 'x'": False,
}
"""Expressions, and what they come to for the request that a test sends through the real Envoy."""


@pytest.mark.parametrize("text", TAKEN)
def test_what_envoy_takes_is_taken(text: str) -> None:
    assert check_expression(text) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no 'end' here"),
        ("request.header['x']", "request has no 'header'; it has: "),
        ("requets.path == '/'", "there is no 'requets' here; there are: request, "),
        ("request == 'x'", "want '.', got '=='"),
        ("request.path == '/", "not CEL from here"),
        ("request.path ==", "there is no 'end' here"),
        ("(request.path == '/'", "want ')', got 'the end'"),
        ("request.path == '/')", "')' is not expected here"),
        ("request.path.lower() == 'x'", "there is no function 'lower'"),
        ("request.path.contains()", "contains takes 1 argument"),
        ("request.path.size(1) > 2", "size takes no arguments"),
        ("string(1) == '1'", "there is no 'string' here"),
        ("request.path.matches(request.host)", "a pattern in quotes"),
        ("request.path.matches('(')", "not a regular expression"),
        ("request.headers.exists(x, x == 'a')", "there is no function 'exists'"),
        ("!-1 == 1", "there is no '-' here"),
        ("99999999999999999999 > 1", "at most 15 digits"),
        ("10 % 2 == 0", "no '%'"),
        ("true\n", "stands in one line"),
        ("(" * 40 + "true" + ")" * 40, "too many brackets"),
        ("[" * 40 + "true" + "]" * 40, "too many brackets"),
        ("!" * 3000 + "true", "at most 1024"),
    ],
)
def test_what_envoy_does_not_take_is_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        check_expression(text)
    assert message in str(caught.value)
