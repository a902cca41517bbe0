"""What the arena plays: services where much, little or nothing goes wrong.

Named as the simulator's families are (policies/simulator/families.py), which draw many cases of
each kind; here each is one case that fits on a machine. Everyone gets 280 requests a second of 80
ms, as in the demo: where nothing is said otherwise that is a load of 70 %.
"""

from __future__ import annotations

from dataclasses import replace

from controlplane.errors import ConfigurationError
from controlplane.lab.backends import Happening
from controlplane.lab.scenarios import (
    ALIKE,
    DEMO,
    FAST_FAIL,
    FLASH_CROWD,
    HOMOGENEOUS,
    Moment,
    Scenario,
    Spells,
    backends,
)

FEW = 4
"""Envoys of a lane: each sees much of the traffic, which is what Envoy's own choices live on."""
SOME, MANY = 16, 50

HARDWARE_2X = Scenario(
    name="hardware-2x",
    title="4 of 8 backends are twice as fast as the others",
    backends=backends(("fast", 4, 4 / 3), ("slow", 4, 2 / 3)),
    envoys=FEW,
)
HARDWARE_4X = Scenario(
    name="hardware-4x",
    title="4 of 8 backends are four times as fast as the others",
    backends=backends(("fast", 4, 1.6), ("slow", 4, 0.4)),
    envoys=FEW,
)
GENERATIONS = Scenario(
    name="generations",
    title="8 backends of three generations, each twice as fast as the one before; 16 Envoys",
    backends=backends(("new", 3, 1.6), ("middle", 3, 0.8), ("old", 2, 0.4)),
    envoys=SOME,
)
SPARSE = Scenario(
    name="sparse",
    title="50 Envoys that each see little of the traffic; 4 of 8 backends are twice as fast",
    backends=backends(("fast", 4, 4 / 3), ("slow", 4, 2 / 3)),
    rate_rps=230.0,  # at 280 a random choice, which is what is left to them, floods the slow ones
    envoys=MANY,
)
NOISY_NEIGHBOUR = Scenario(
    name="noisy-neighbour",
    title="2 of 8 equal backends lose half of their speed, more or less, for seconds at a time",
    backends=ALIKE,
    spells=(
        Spells(
            (2, 5),
            Happening.SLOW,
            apart_s=(3.0, 8.0),
            lasts_s=(4.0, 10.0),
            factor=(1.5, 2.8),
            text="backends 3 and 6 have neighbours",
        ),
    ),
    envoys=FEW,
)
GC_PAUSES = Scenario(
    name="gc-pauses",
    title="each of 8 equal backends stops for 50 to 300 ms every few seconds",
    backends=ALIKE,
    spells=(
        Spells(
            tuple(range(8)),
            Happening.PAUSE,
            apart_s=(0.5, 9.5),
            lasts_s=(0.05, 0.3),
            text="backends pause now and then",
        ),
    ),
    envoys=FEW,
)
DEGRADATION = Scenario(
    name="degradation",
    title="2 of 8 equal backends become 2.5 times slower, little by little",
    backends=ALIKE,
    moments=tuple(
        Moment(
            0.2 + 0.06 * step,
            backend,
            Happening.SLOW,
            1.0 + 0.15 * (step + 1),
            "backends 2 and 7 begin to fade" if step == 0 and backend == 1 else "",
        )
        for step in range(10)
        for backend in (1, 6)
    ),
    envoys=FEW,
)
SCALE_OUT = Scenario(
    name="scale-out",
    title="2 backends are added to 6 under load, and are slow until their caches are warm",
    backends=ALIKE,
    rate_rps=230.0,
    joins=((0.35, 6), (0.35, 7)),
    moments=tuple(
        Moment(
            0.35 + 0.04 * step,
            backend,
            Happening.SLOW,
            3.0 - 0.5 * step,
            "backends 7 and 8 have warm caches" if step == 4 and backend == 6 else "",
        )
        for step in range(5)
        for backend in (6, 7)
    ),
    envoys=FEW,
)
GREY_FAILURE = Scenario(
    name="grey-failure",
    title="one of 8 equal backends turns 4 times slower and fails 5 % of its requests",
    backends=ALIKE,
    moments=(
        Moment(0.35, 3, Happening.SLOW, 4.0, "backend 4 is ill, and looks well"),
        Moment(0.35, 3, Happening.FAIL, 0.05),
    ),
    envoys=FEW,
)
SUITE = {
    one.name: one
    for one in (
        replace(HOMOGENEOUS, envoys=FEW),
        HARDWARE_2X,
        HARDWARE_4X,
        GENERATIONS,
        SPARSE,
        replace(DEMO, name="slow-half-way"),
        NOISY_NEIGHBOUR,
        GC_PAUSES,
        DEGRADATION,
        replace(FLASH_CROWD, envoys=FEW),
        SCALE_OUT,
        GREY_FAILURE,
        replace(FAST_FAIL, envoys=FEW),
    )
}


def of_suite(name: str) -> Scenario:
    """The scenario of this name. Raises `ConfigurationError` that lists what there is."""
    if name not in SUITE:
        raise ConfigurationError(f"no scenario {name!r}; there are: {', '.join(SUITE)}")
    return SUITE[name]
