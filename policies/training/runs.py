"""One training run or several, with all the cores of a place.

Several (seeds, settings) go out as whole runs, one to a core. One alone stays here, and the cases
of its episodes go out. Neither changes what comes of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from controlplane.errors import WeirError
from policies.env.simulated import Simulated
from policies.training.places import Place
from policies.training.recipe import Recipe
from policies.training.train import CHECKPOINT_S, TRAINED, Trained, code, train

PROGRESS = "progress.txt"
"""In the folder of a run that was sent away: steps done and a line about them, for who waits."""
_LOOK_S = 1.0

Progress = Callable[[int, str], None]
"""Told the steps of all runs that are done, and one line about them."""


def trained(
    runs: Sequence[tuple[Recipe, Path]],
    place: Place,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    checkpoint_s: float = CHECKPOINT_S,
    log: Path | None = None,
) -> list[Trained]:
    """What came of each recipe, in order; each has a folder of its own, where it can go on from.

    `log`: decisions that were served, which all learn from."""
    code()  # as it is now, with which the results are read in the end
    for _, folder in runs:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PROGRESS).unlink(missing_ok=True)
        if not resume:
            (folder / TRAINED).unlink(missing_ok=True)
    if len(runs) == 1:
        return [_alone(*runs[0], place, resume, progress, checkpoint_s, log)]
    left = [run for run in runs if not (run[1] / TRAINED).exists()]
    if left:
        over = sum(recipe.steps for recipe, _ in runs) - sum(recipe.steps for recipe, _ in left)
        with place.pool(min(place.cores, len(left))) as pool:
            sent = [
                pool.submit(_there, recipe, str(folder.resolve()), resume, checkpoint_s, log)
                for recipe, folder in left
            ]
            _wait(left, sent, progress and (lambda done, note: progress(over + done, note)))
        for (_, folder), future in zip(left, sent, strict=True):
            if not (folder / TRAINED).exists():  # it ran on a machine with other disks
                (folder / TRAINED).write_bytes(future.result())
    if progress is not None:
        progress(sum(recipe.steps for recipe, _ in runs), f"{len(runs)}/{len(runs)} runs")
    return [train(recipe, logs=folder, resume=True, log=log) for recipe, folder in runs]


def _alone(
    recipe: Recipe,
    folder: Path,
    place: Place,
    resume: bool,
    progress: Progress | None,
    checkpoint_s: float,
    log: Path | None,
) -> Trained:
    cases = recipe.settings.slots // recipe.settings.copies
    count = min(place.cores, cases) if isinstance(recipe.world, Simulated) else 1

    def here(workers: Sequence[Executor]) -> Trained:
        return train(
            recipe,
            logs=folder,
            progress=progress,
            resume=resume,
            checkpoint_s=checkpoint_s,
            workers=workers,
            log=log,
        )

    if count < 2 or (resume and (folder / TRAINED).exists()):
        return here(())
    try:
        with place.workers(count) as workers:
            return here(workers)
    except BrokenProcessPool as error:
        raise WeirError(_ENDED) from error


_ENDED = "a process that trained was ended from outside (memory?); with --resume it goes on"


def _wait(
    runs: Sequence[tuple[Recipe, Path]], sent: Sequence[Future[bytes]], progress: Progress | None
) -> None:
    """Until all have ended. The first that fails is raised, and those that wait are not begun."""
    left: set[Future[bytes]] = set(sent)
    while left:
        ended, left = wait(left, timeout=_LOOK_S, return_when=FIRST_EXCEPTION)
        for one in ended:
            try:
                one.result()
            except BrokenProcessPool as error:
                raise WeirError(_ENDED) from error
        if progress is not None:
            done = [_progress(*run, future) for run, future in zip(runs, sent, strict=True)]
            over = len(sent) - len(left)
            note = next((note for _, note in reversed(done) if note), "")
            progress(sum(steps for steps, _ in done), f"{over}/{len(sent)} runs {note}")


def _progress(recipe: Recipe, folder: Path, future: Future[bytes]) -> tuple[int, str]:
    """Steps, as far as can be seen from here, and what was said of the newest."""
    if future.done():
        return recipe.steps, ""
    try:
        steps, _, note = (folder / PROGRESS).read_text().partition(" ")
        return min(int(steps), recipe.steps), note
    except (OSError, ValueError):  # not begun, not on this disk, or half written
        return 0, ""


def _there(
    recipe: Recipe, folder: str, resume: bool, checkpoint_s: float, log: Path | None
) -> bytes:
    """In another process, maybe on another machine: train, and return the file of the result."""
    logs = Path(folder)
    logs.mkdir(parents=True, exist_ok=True)

    def progress(step: int, note: str) -> None:
        (logs / PROGRESS).write_text(f"{step} {note}")

    train(recipe, logs=logs, progress=progress, resume=resume, checkpoint_s=checkpoint_s, log=log)
    (logs / PROGRESS).unlink(missing_ok=True)
    return (logs / TRAINED).read_bytes()
