"""Tables for people, JSON (or YAML) for machines."""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console

_WIDE = 10_000


def console() -> Console:
    """Where tables are printed: as wide as the terminal, and in a pipe as wide as they are."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=_WIDE if piped else None)


class Output(StrEnum):
    """What `--output` takes where something is measured."""

    TABLE = "table"
    JSON = "json"


class Written(StrEnum):
    """What `--output` takes where there is no table."""

    JSON = "json"
    YAML = "yaml"


class Detailed(StrEnum):
    """What `--output` takes where something is looked at."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[Detailed, typer.Option("--output", "-o", help="table, json or yaml.")]


def tell(document: Any, output: Detailed, *, indent: int | None = None) -> None:  # noqa: ANN401
    """Print a document that JSON can have: as JSON (`indent` spaces a level), or as YAML."""
    text = json.dumps(document, indent=indent)
    if output is Detailed.JSON:
        typer.echo(text)
        return
    import yaml  # few ask for it, and every verb would wait for it

    plain = json.loads(text)  # YAML knows no tuples and no words of an enumeration
    typer.echo(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), nl=False)
