"""Released policies: one folder each, found by entry points of the group `controlplane.models`.

A folder holds `model.onnx`, `manifest.json` (what it takes and gives, and the digest that serving
checks), `card.md` and `evaluation.json`. Nothing here is imported by serving but this module.
"""

from __future__ import annotations

from pathlib import Path


def residual_ppo() -> Path:
    """The residual on `model` that the policy `learned` loads unless told otherwise."""
    return Path(__file__).parent / "residual-ppo"
