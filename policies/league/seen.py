"""What of the league's held-out cases a release has seen in training, by its own manifest.

The league cannot hold anything out for a release that it did not train: it can only say so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from policies.league.lineage import Seen, lineage
from policies.league.players import Kind, Player, folder_of
from policies.simulator import HELD_OUT_ENDPOINTS, HELD_OUT_FAMILIES


def warnings(player: Player) -> Iterator[str]:
    """A sentence for each reason why this player's figures may flatter it; none for who learned
    nothing, and for what cannot be loaded, which is refused when it is to play."""
    if player.kind is not Kind.RELEASED:
        return
    path = folder_of(player) / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
        met = Seen.of(manifest)
        logged = any(one.log is not None for one in lineage(manifest))
    except OSError:
        return
    except (ValueError, LookupError, TypeError, AttributeError):
        yield f"{player.name}: what it was trained on is not said in {path}"
        return
    if logged:
        yield f"{player.name} learned from a log: what that shares with these cases is not known"
    seen = [name for name in HELD_OUT_FAMILIES if name in met.families]
    seen += [f"{count} endpoints" for count in HELD_OUT_ENDPOINTS if count in met.endpoints]
    if seen:
        yield (
            f"{player.name} was trained on {', '.join(seen)}, which are held out from others: its "
            "figures there are not those of cases that it never saw"
        )
