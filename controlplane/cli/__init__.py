"""The `weir` command: argv and environment in, verbs out. Imports what a verb needs, when it runs.

Each verb is an entry of the table below or of the entry point group `controlplane.commands`, by
which other distributions (and our own `policies`) bring theirs, such as `weir train`.
"""

from __future__ import annotations

import sys


def main() -> None:
    """`weir`: run one verb."""
    run("weir")


def plugin() -> None:
    """`kubectl-weir`, which kubectl runs as `kubectl weir`: a cluster is meant where no address is
    given."""
    run("kubectl weir", plugin=True)


def run(name: str, plugin: bool = False) -> None:
    """Run one verb. An error that we raised ourselves ends as one plain line, not a traceback."""
    from controlplane.cli.root import build
    from controlplane.errors import WeirError

    if sys.argv[1:2] == ["__plugin"]:  # by the launcher that krew installs
        name, plugin = "kubectl weir", True
        del sys.argv[1]
    if sys.argv[1:2] == ["__complete"]:  # by a shell; its words are not ours to parse
        from controlplane.cli.completion import answer

        answer(sys.argv[2:], plugin)
        return
    try:
        build(plugin)(prog_name=name)
    except WeirError as error:
        sys.stderr.write(f"weir: {error}\n")
        sys.exit(1)
