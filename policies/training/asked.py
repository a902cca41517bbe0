"""Two models are the same where they answer alike: random services to ask them about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from controlplane.model.features import CUT, FEATURES

INPUTS = 10_000
MOST_GROUPS = 12
MANY_GROUPS = 100
"""Of the last service: as where each endpoint is a group of its own."""
_TOGETHER = 500


def random_services(inputs: int = INPUTS) -> Iterator[NDArray[np.float32]]:
    """(services, groups, features) tables, `inputs` services in all, always the same ones.

    1 to 12 groups, the last service 100; a fifth of the groups is padding; features are normal,
    three times as wide in every other table, and cut where those of a service are.
    """
    random = np.random.default_rng(0)
    for number, start in enumerate(range(0, inputs, _TOGETHER)):
        services = min(_TOGETHER, inputs - start)
        one_more = start + services == inputs
        sizes = [(services - one_more, 1 + number % MOST_GROUPS)]
        sizes += [(1, MANY_GROUPS)] * one_more
        for count, groups in sizes:
            wide = 3.0 if number % 2 else 1.0
            drawn = random.normal(scale=wide, size=(count, groups, len(FEATURES)))
            table = drawn.clip(-CUT, CUT).astype(np.float32)
            table[:, :, -1] = random.random((count, groups)) < 0.8
            yield table


def session(model: bytes) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """A model to be asked, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
