"""From recipe to release with every recipe, on the simulator, in minutes: that it works, not well.

python -m benchmarks.train_smoke --only sac td3
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

FAMILIES = ("sparse", "gc_pauses")
"""One that training may know and one that it may not."""
LOADS, SIZES = (0.5, 0.85), ((8, 4), (10, 16))


def smoke(name: str, folder: Path) -> str:
    """Two rollouts, a release that serving takes, and what it was measured to be."""
    from policies.league.suite import RELEASE_SEEDS, Suite
    from policies.training.recipe import FOLDER, load
    from policies.training.release import release
    from policies.training.train import train

    suite = Suite(FAMILIES, LOADS, SIZES, seeds=1, first_seed=RELEASE_SEEDS)
    recipe = load(FOLDER / f"{name}.yaml")
    steps = 2 * recipe.settings.slots * recipe.world.steps
    cases = getattr(recipe.settings, "agents", 4)  # of a team, all
    began = time.monotonic()
    trained = train(replace(recipe, steps=steps, check_every=1, check_cases=cases))
    evaluation = release(trained, folder / name, suite=suite)
    said = "not evaluated"
    if evaluation:
        said = f"{evaluation['overall']['learned/model']['mean'][0]:.3f} of model"
    size = (folder / name / "model.onnx").stat().st_size
    took = time.monotonic() - began
    return f"{name}: {said}, model.onnx {size / 1e3:.0f} kB, {took:.0f} s"


def main() -> None:
    from policies.training.recipe import FOLDER

    ours = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=ours)
    with tempfile.TemporaryDirectory() as folder:
        for name in parser.parse_args().only:
            print(smoke(name, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
