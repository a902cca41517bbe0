"""Write the dashboards: `python -m deploy.grafana [FOLDER]`."""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.grafana.boards import BOARDS
from deploy.grafana.draw import document

FOLDER = Path(__file__).parents[2] / "charts" / "weir" / "dashboards"


def main(folder: Path) -> None:
    """One file for each dashboard, named by its uid."""
    folder.mkdir(parents=True, exist_ok=True)
    for board in BOARDS:
        (folder / f"{board.uid}.json").write_text(document(board))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
