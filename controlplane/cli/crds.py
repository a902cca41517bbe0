"""`weir crds`: the CustomResourceDefinitions of Weir's own kinds."""

from __future__ import annotations

import json
from enum import Enum
from typing import Annotated

import typer
import yaml

from controlplane.resources.crds import definitions


class Format(Enum):
    """How they are written."""

    YAML = "yaml"
    JSON = "json"


def crds(
    output: Annotated[
        Format, typer.Option("--output", "-o", help="yaml, or json (one list).")
    ] = Format.YAML,
    group: Annotated[
        str | None, typer.Option(help="Only kinds of this API group. [weir.dev is all there is]")
    ] = None,
) -> None:
    """Print the CustomResourceDefinitions of Weir's own kinds, for `kubectl apply --server-side`.

    Those of the Gateway API are not ours: install them from its own releases.
    """
    made = definitions(group)
    if not made:
        typer.echo(f"no kind of ours is in group {group}: they are in weir.dev", err=True)
        raise typer.Exit(1)
    if output is Format.JSON:
        typer.echo(json.dumps({"apiVersion": "v1", "kind": "List", "items": made}))
    else:
        typer.echo(written(made), nl=False)


def written(made: tuple[dict[str, object], ...]) -> str:
    """As YAML, several documents."""
    documents = (yaml.dump(one, Dumper=_Plain, sort_keys=False, width=100) for one in made)
    return "---\n" + "---\n".join(documents)


class _Plain(yaml.SafeDumper):
    """Without anchors: people read these, and some tools take none."""

    def ignore_aliases(self, data: object) -> bool:
        """All are written out."""
        return True
