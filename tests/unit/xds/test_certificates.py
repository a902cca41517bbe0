"""What is served over TLS: judged before it is used, followed, and kept when the next is bad."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.errors import ConfigurationError, StartupError
from controlplane.xds.certificates import read_material
from controlplane.xds.reloaded import MAX_BYTES, Reloaded
from controlplane.xds.tls import Tls
from tests.certificates import Authority, Files, Issued, MountedSecret, put

CA = Authority()


def with_password(issued: Issued) -> bytes:
    key = serialization.load_pem_private_key(issued.key, None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


def tls(files: Files) -> Tls:
    return Tls(files.certificate, files.key, files.ca)


Spoil = Callable[[Files], object]
BAD: dict[str, tuple[Spoil, str]] = {
    "certificate-missing": (
        lambda f: f.certificate.unlink(),
        r"tls.crt: cannot be read \(No such file",
    ),
    "key-missing": (lambda f: f.key.unlink(), r"tls.key: cannot be read"),
    "ca-missing": (lambda f: f.ca.unlink(), r"ca.crt: cannot be read"),
    "certificate-is-a-folder": (
        lambda f: f.certificate.rename(f.folder / "moved").parent.joinpath("tls.crt").mkdir(),
        "tls.crt: not a file",
    ),
    "certificate-not-pem": (
        lambda f: put(f.certificate, b"hello"),
        "tls.crt: holds no certificate.*BEGIN CERTIFICATE",
    ),
    "certificate-empty": (lambda f: put(f.certificate, b""), "tls.crt: holds no certificate"),
    "certificate-is-a-key": (
        lambda f: put(f.certificate, f.key.read_bytes()),
        "tls.crt: holds no certificate",
    ),
    "certificate-huge": (
        lambda f: put(f.certificate, b"x" * (MAX_BYTES + 1)),
        "tls.crt: larger than",
    ),
    "key-not-pem": (lambda f: put(f.key, b"hello"), "tls.key: holds no private key"),
    "key-with-a-password": (
        lambda f: put(f.key, with_password(CA.server())),
        "tls.key: holds no private key.*without a password",
    ),
    "key-of-another": (
        lambda f: put(f.key, CA.server().key),
        "tls.key: not the key of the first certificate in .*tls.crt; replace both",
    ),
    "key-of-a-kind-that-envoy-does-not-take": (
        lambda f: f.put(CA.issue(key=ed25519.Ed25519PrivateKey.generate()), CA.pem),
        "tls.key: a kind of key.*ECDSA",
    ),
    "key-of-a-strange-curve": (
        lambda f: f.put(CA.issue(key=ec.generate_private_key(ec.SECP256K1())), CA.pem),
        "tls.key: a kind of key",
    ),
    "expired": (
        lambda f: f.put(CA.issue(starts_h=-2, ends_h=-1), CA.pem),
        "tls.crt: the certificate of CN=leaf expired at .* UTC; issue a new one",
    ),
    "not-valid-yet": (
        lambda f: f.put(CA.issue(starts_h=1, ends_h=2), CA.pem),
        "tls.crt: the certificate of CN=leaf is not valid before .* is the clock right",
    ),
    "intermediate-expired": (
        lambda f: put(
            f.certificate,
            f.certificate.read_bytes() + Authority("old", -2, -1).pem,
        ),
        "tls.crt: the certificate of CN=old expired",
    ),
    "ca-not-pem": (lambda f: put(f.ca, b"hello"), "ca.crt: holds no certificate"),
    "ca-expired": (
        lambda f: put(f.ca, Authority("old", -2, -1).pem),
        "ca.crt: the certificate of CN=old expired",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_start_with_bad_files_is_refused_in_words(tmp_path: Path, name: str) -> None:
    spoil, why = BAD[name]
    files = Files(tmp_path).put(CA.server(), CA.pem)
    spoil(files)
    with pytest.raises(StartupError, match=why):
        tls(files).open()


@pytest.mark.parametrize("name", BAD)
def test_bad_new_files_leave_the_old_ones_in_force_until_they_are_good(
    tmp_path: Path, name: str
) -> None:
    spoil, why = BAD[name]
    files = Files(tmp_path).put(CA.server(), CA.pem)
    opened = tls(files).open()
    before = opened.value
    spoil(files)
    for again in (False, True):
        assert opened.look(again=again) is before
        with pytest.raises(ConfigurationError, match=why):
            raise ConfigurationError(opened.problem)
    assert opened.taken == 0
    if files.certificate.is_dir():
        files.certificate.rmdir()
    good = CA.server()
    files.put(good, CA.pem)
    assert opened.look().certificate == good.certificate
    assert (opened.problem, opened.taken) == ("", 1)


def test_an_unreadable_key_is_refused(tmp_path: Path) -> None:
    files = Files(tmp_path).put(CA.server(), CA.pem)
    looped = tmp_path / "loop"
    looped.symlink_to(looped)
    with pytest.raises(StartupError, match="loop: cannot be read"):
        Tls(files.certificate, looped).open()


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
    ],
)
def test_the_keys_that_envoy_takes_are_taken(tmp_path: Path, key: object) -> None:
    files = Files(tmp_path).put(CA.issue(key=key), CA.pem)
    assert tls(files).open().value.key == files.key.read_bytes()


def test_a_short_rsa_key_is_refused(tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.raises(StartupError, match="2048 bits or more"):
        tls(Files(tmp_path).put(CA.issue(key=key), CA.pem)).open()


def test_files_that_are_renamed_into_place_are_seen(tmp_path: Path) -> None:
    files = Files(tmp_path).put(CA.server(), CA.pem)
    opened = tls(files).open()
    first = opened.value
    assert opened.look() is first
    new = CA.server()
    files.put(new, CA.pem)
    assert (opened.look().certificate, opened.look().key) == (new.certificate, new.key)
    assert opened.look() is opened.look()
    assert opened.taken == 1


def test_the_swapped_link_of_a_mounted_secret_is_seen(tmp_path: Path) -> None:
    secret = MountedSecret(tmp_path).put(CA.server(), CA.pem)
    opened = tls(secret.files).open()
    new, other = CA.server(), Authority("other")
    secret.put(new, other.pem)
    seen = opened.look()
    assert (seen.certificate, seen.key, seen.client_ca) == (new.certificate, new.key, other.pem)
    assert opened.problem == ""


def test_files_that_are_written_over_in_place_are_seen_though_size_and_time_are_the_same(
    tmp_path: Path,
) -> None:
    files = Files(tmp_path).put(CA.server(), b"# one\n" + CA.pem)
    opened = tls(files).open()
    before = os.stat(files.ca)
    files.ca.write_bytes(b"# two\n" + CA.pem)
    os.utime(files.ca, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert opened.look().client_ca == b"# two\n" + CA.pem


def test_a_key_that_follows_its_certificate_a_moment_later_is_waited_for(tmp_path: Path) -> None:
    files = Files(tmp_path).put(CA.server(), CA.pem)
    opened = tls(files).open()
    before, new = opened.value, CA.server()
    put(files.certificate, new.certificate)
    assert opened.look() is before
    put(files.key, new.key)
    assert opened.look().certificate == new.certificate


def test_files_of_which_one_is_replaced_between_two_reads_are_read_once_more(
    tmp_path: Path,
) -> None:
    one, two = put(tmp_path / "one", b"old"), put(tmp_path / "two", b"old")

    def equal(content: Sequence[bytes]) -> bytes:
        if content[0] != content[1]:
            put(two, content[0])  # the second file comes while the first is judged
            raise ConfigurationError("not the same")
        return content[0]

    opened = Reloaded("test", [one, two], equal)
    put(one, b"new")
    assert opened.look() == b"new"
    assert (opened.problem, opened.taken) == ("", 1)


def test_a_certificate_that_is_not_valid_yet_is_taken_once_it_is(tmp_path: Path) -> None:
    now_s = [time.time()]
    files = Files(tmp_path).put(CA.server(), CA.pem)
    opened = tls(files).open(lambda: now_s[0])
    before = opened.value
    later = CA.issue(starts_h=0.5, ends_h=1)
    files.put(later, CA.pem)
    assert opened.look(again=True) is before
    now_s[0] += 1900.0
    assert opened.look() is before  # a handshake does not judge the same content again
    assert opened.look(again=True).certificate == later.certificate


def test_the_certificate_that_expires_first_counts(tmp_path: Path) -> None:
    issued = CA.issue(ends_h=5)
    chain = issued.certificate + Authority("between", ends_h=2).pem
    files = Files(tmp_path).put(Issued(chain, issued.key), CA.pem)
    expires_h = (tls(files).open().value.expires_at_s - time.time()) / 3600
    assert 1.9 < expires_h <= 2.0


@given(st.lists(st.binary(max_size=200), min_size=3, max_size=3))
def test_whatever_the_files_hold_it_is_a_configuration_error(content: list[bytes]) -> None:
    paths = [Path("a"), Path("b"), Path("c")]
    for one in (content, [b"-----BEGIN CERTIFICATE-----\n" + raw for raw in content]):
        with pytest.raises(ConfigurationError):
            read_material(paths, one, 0.0)


GOOD = CA.server()


# What `cryptography` finds odd and takes, such as a negative serial number, it warns of.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@settings(max_examples=500)
@given(st.integers(0, len(GOOD.certificate) - 1), st.integers(0, 255))
def test_a_certificate_with_a_wrong_byte_is_taken_or_refused_and_nothing_worse(
    at: int, byte: int
) -> None:
    raw = bytearray(GOOD.certificate)
    raw[at] = byte
    try:
        found = read_material([Path("a"), Path("b")], [bytes(raw), GOOD.key], time.time())
    except ConfigurationError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert found.key == GOOD.key
    assert refusal.startswith(("a: ", "b: ")) or not refusal
