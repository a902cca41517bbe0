"""`learned`: a bounded correction of an analytic base, by a model that was trained and released.

The model is ONNX: data, nothing that executes code of its own. It is loaded only where its
manifest, digest, inputs, outputs and a probe hold, and asked once for all services of a tick.
Where it answers with anything but numbers the base acts, and the proposal says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.decide.manifest import INPUT, OUTPUT, Release
from controlplane.errors import NotExplainableError, PolicyLoadError
from controlplane.model import Proposal, Situation
from controlplane.model.attribution import Attribution, alike, integrated_gradients
from controlplane.model.features import FEATURES, features_of
from controlplane.model.observation import Floats
from controlplane.model.residual import corrected, log_moves
from controlplane.ports import WeightPolicy

GROUP = "controlplane.models"
MOST_CELLS = 2**18
"""Groups, padding included, that one run of the model takes: 33 MB of features."""
OTHER_OBJECTIVE = "it was trained for another objective than the BalancingPolicy asks for"
NO_OBJECTIVE = (
    "the base acts (one group, or weights of a kind that the policy was not trained for), and "
    "heeds no objective of the BalancingPolicy"
)
_SLACK = 1e-4


class Learned:
    """A released residual on `base`."""

    name = "learned"

    def __init__(self, base: WeightPolicy, folder: Path | None = None) -> None:
        release = Release.read(folder if folder is not None else released(self.name))
        wanted = getattr(base, "name", release.base)
        if release.base != wanted:
            raise PolicyLoadError(
                f"{release.folder}: it was trained as a correction of {release.base}, and would "
                f"correct {wanted}"
            )
        self.release = release
        self._base = base
        self._session = _session(release)
        _probe(release, self._run)

    def propose(self, situations: Sequence[Situation]) -> Sequence[Proposal]:
        """One proposal for each situation."""
        bases = self._base.propose(situations)
        proposals = [
            self._as_base(base, *(() if one.service.objective is None else (NO_OBJECTIVE,)))
            for one, base in zip(situations, bases, strict=True)
        ]
        mine = [i for i, situation in enumerate(situations) if self._acts_on(situation)]
        for part in _portions(mine, situations):
            seen = features_of([situations[i] for i in part], [bases[i].shares for i in part])
            residuals = self._run(seen.table)
            for i, row, count in zip(part, residuals, seen.counts.tolist(), strict=True):
                wanted = situations[i].service.objective
                other = () if wanted in (None, self.release.objective) else (OTHER_OBJECTIVE,)
                proposals[i] = self._corrected(bases[i], row[:count], other)
        return proposals

    def attribute(self, situation: Situation, base: Floats) -> Attribution:
        """What each feature did to the share of each group: integrated gradients from groups that
        are alike. Raises `NotExplainableError` where the base acts as it is."""
        if not self._acts_on(situation):
            raise NotExplainableError(
                "the base acts as it is: there is one group, or weights of a kind that the policy "
                "was not trained for"
            )
        seen = features_of([situation], [base]).table[0]
        return self.share_out(seen, base, situation.grouping.names)

    def share_out(
        self, seen: NDArray[np.float32], base: Floats, groups: tuple[str, ...]
    ) -> Attribution:
        """The same of what it saw, (g, features), and of the (g,) shares of its base."""
        bound = self.release.bound

        def moves(tables: NDArray[np.float32]) -> Floats:
            return log_moves(base, np.clip(self._run(tables), -bound, bound))

        return replace(integrated_gradients(moves, seen, alike(seen)), groups=groups)

    def _acts_on(self, situation: Situation) -> bool:
        kind = "groups" if situation.grouping.by_locality else "endpoints"
        return len(situation.grouping.names) > 1 and kind in self.release.actuations

    def _as_base(self, base: Proposal, *notes: str) -> Proposal:
        return Proposal(
            shares=base.shares,
            policy=self.name,
            digest=self.release.digest,
            base=base.shares,
            bound=self.release.bound,
            notes=(*base.notes, *notes),
        )

    def _corrected(
        self, base: Proposal, residual: NDArray[np.float32], notes: tuple[str, ...]
    ) -> Proposal:
        if not np.isfinite(residual).all():
            return self._as_base(base, "the model gave no numbers: the base acts")
        bound = self.release.bound
        shares = corrected(base.shares, np.clip(residual, -bound, bound))
        if not np.isfinite(shares).all():
            return self._as_base(base, "the correction gave no shares: the base acts")
        largest = float(np.abs(shares / base.shares - 1.0).max())
        return Proposal(
            shares=shares,
            policy=self.name,
            digest=self.release.digest,
            base=base.shares,
            bound=self.release.bound,
            notes=(*base.notes, f"learned correction of at most {largest:.0%}", *notes),
        )

    def _run(self, table: NDArray[np.float32]) -> NDArray[np.float32]:
        """(services, groups) residuals of a padded table of features."""
        answer: NDArray[np.float32] = self._session.run([OUTPUT], {INPUT: table})[0]
        if answer.shape != table.shape[:2]:
            raise PolicyLoadError(
                f"{self.release.folder}: for {table.shape[:2]} groups the model gave an answer of "
                f"shape {answer.shape}"
            )
        return answer


def released(name: str) -> Path:
    """The folder of a released policy, as installed distributions offer it."""
    for point in entry_points(group=GROUP, name=name):
        try:
            return Path(point.load()())
        except (ImportError, AttributeError) as error:
            raise PolicyLoadError(
                f"the released policy {name!r} cannot be found: {error}"
            ) from None
    raise PolicyLoadError(f"no installed distribution offers a released policy {name!r}")


def _portions(members: list[int], situations: Sequence[Situation]) -> Iterator[list[int]]:
    """Batches of which none, padded to its largest, is more than one run may take."""
    part: list[int] = []
    largest = 0
    for i in members:
        groups = len(situations[i].grouping.names)
        if part and (len(part) + 1) * max(largest, groups) > MOST_CELLS:
            yield part
            part, largest = [], 0
        part.append(i)
        largest = max(largest, groups)
    if part:
        yield part


def _session(release: Release) -> Any:  # noqa: ANN401 - onnxruntime has no types
    import onnxruntime  # here, so that a fleet on analytic policies does not pay for it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = release.folder / "model.onnx"
    try:
        session = onnxruntime.InferenceSession(
            release.model, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's errors share no class of their own
        raise PolicyLoadError(f"{path} is not a model that runs here: {error}"[:500]) from error
    takes = [(one.name, one.type, len(one.shape)) for one in session.get_inputs()]
    gives = [(one.name, one.type, len(one.shape)) for one in session.get_outputs()]
    if takes != [(INPUT, "tensor(float)", 3)]:
        raise PolicyLoadError(f"{path} takes {takes}, wanted one float input {INPUT!r} of rank 3")
    if gives != [(OUTPUT, "tensor(float)", 2)]:
        raise PolicyLoadError(f"{path} gives {gives}, wanted one float output {OUTPUT!r} of rank 2")
    width = session.get_inputs()[0].shape[2]
    if width != len(FEATURES):
        raise PolicyLoadError(f"{path} takes {width} features, there are {len(FEATURES)}")
    return session


def _probe(release: Release, run: Any) -> None:  # noqa: ANN401
    """Ask it about made-up services of several sizes before any real one."""
    random = np.random.default_rng(0)
    for services, groups in ((1, 1), (3, 2), (2, 7)):
        table = random.normal(size=(services, groups, len(FEATURES))).astype(np.float32)
        table[:, :, -1] = 1.0
        try:
            answer = run(table)
        except PolicyLoadError:
            raise
        except Exception as error:
            raise PolicyLoadError(
                f"{release.folder}: the model failed on {services} services of {groups} groups: "
                f"{error}"[:500]
            ) from error
        if not np.isfinite(answer).all():
            raise PolicyLoadError(f"{release.folder}: the model answers with NaN or infinity")
        if float(np.abs(answer).max()) > release.bound + _SLACK:
            raise PolicyLoadError(
                f"{release.folder}: the model answers beyond the bound {release.bound} that its "
                "manifest names"
            )
