from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.errors import ConfigurationError, StartupError
from controlplane.settings import Address, load_settings


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WEIR_SETTINGS", "WEIR_XDS_ADDRESS", "WEIR_LOG_LEVEL", "WEIR_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def test_an_option_beats_the_environment_and_that_beats_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weir.yaml"
    file.write_text("xdsAddress: 127.0.0.1:1\nadminAddress: 127.0.0.1:2\nlogLevel: debug\n")
    monkeypatch.setenv("WEIR_SETTINGS", str(file))
    monkeypatch.setenv("WEIR_ADMIN_ADDRESS", "127.0.0.1:3")
    monkeypatch.setenv("WEIR_LOG_LEVEL", "warning")
    settings = load_settings(config=tmp_path, log_level="error")
    assert settings.xds_address == "127.0.0.1:1"
    assert settings.admin_address == "127.0.0.1:3"
    assert settings.log_level == "error"


def test_an_option_that_was_not_given_leaves_the_default(tmp_path: Path) -> None:
    assert load_settings(config=tmp_path, xds_address=None).xds_address == "127.0.0.1:18000"


def test_the_state_stands_beside_the_configuration_unless_said_otherwise(tmp_path: Path) -> None:
    assert load_settings(config=tmp_path).state == tmp_path / ".weir"
    assert load_settings(config=tmp_path, state_dir=tmp_path / "s").state == tmp_path / "s"


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("log_level", "loud", "log_level"),
        ("load_report_interval_s", 0.0, "load_report_interval_s"),
        ("xds_address", "18000", "HOST:PORT"),
        ("admin_address", "127.0.0.1:99999", "HOST:PORT"),
        ("no_such_thing", 1, "no_such_thing"),
    ],
)
def test_a_wrong_setting_is_named_in_the_error(
    tmp_path: Path, option: str, value: object, named: str
) -> None:
    with pytest.raises(ConfigurationError, match=named):
        load_settings(config=tmp_path, **{option: value})


def test_what_is_shown_of_the_settings_holds_no_secret(tmp_path: Path) -> None:
    settings = load_settings(
        config=tmp_path,
        rate_limit_redis_url="redis://:hunter2@redis:6379/0",
        prometheus_url="https://bob:hun/ter3@prometheus:9090",
    )
    shown = settings.shown()
    assert "hun" not in str(shown)
    assert shown["prometheus_url"] == "https://prometheus:9090"
    assert shown["config"] == str(tmp_path)
    assert shown["workers"] == 1


@pytest.mark.parametrize("content", ["[1, 2]", "a: b: c", "noSuchThing: 1"])
def test_a_broken_settings_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    file = tmp_path / "weir.yaml"
    file.write_text(content)
    monkeypatch.setenv("WEIR_SETTINGS", str(file))
    with pytest.raises(ConfigurationError):
        load_settings(config=tmp_path)


@pytest.mark.parametrize("text", ["127.0.0.1:80", "[::1]:80", "localhost:80"])
def test_loopback_is_served_in_plaintext(text: str) -> None:
    address = Address.parse(text)
    address.require_safe(insecure=False, what="admin address")
    assert str(address) == text


@pytest.mark.parametrize("text", ["0.0.0.0:80", "[::]:80", "192.0.2.1:80", "weir.example:80"])
def test_an_address_that_others_reach_wants_insecure_said(text: str) -> None:
    with pytest.raises(StartupError, match="--insecure"):
        Address.parse(text).require_safe(insecure=False, what="xDS address")
    Address.parse(text).require_safe(insecure=True, what="xDS address")


def test_push_stages_are_a_list_of_shares(tmp_path: Path) -> None:
    assert load_settings(config=tmp_path).stages == ()
    assert load_settings(config=tmp_path, push_stages="0.1, 0.5").stages == (0.1, 0.5)
    with pytest.raises(ConfigurationError, match=r"'a tenth'.*as in 0.1,0.5"):
        _ = load_settings(config=tmp_path, push_stages="a tenth").stages


def test_push_stages_that_do_not_grow_are_refused_before_anything_is_served(
    tmp_path: Path,
) -> None:
    from controlplane.app import App

    settings = load_settings(config=tmp_path, push_stages="0.5,0.1")
    with pytest.raises(ConfigurationError, match="growing"):
        App(settings)


def test_identities_come_as_a_list_or_with_spaces_between_them_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings(config=tmp_path).xds_identity == ()
    assert load_settings(config=tmp_path, xds_identity=["a", "b"]).xds_identity == ("a", "b")
    monkeypatch.setenv("WEIR_XDS_IDENTITY", "spiffe://e/{node_id}  {node_id}.e")
    both = ("spiffe://e/{node_id}", "{node_id}.e")
    assert load_settings(config=tmp_path).xds_identity == both


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"tls_cert": "a"}, "--tls-key"),
        ({"tls_key": "a"}, "--tls-cert"),
        ({"tls_client_ca": "a"}, "--tls-cert"),
        ({"webhook_address": "0.0.0.0:9443"}, "--kubernetes"),
        ({"webhook_cert": "a"}, "--webhook-key"),
        ({"xds_jwt_key": "a"}, "--xds-jwt-issuer"),
        ({"xds_jwt_key": "a", "xds_jwt_issuer": "b"}, "--xds-jwt-audience"),
        ({"xds_connection_age_s": 0.1}, "xds_connection_age_s"),
        ({"xds_streams_per_identity": 0}, "xds_streams_per_identity"),
    ],
)
def test_what_belongs_together_is_given_together(
    tmp_path: Path, given: dict[str, object], why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why):
        load_settings(config=tmp_path, **given)


MUTUAL = {"tls_cert": "a", "tls_key": "b", "tls_client_ca": "c"}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"replica_address": "127.0.0.1:1", "kubernetes": False}, "--kubernetes"),
        ({"replica_address": "0.0.0.0:1", "replica_host": "h"}, "prove who they are"),
        ({"replica_address": "0.0.0.0:1", "replica_host": "h", "insecure": True}, "prove who"),
        ({"replica_address": "0.0.0.0:1", "replica_host": "h", **MUTUAL}, "--replica-identity"),
        ({"replica_address": "127.0.0.1:1", **MUTUAL}, "--replica-identity"),
        ({"replica_address": "0.0.0.0:1", "replica_identity": "n", **MUTUAL}, "POD_IP"),
        ({"replica_address": "18003"}, "HOST:PORT"),
    ],
)
def test_other_replicas_are_heard_by_mutual_tls_and_by_a_name_of_their_own(
    tmp_path: Path, given: dict[str, object], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("POD_IP", raising=False)
    config = tmp_path if given.get("kubernetes") is False else None
    with pytest.raises(ConfigurationError, match=why):
        load_settings(**{"config": config, "kubernetes": config is None, **given})


def test_where_other_replicas_reach_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def reached(address: str, **more: str) -> str:
        given = {**MUTUAL, "replica_identity": "weir", "replica_address": address, **more}
        return load_settings(kubernetes=True, **given).replica_reached

    assert load_settings(kubernetes=True, replica_address="127.0.0.1:1").replica_reached
    assert reached("192.0.2.1:18003") == "192.0.2.1:18003"
    monkeypatch.setenv("POD_IP", "2001:db8::1")
    assert reached("0.0.0.0:18003") == "[2001:db8::1]:18003"
    assert reached("[::]:18003", replica_host="weir-1") == "weir-1:18003"
