"""The `weir` command: argv and environment in, verbs out. Imports what a verb needs, when it runs.

Each verb is an entry of the table below or of the entry point group `controlplane.commands`, by
which other distributions (and our own `policies`) bring theirs, such as `weir train`.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run one verb. An error that we raised ourselves ends as one plain line, not a traceback."""
    from controlplane.cli.root import build
    from controlplane.errors import WeirError

    try:
        build()(prog_name="weir")
    except WeirError as error:
        sys.stderr.write(f"weir: {error}\n")
        sys.exit(1)
