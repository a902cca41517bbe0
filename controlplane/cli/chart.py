"""The Helm chart that comes with this Weir, in a checkout and in an installed wheel alike."""

from __future__ import annotations

from pathlib import Path

import controlplane
from controlplane.errors import ConfigurationError

_PACKAGE = Path(controlplane.__file__).parent


def chart_folder(package: Path = _PACKAGE) -> Path:
    """Where it is. Raises `ConfigurationError` where this installation has none.

    `package`: the folder of `controlplane`. A wheel has the chart within it, a checkout beside it.
    """
    for folder in (package / "charts" / "weir", package.parent / "charts" / "weir"):
        if (folder / "Chart.yaml").is_file():
            return folder
    raise ConfigurationError(
        "this installation has no chart (images leave it out): install weir by pip, or give --chart"
    )
