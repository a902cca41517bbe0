"""Which commit of the source a result was made by."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
DECIDES = ("controlplane", "policies", ":(exclude)policies/released")
"""What results depend on. Releases have digests of their own, and one that is being made is there
before it is committed."""
GIT_S = 10.0


def commit(root: Path = ROOT) -> str:
    """The commit of this checkout, with a + behind it where the code differs from what was
    committed; `unknown` outside of a checkout or without git.

    Ask before the work begins: a long run plays with the code that it was started with.
    """
    try:
        head = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--", *DECIDES)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head + ("+" if changed else "")


def short(commit: str) -> str:
    """Twelve digits, and the + if it has one.

    >>> short("0123456789abcdef0123456789abcdef01234567+")
    '0123456789ab+'
    """
    return commit[:12] + ("+" if commit.endswith("+") else "")


def _git(root: Path, *arguments: str) -> str:
    asked = ["git", "-C", str(root), *arguments]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=GIT_S)
    return done.stdout.strip()
