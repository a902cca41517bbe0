"""Where Envoy's messages hold credentials, read from the descriptors in the Envoy binary itself.

`python -m tests.envoy.credentials` writes `controlplane/xds/credentials.txt` again.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.message import DecodeError

from controlplane.lab.envoy import envoy_binary

TABLE = Path(__file__).parents[2] / "controlplane" / "xds" / "credentials.txt"

_CORE = "envoy.config.core.v3."
_DATA_SOURCE = _CORE + "DataSource"
_CALL = _CORE + "GrpcService.GoogleGrpc.CallCredentials"
_PLUGINS = "envoy.extensions.grpc_service.call_credentials."
_SENSITIVE = b"\xb8\xb7\x8b\xa4\x02\x01"
"""(udpa.annotations.sensitive) = true, as an option of a field."""
_ROOTS = ("envoy.config.", "envoy.extensions.", "envoy.type.", "xds.")
"""Where the messages of a snapshot are. The bootstrap is none of it."""

UNMARKED = {
    (_CALL, 1): "value",  # access_token
    (_CALL, 3): "value",  # google_refresh_token
    (f"{_CALL}.ServiceAccountJWTAccessCredentials", 1): "value",
    (f"{_CALL}.GoogleIAMCredentials", 1): "value",
    ("envoy.config.trace.v3.LightstepConfig", 4): "inline",
    ("envoy.extensions.filters.http.aws_lambda.v3.Credentials", 2): "value",
    ("envoy.extensions.filters.http.aws_lambda.v3.Credentials", 3): "value",
    ("envoy.extensions.filters.http.jwt_authn.v3.JwtProvider", 4): "jwks",
    ("envoy.extensions.filters.common.jwks.v3.JwtHandshakeValidator", 3): "jwks",
    # Those of gRPC, which Envoy's binary does not have.
    (_PLUGINS + "access_token.v3.AccessTokenCredentials", 1): "value",
    (_PLUGINS + "file_based_metadata.v3.FileBasedMetadataCallCredentials", 1): "inline",
    (_PLUGINS + "google_iam.v3.GoogleIamCredentials", 1): "value",
    (_PLUGINS + "google_refresh_token.v3.GoogleRefreshTokenCredentials", 1): "value",
    (_PLUGINS + "service_account_jwt_access.v3.ServiceAccountJwtAccessCredentials", 1): "value",
}
"""Credentials that Envoy does not mark as sensitive."""

Leads = dict[str, dict[int, str]]
"""Message -> field -> the message that it leads to, or what kind of credential it is."""


def files(binary: Path) -> dict[str, FileDescriptorProto]:
    """The descriptors of all proto files that are linked into a binary, by their names."""
    found: dict[str, FileDescriptorProto] = {}
    with binary.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as data:
        for match in re.finditer(rb"\n(.)([\w/.-]+\.proto)\x12", data, re.DOTALL):
            end = data.find(b"b\x06proto3", match.start())
            if match[1][0] != len(match[2]) or end < 0:
                continue
            try:
                one = FileDescriptorProto.FromString(data[match.start() : end + 8])
            except DecodeError:
                continue
            found[one.name] = one
    return found


def leads(binary: Path) -> Leads:
    """Every field that is a credential, or leads to one."""
    messages = {
        name: message
        for file in files(binary).values()
        for top in file.message_type
        for name, message in _messages(file.package, top)
        if name.startswith(_ROOTS) and not name.startswith("envoy.config.bootstrap.")
    }
    made: Leads = {}
    for name, message in messages.items():
        for field in message.field:
            if _SENSITIVE in field.options.SerializeToString():
                made.setdefault(name, {})[field.number] = _kind(field)
    for (name, number), kind in UNMARKED.items():
        made.setdefault(name, {})[number] = kind
    grew = True
    while grew:
        before = sum(map(len, made.values()))
        for name, message in messages.items():
            for field in message.field:
                if field.type_name[1:] in made:
                    made.setdefault(name, {}).setdefault(field.number, field.type_name[1:])
        grew = sum(map(len, made.values())) > before
    return made


def written(found: Leads) -> str:
    """As the table has it."""
    lines = []
    for name in sorted(found):
        lines.append(name)
        lines += [f"  {number} {found[name][number]}" for number in sorted(found[name])]
    return "\n".join(lines) + "\n"


def _messages(package: str, message: DescriptorProto) -> Iterator[tuple[str, DescriptorProto]]:
    name = f"{package}.{message.name}"
    yield name, message
    for nested in message.nested_type:
        yield from _messages(name, nested)


def _kind(field: FieldDescriptorProto) -> str:
    return "inline" if field.type_name == f".{_DATA_SOURCE}" else "value"


if __name__ == "__main__":
    TABLE.write_text(written(leads(envoy_binary())))
