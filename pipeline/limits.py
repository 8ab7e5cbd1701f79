"""What counts as too much: every threshold of the nightly analyses, in one frozen place.

A module's own profile counts before the fallback. Mid 50 mV is the makers' value; the top's and the bottom's are
ours (makers: 100-200 mV). On a flat curve voltages at its ends stop telling charge apart: one cell 1 % ahead at its
charger's limit shows 180 mV over the others on the plateau, and so does one 8 % ahead. What counts is beyond that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

BandName = Literal["top", "mid", "bottom"]
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Band:
    """Spread (95th percentile of the day, mV) at which a band is uneven or severe, and the fault it then is."""

    uneven_mv: int
    severe_mv: int
    fault: str
    severe_fault: str


@dataclass(frozen=True, slots=True)
class Lockouts:
    """When a protection that comes back is a repeat lockout. Times in ms."""

    chatter_ms: int = MINUTE  # a flag that is gone for less is the same episode
    at_once_ms: int = 10 * MINUTE  # back so soon after its release: the cause was still there
    at_once: int = 2
    in_24_h: int = 3
    in_7_days: int = 5
    session_ms: int = 30 * MINUTE  # protections less far apart are one lockout session
    before_ms: int = 10 * MINUTE  # evidence is looked for so long before a session's start ...
    after_ms: int = 2 * MINUTE  # ... and after it
    silent_ms: tuple[int, int] = (30_000, 10 * MINUTE)  # silence of a battery that a person switches off and on
    reset_ms: int = 3 * MINUTE  # what it takes: of slower polls it can hide no more than one
    same_soc_pm: int = 10  # its state of charge is still the same afterwards
    repeat_ms: int = 7 * DAY  # the same cause again within it is a recurrence
    after_reset_ms: int = DAY  # again so soon after a reset: the cause was not removed
    neighbour_ms: int = 5 * MINUTE  # sessions of one site so close together have one reason


@dataclass(frozen=True, slots=True)
class Roots:
    """Evidence that tells a lockout's root cause from its trigger (one chemistry). mV a cell, mA, 0.1 degC, hours."""

    healthy_mv: int = 3450  # mean cell of a module whose one cell runs away is below it
    overcharged_mv: int = 3550  # mean cell when the charger's voltage is too high
    spread_mv: int = 100
    step_rate: float = 0.2  # current step (share of the capacity) of a charger that does not follow the limit
    pushes_rate: float = 0.06  # charge current at the trip of a charger that does not follow the BMS
    charged_mv: int = 3050  # mean cell of a module whose one cell is empty is above it
    empty_mv: int = 2950  # mean cell when all are empty
    shown_pm: int = 100  # a state of charge shown at an empty module: it has drifted
    idle_ma: int = 1_000
    idle_h: float = 12.0
    cold_dc: int = 20
    heating_dc: int = 150  # above the module's coolest of the day
    heating_rate: float = 0.4
    sensor_dc: int = 100
    sensor_dc_min: int = 50
    surge: float = 1.3  # times the limit
    share: float = 1.3  # times the even share of a stack's current ...
    heavy_rate: float = 0.4  # ... while the module's own is beyond this share of its capacity
    rate: float = 1.0  # current limit (share of the capacity) of a module that states none
    prior: float = 0.7  # what a fully met row of the table weighs ...
    nothing: float = 0.15  # ... against "only the flag"
    sure: float = 0.5


@dataclass(frozen=True, slots=True)
class Risk:
    """How likely the next lockout is, from those that were. Days."""

    forgets: float = 30.0  # half-life of a session's weight
    history: int = 365
    soon: float = 30.0
    fresh: int = 30  # a recurrence or a danger counts for so long
    high: float = 80.0  # score at which a person is told
    weights: tuple[float, float, float, float, float] = (1.0, 0.9, 0.5, 0.7, 1.0)
    cluster_units: int = 5
    cluster_ratio: float = 2.0
    cluster_q: float = 0.05
    burst_p: float = 1e-4
    near_days: int = 14  # how often a module came near a limit within so many days ...
    near_often: int = 5  # ... sets it apart from the others: never, now and then, often
    near_mv: tuple[int, int] = (60, 200)  # below the highest and above the lowest cell voltage allowed
    near_dc: int = 20
    near_rate: float = 0.9


@dataclass(frozen=True, slots=True)
class Doubts:
    """When a day's readings are not to be trusted, beyond what the day's sums tell."""

    bin_ms: int = 5 * MINUTE
    frozen: int = 20  # readings with the very same cells ...
    frozen_rate: float = 0.02  # ... at more than this share of the capacity as current
    stuck_moves_dc: int = 30
    apart_dc: int = 100
    rise_dc_min: int = 50
    zero_ma: int = 50
    zero_rest: int = 6  # bins without current before a moving voltage is strange
    zero_mv: int = 100  # pack voltage range of a bin: 20 mV a minute ...
    zero_cell_mv: float = 5.0  # ... or the mean cell's: 1 mV a minute, however many cells there are
    rate: float = 2.0
    full_mv: int = 3450  # mean cell of a charging module that is full once its current has come down ...
    full_rate: float = 0.06  # ... to this share of the capacity ...
    empty_mv: int = 3000  # ... of one that is empty, and the most charge that it still has under a small current
    empty_pm: int = 40
    nearly_mv: int = 3050
    nearly_pm: int = 70
    soc_off_pm: int = 125  # 10 % and what the cells' word may be off itself
    counted_off_pm: int = 80  # within one day, in which a sound BMS counts as we do ...
    set_pm: float = 25.0  # ... but for moments at which it sets itself right: two numbers in percent are 10 apart


@dataclass(frozen=True, slots=True)
class Cohorts:
    """When a module is unlike others of its kind: robust z from `from_z` on counts, fully at `from_z + over_z`."""

    least: int = 8
    from_z: float = 2.5
    over_z: float = 4.0
    days: int = 30
    age_days: tuple[int, ...] = (365, 3 * 365, 6 * 365)
    told: int = 3


@dataclass(frozen=True, slots=True)
class Storage:
    """Modules that stand unused: when do they reach their low limit? SOC 0.1 %, temperatures 0.1 degC."""

    days: int = 14
    moved: float = 0.02  # share of the capacity a day that may pass and it still stands
    soc_pm: tuple[int, int] = (400, 700)
    temp_dc: tuple[int, int] = (0, 300)
    low_pm: int = 100
    soon_days: float = 30.0


@dataclass(frozen=True, slots=True)
class Mismatch:
    """When a cell is out of step with its neighbours over a month. Shares are of nominal unless said otherwise."""

    days: int = 30
    most: float = 0.6  # of the cells that must pass a mark before those that did not are missed
    events: int = 5  # fillings, or emptyings, before they mean anything
    rests: int = 2
    rest_soc: float = 0.3  # of the median cell, at most: higher up a smaller cell looks like the others
    drift_hours: float = 7 * 24.0
    pair_hours: float = 48.0
    jump_rate: float = 0.01  # of the quiet readings
    noise_times: float = 5.0  # the rate of the module's quieter cells
    quiet: int = 200  # readings before a rate means anything
    neighbour: float = 0.5  # of a jumping cell's rate that its neighbour has where the lead between them is loose
    steps: int = 50
    resists: float = 1.25  # times the median cell
    deficit: float = 0.03
    first_empty: float = 0.4  # of the emptyings
    alone: float = 0.7  # of the emptyings that one cell ends before most others are off the plateau
    alone_seldom: float = 0.5  # so many of them at most, or the pairs of charge are a chosen few
    paired: float = 0.3  # of the emptyings that follow a filling, or a deficit by charge is one of other days
    ahead: float = 0.2  # of the readings near full that a cell which holds less leads
    unfilled: float = 0.5  # of the fillings, beyond the median cell
    lagging_empty: float = 0.3
    lag: float = 0.02
    drift_ma: float = 5.0
    leak_ma: float = 7.0  # that is no drift towards where a balancer holds the cell
    top_lag: float = 0.005
    top_far: float = 0.0075  # what a balancer leaves undone for good is a drift; sound cells come to be within 0.2 %
    even_deficit: float = 0.02
    even_resists: float = 1.15
    balance_mv: int = 20  # spread at the top that a balancer works on
    balance_ma: float = 70.0  # bled off a cell by a balancer that does not say
    shuttle_ma: float = 900.0  # moved into a cell by a balancer that moves charge and does not say
    shuttle_yield: float = 0.9  # of what such a balancer takes from a cell, the rest is heat ...
    yield_error: float = 0.1  # ... give or take; under load it moves much to and fro, and the cell pays for the way
    shuttled: float = 0.25  # of a module's balancing that goes into low cells where its balancer moves charge
    behind: float = 0.9  # of the readings near full in which one cell is the farthest, and below
    week: int = 7  # days in which a few charges still even out what was put together
    settled: int = 14  # days until a balancer has undone what it found
    topped_up_ma: float = 10.0  # that such a balancer moves into one cell more than into the others
    cut_off: float = 0.6  # of the charge ends
    short_a_day: float = 0.005  # charge a day that a cell loses inside before a short is thought of
    short_k: float = 3.0  # and so much warmer than the others, K


@dataclass(frozen=True, slots=True)
class Stack:
    """When modules in parallel do not pull together over a month. Rates and shares are of nominal."""

    days: int = 30
    bin_ms: int = 5 * MINUTE  # neighbours are read one after the other: they are compared by such pieces
    step_rate: float = 0.05  # change of the stack's current that tells how it is shared
    rest_rate: float = 0.01  # below it the stack is at rest
    steps: int = 30
    share: float = 0.80  # of the best module's, below which a module's connection is poor
    capacity: float = 0.85  # of the best module, below which it is weak
    other_model: float = 1.15  # ratio of nominal charges that makes a mixed stack
    nominal_error: float = 0.03  # of such a ratio, for some BMS give what they have learnt as nominal
    apart: tuple[float, float] = (0.10, 0.20)  # charge that modules are apart: warning, alarm
    apart_days: int = 3
    leads: float = 0.7  # of the ends of charge, or discharge, that the same module decides ...
    left: float = 0.05  # ... while it and the others are so much charge apart
    ends: int = 10  # of all modules one leads a few; ten of ten are more than 70 % with 95 % confidence
    circulates: float = 0.02  # current between modules while the stack rests
    rests: int = 36  # pieces at rest
    missing_ms: int = 6 * HOUR
    hazard_pm: float = 100.0  # state of charge by which a module that comes back may differ


@dataclass(frozen=True, slots=True)
class Limits:
    """One chemistry's thresholds. Voltages mV a cell, currents mA, times ms, temperatures 0.1 degC, SOC 0.1 %."""

    top_mv: int = 3370
    bottom_mv: int = 3200
    knee_mv: int = 3050  # with all cells below it, those of a sound module fall so fast that they are far apart
    plateau_mv: tuple[int, int] = (3250, 3335)
    cell_mv: tuple[int, int] = (1500, 4000)
    full_mv: int = 3350  # a module that says 100 % while charging has at least this ...
    charging_rate: float = 0.02  # ... at more than this share of the capacity: zero is not 0, and full ones rest lower
    top_soc_pm: int = 900
    bottom_soc_pm: int = 150
    mid_soc_pm: tuple[int, int] = (300, 800)
    mid_c_rate: float = 0.3
    mid_mv: tuple[int, int] = (3200, 3345)  # mean cell there; above it a counter that says 80 % has drifted
    full_mah: int = 100_000  # of a module that does not say
    bands: dict[BandName, Band] = field(
        default_factory=lambda: {
            "top": Band(250, 300, "top_of_charge_drift", "cell_imbalance_warning"),
            "mid": Band(50, 100, "cell_imbalance_warning", "cell_imbalance_warning"),
            "bottom": Band(300, 400, "cell_capacity_mismatch", "cell_group_failing"),
        }
    )
    enough: int = 20  # readings in a band before its spread means anything
    apart_mv: int = 20  # below it, which cell is highest or lowest is noise
    coarse_mv: int = 10  # steps of a device whose cells are multiples of it all day ...
    coarse_floor_mv: int = 30  # ... and below so much its spread is noise (Bluetti's first generation)
    same_cell: float = 0.6  # share of a band's uneven readings that one cell must lead to be named
    period_ms: int = 10_000  # of a module with a single reading
    late: float = 2.0  # a time step counts for at most so many periods
    step_ma: int = 5_000  # a current step that tells a resistance
    step_c_rate: float = 0.05  # and, of a large module, so much of its capacity
    drift_ma: int = 2_000  # change of the low-passed current that tells a slow resistance
    rest_ma: int = 300  # below it a sensor of 0.1 A shows its own error, and perhaps what an inverter needs
    step_late: float = 1.5  # periods that a step may take
    quiet_ma: int = 3_000  # a current change that cannot move a cell by jump_mv
    jump_mv: int = 25
    complete: float = 0.95
    gap_ms: int = 30 * MINUTE
    stuck_soc: float = 0.05  # share of the capacity that must pass while SOC stands still
    soc_jump_pm: int = 50
    soc_jump_ms: int = 5 * MINUTE
    sum_off: float = 0.005  # share by which the cells' sum may miss the module's voltage
    temp_dc: tuple[int, int] = (-300, 850)
    ahead_ms: int = 5 * MINUTE  # a reading may lie so far in its server's future
    skew_ms: int = MINUTE  # a clock that no server keeps, steadily off by more, is wrong
    filled_mv: int = 5  # above the lowest; balancers that only bleed leave the lowest 10 mV alone
    lockouts: Lockouts = field(default_factory=Lockouts)
    roots: Roots = field(default_factory=Roots)
    risk: Risk = field(default_factory=Risk)
    doubts: Doubts = field(default_factory=Doubts)
    cohorts: Cohorts = field(default_factory=Cohorts)
    storage: Storage = field(default_factory=Storage)
    mismatch: Mismatch = field(default_factory=Mismatch)
    stack: Stack = field(default_factory=Stack)


LFP = Limits()
PROFILES: dict[str, Limits] = {
    "lfp": LFP,
    # Sloped curves: voltage says more about SOC, so the spread is the same everywhere.
    "nmc": Limits(
        top_mv=4100, bottom_mv=3500, knee_mv=3300, full_mv=4050,
        plateau_mv=(3600, 3900), mid_mv=(3500, 4100), cell_mv=(1500, 4350),
        roots=Roots(healthy_mv=4120, overcharged_mv=4200, charged_mv=3350, empty_mv=3200),
        doubts=Doubts(full_mv=4180, empty_mv=3150, nearly_mv=3300),
        mismatch=Mismatch(top_lag=0.015, top_far=0.02),  # 10 mV, within which balancers rest, are 1 % up there
    ),
    "lto": Limits(
        top_mv=2600, bottom_mv=2150, knee_mv=2000, full_mv=2550,
        plateau_mv=(2250, 2450), mid_mv=(2150, 2500), cell_mv=(1000, 3000),
        roots=Roots(healthy_mv=2650, overcharged_mv=2750, charged_mv=2050, empty_mv=1900),
        doubts=Doubts(full_mv=2700, empty_mv=1900, nearly_mv=1950),
    ),
}  # fmt: skip
"""Limits by chemistry; what has no profile of its own is taken for LFP."""


def limits_for(chemistry: str) -> Limits:
    """The profile of a chemistry, else the fallback."""
    return PROFILES.get(chemistry, LFP)
