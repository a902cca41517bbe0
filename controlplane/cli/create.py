"""`weir create api-key CLIENT`: a new key, and what a Secret holds of it."""

from __future__ import annotations

import json
import re
from typing import Annotated

import typer
import yaml

from controlplane.cli.output import Written
from controlplane.errors import ConfigurationError
from controlplane.resources.api_keys import hashed, new_key

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
_ENTRY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
"""Of a Secret."""


@app.callback()
def create() -> None:
    """Make what is made by chance."""


@app.command("api-key")
def api_key(
    client: Annotated[str, typer.Argument(help="Whose key it is, as Backends are told.")],
    name: Annotated[str, typer.Option("--secret", help="The name of the Secret.")] = "api-keys",
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Of the Secret.")] = "default",
    output: Annotated[Written, typer.Option("--output", "-o", help="yaml or json.")] = Written.YAML,
) -> None:
    """Make an API key of 256 bits of chance.

    The key goes to the error stream, this once: nobody can find it out again. The Secret with its
    hash, for `apiKeyAuth` of a SecurityPolicy, goes to the output.
    """
    if not _ENTRY.fullmatch(client):
        raise ConfigurationError(f"{client!r}: want letters, digits, '-', '_' and '.'")
    key = new_key()
    document = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": {client: hashed(key)},
    }
    if output is Written.JSON:
        typer.echo(json.dumps(document, indent=2))
    else:
        typer.echo(yaml.safe_dump(document, sort_keys=False), nl=False)
    typer.echo(key, err=True)
