"""Decides whether a trial goes on, is promoted or is rolled back. Pure."""

import math
from dataclasses import dataclass
from enum import StrEnum

from marketplace.routing.trials.aim import Aim
from marketplace.tuning.trials.sequential import (
    log_evidence_fewer,
    log_evidence_more,
    mean_bounds,
    rate_bounds,
)

LEVEL = 0.05
"""Chance that a proposal without any effect is ever called worse, or better."""
MISSES_LEVEL = LATENCY_LEVEL = LEVEL / 2
MARGIN_LOG = math.log(1.05)
"""Not worse: at most 5 % slower by the geometric mean, ..."""
MARGIN_BUDGET = 0.5
"""... and missing at most half of the error budget more often."""
BUDGET_SHARE_MAX = 0.005
"""Excess misses over the policy in force that end a trial, as a share of the day's budget."""
TRIAL_MAX_S = 3600.0
LOOK_SAMPLES_MIN = 50
"""Answers of each arm before latencies are compared: the test holds for large counts."""


class Action(StrEnum):
    GO_ON = "go_on"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"


class Reason(StrEnum):
    """The reason for a decision."""

    FEW = "few"
    OPEN = "open"
    BETTER = "better"
    MISSES = "misses"
    SLOWER = "slower"
    BUDGET = "budget"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Arm:
    """The calls of one arm; mean and variance are of the log of answered calls' ms."""

    calls: int = 0
    misses: int = 0
    answered: int = 0
    log_mean: float = 0.0
    log_var: float = 0.0

    @property
    def miss_rate(self) -> float:
        return self.misses / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a trial on ``share`` of a route's calls.

    ``error_budget`` is the share of calls that may miss; ``budget_calls`` that number a day.
    """

    share: float
    samples_min: int
    error_budget: float
    budget_calls: float
    aim: Aim = Aim.LATENCY
    time_max_s: float = TRIAL_MAX_S


@dataclass(frozen=True, slots=True)
class Evidence:
    control: Arm
    canary: Arm
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Reading:
    """The evidence as figures. Ratios are of geometric mean latencies, canary to control.

    ``misses_more`` bounds the canary's excess miss rate; ``log_more`` and ``log_fewer`` are log
    evidence (:mod:`~marketplace.tuning.trials.sequential`); ``excess`` counts its extra misses.
    """

    ratio: float
    ratio_low: float
    ratio_high: float
    misses_more: float
    log_more: float
    log_fewer: float
    excess: float
    budget_spent: float


@dataclass(frozen=True, slots=True)
class Decision:
    action: Action
    reason: Reason
    reading: Reading


def read(rules: Rules, evidence: Evidence) -> Reading:
    """Compute the reading of the evidence so far."""
    control, canary = evidence.control, evidence.canary
    low, high = -math.inf, math.inf
    difference = canary.log_mean - control.log_mean
    if min(control.answered, canary.answered) >= LOOK_SAMPLES_MIN:
        variance = control.log_var / control.answered + canary.log_var / canary.answered
        low, high = mean_bounds(difference, variance, LATENCY_LEVEL)
    _, most = rate_bounds(canary.misses, canary.calls, LEVEL / 2)
    least, _ = rate_bounds(control.misses, control.calls, LEVEL / 2)
    excess = canary.misses - canary.calls * control.miss_rate
    return Reading(
        ratio=math.exp(difference),
        ratio_low=math.exp(low),
        ratio_high=math.exp(high) if high < math.inf else math.inf,
        misses_more=most - least,
        log_more=log_evidence_more(canary.misses, control.misses, rules.share),
        log_fewer=log_evidence_fewer(canary.misses, control.misses, rules.share),
        excess=excess,
        budget_spent=max(excess, 0.0) / rules.budget_calls,
    )


def decide(rules: Rules, evidence: Evidence) -> Decision:
    """Decide by the evidence; may be called at any time and any number of times."""
    reading = read(rules, evidence)
    # Two tests, more misses and fewer misses, share the level.
    bar = math.log(2 / MISSES_LEVEL)
    if reading.log_more >= bar:
        return Decision(Action.ROLL_BACK, Reason.MISSES, reading)
    if reading.ratio_low > 1:
        return Decision(Action.ROLL_BACK, Reason.SLOWER, reading)
    if evidence.canary.misses and reading.budget_spent >= BUDGET_SHARE_MAX:
        return Decision(Action.ROLL_BACK, Reason.BUDGET, reading)
    enough = min(evidence.control.answered, evidence.canary.answered) >= rules.samples_min
    if enough and _is_harmless(rules, reading) and _is_better(rules.aim, reading, bar):
        return Decision(Action.PROMOTE, Reason.BETTER, reading)
    if evidence.elapsed_s >= rules.time_max_s:
        return Decision(Action.ROLL_BACK, Reason.TIME, reading)
    return Decision(Action.GO_ON, Reason.OPEN if enough else Reason.FEW, reading)


def _is_harmless(rules: Rules, reading: Reading) -> bool:
    slower = math.log(reading.ratio_high) > MARGIN_LOG
    fewer_allowed = MARGIN_BUDGET * rules.error_budget
    return not slower and reading.misses_more <= fewer_allowed


def _is_better(aim: Aim, reading: Reading, bar: float) -> bool:
    if aim is Aim.LATENCY:
        return reading.ratio_high < 1
    if aim is Aim.MISSES:
        return reading.log_fewer >= bar
    return True
