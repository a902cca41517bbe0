"""A policy that cannot be served as it is teaches one that can.

Serving asks a stateless model of any number of groups. What has a memory, or a fixed number of
groups, shows what it does, and our network is fitted to that (policy distillation: A. A. Rusu et
al., "Policy distillation", ICLR 2016). What is released, and measured, is the pupil.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from policies.agents.network import PRESENT, Actor
from policies.env.episodes import Episodes

BATCH = 256
EPISODES = 8


def distilled(
    teacher: Callable[[Tensor, bool], Tensor],
    episodes: Episodes,
    *,
    width: int,
    layers: int,
    lessons: int,
    seed: int,
) -> nn.Module:
    """An actor that does as the teacher, as far as it can.

    The teacher is asked with a table and whether an episode begins, and is the one that acts.
    """
    tables, actions = [], []
    for _ in range(EPISODES):
        table, ended, first = episodes.reset(), False, True
        while not ended:
            seen = torch.from_numpy(table)
            done = teacher(seen, first).clamp(-1.0, 1.0)
            tables.append(seen)
            actions.append(done)
            table, _, ended = episodes.step(done.numpy())
            first = False
    seen, wanted = torch.cat(tables), torch.cat(actions)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pupil = Actor(width, layers)
        order = torch.Generator().manual_seed(seed)
        optimiser = torch.optim.Adam(pupil.parameters(), lr=2e-3)
        for _ in range(lessons):
            some = torch.randint(len(seen), (BATCH,), generator=order)
            here = seen[some, :, PRESENT]
            error = ((pupil(seen[some]) - wanted[some]) * here).square().sum() / here.sum()
            optimiser.zero_grad()
            error.backward()
            optimiser.step()
    return pupil.eval()
