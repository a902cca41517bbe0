"""The documents of examples/, with the ports that a test has instead of those written there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str, ports: Mapping[int, int]) -> list[str]:
    """Its documents. Every port that is written there has to be replaced."""
    files = sorted((EXAMPLES / name).glob("*.yaml"))
    text = "\n---\n".join(one.read_text() for one in files)
    text = re.sub(r"\bport: (\d+)", lambda found: f"port: {ports[int(found.group(1))]}", text)
    return [f"{one}\n" for one in text.split("\n---\n")]
