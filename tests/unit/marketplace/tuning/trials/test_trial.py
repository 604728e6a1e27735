"""The state machine of a trial: its level with peeking, and every way that it ends."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.tuning.trials.sequential import (
    log_evidence_fewer,
    log_evidence_more,
    mean_bounds,
    rate_bounds,
)
from marketplace.tuning.trials.trial import (
    BUDGET_SHARE_MAX,
    LEVEL,
    MARGIN_BUDGET,
    Action,
    Aim,
    Arm,
    Decision,
    Evidence,
    Reason,
    Rules,
    decide,
)

RULES = Rules(share=0.1, samples_min=200, error_budget=0.01, budget_calls=1e9)
LOOKS = 60
CALLS_A_LOOK = 40


class Stream:
    """Calls of both arms whose latency follows the load of the hour, and is the same for both."""

    def __init__(self, seed: int, share: float, slower: float = 0.0, slo_log: float = 2.0) -> None:
        self._rng = np.random.default_rng(seed)
        self._share, self._slower, self._slo_log = share, slower, slo_log
        self._load = 0.0
        self._logs: tuple[list[float], list[float]] = ([], [])
        self._sums = np.zeros((2, 4))

    def step(self, calls: int) -> Evidence:
        """Some more calls; the evidence by then."""
        self._load = 0.95 * self._load + 0.3 * self._rng.standard_normal()
        mine = self._rng.random(calls) < self._share
        logs = self._load + self._rng.standard_normal(calls) + self._slower * mine
        for arm, chosen in enumerate((~mine, mine)):
            of_arm = logs[chosen]
            self._sums[arm] += (
                len(of_arm),
                (of_arm > self._slo_log).sum(),
                of_arm.sum(),
                (of_arm**2).sum(),
            )
        return Evidence(*(self._arm(sums) for sums in self._sums), elapsed_s=0.0)

    @staticmethod
    def _arm(sums: np.ndarray) -> Arm:
        n, misses, total, squares = map(float, sums)
        mean = total / n if n else 0.0
        var = (squares - n * mean**2) / (n - 1) if n > 1 else 0.0
        return Arm(int(n), int(misses), int(n), mean, var)


def ended(stream: Stream, rules: Rules, looks: int = LOOKS) -> Decision:
    for _ in range(looks):
        decision = decide(rules, stream.step(CALLS_A_LOOK))
        if decision.action is not Action.GO_ON:
            return decision
    return decision


@pytest.mark.parametrize("trials", [50, pytest.param(1_000, marks=pytest.mark.nightly)])
def test_a_proposal_that_changes_nothing_is_rarely_called_worse_or_better(trials: int) -> None:
    """The level holds over all looks together, under a load that moves both arms."""
    wrong = 0
    for seed in range(trials):
        decision = ended(Stream(seed, RULES.share), RULES)
        wrong += decision.reason in (Reason.MISSES, Reason.SLOWER, Reason.BETTER)
    # Its own noise above the level would be 2.3 standard deviations of this count.
    assert wrong <= trials * LEVEL


def test_a_slower_proposal_is_rolled_back_and_a_faster_one_promoted() -> None:
    """The same machinery has the power to see what matters."""
    rules = replace(RULES, share=0.3, error_budget=0.5)
    slower = [ended(Stream(seed, 0.3, slower=0.7), rules).action for seed in range(50)]
    assert slower.count(Action.ROLL_BACK) >= 49
    faster = [ended(Stream(seed, 0.3, slower=-0.7), rules).action for seed in range(50)]
    assert faster.count(Action.PROMOTE) >= 45
    assert Action.PROMOTE not in slower
    assert Action.ROLL_BACK not in faster


counts = st.integers(0, 2_000)
shares = st.floats(0.01, 0.5)


@given(counts, counts, shares)
def test_evidence_is_for_one_side_at_most(canary: int, control: int, share: float) -> None:
    more = log_evidence_more(canary, control, share)
    fewer = log_evidence_fewer(canary, control, share)
    assert math.isfinite(more)
    assert math.isfinite(fewer)
    assert not (more > math.log(20) and fewer > math.log(20))


@given(st.integers(0, 30), st.integers(0, 30), shares)
def test_evidence_is_a_martingale_under_the_null(canary: int, control: int, share: float) -> None:
    """Its mean over the next miss, drawn by the share, is what it is now."""
    now = math.exp(log_evidence_more(canary, control, share))
    after = share * math.exp(log_evidence_more(canary + 1, control, share))
    after += (1 - share) * math.exp(log_evidence_more(canary, control + 1, share))
    assert after == pytest.approx(now, rel=1e-6, abs=1e-9)


@given(counts, st.integers(1, 2_000), st.floats(0.001, 0.2))
def test_bounds_of_a_rate_hold_it(misses: int, calls: int, level: float) -> None:
    misses = min(misses, calls)
    low, high = rate_bounds(misses, calls, level)
    assert 0 <= low <= misses / calls + 1e-9
    assert misses / calls - 1e-9 <= high <= 1


@given(st.floats(-2, 2), st.floats(1e-6, 1.0), st.floats(0.001, 0.2))
def test_bounds_of_a_mean_are_wider_than_those_looked_at_once(
    difference: float, variance: float, level: float
) -> None:
    low, high = mean_bounds(difference, variance, level)
    once = 1.96 * math.sqrt(variance) if level <= 0.05 else 0.0
    assert low <= difference - once
    assert high >= difference + once


arms = st.builds(
    lambda calls, share, mean, var: Arm(calls, int(calls * share), calls, mean, var),
    st.integers(0, 100_000),
    st.floats(0, 1),
    st.floats(-5, 10),
    st.floats(0, 4),
)
evidences = st.builds(Evidence, arms, arms, st.floats(0, 7_200))


@given(evidences, st.sampled_from(list(Aim)))
def test_every_decision_has_its_reason(evidence: Evidence, aim: Aim) -> None:
    rules = replace(RULES, aim=aim, budget_calls=1_000.0)
    decision = decide(rules, evidence)
    reading = decision.reading
    if decision.action is Action.PROMOTE:
        assert evidence.canary.answered >= rules.samples_min
        assert reading.ratio_high <= 1.05
        assert reading.misses_more <= MARGIN_BUDGET * rules.error_budget
        assert reading.budget_spent < BUDGET_SHARE_MAX or not evidence.canary.misses
    elif decision.action is Action.GO_ON:
        assert evidence.elapsed_s < rules.time_max_s
        assert decision.reason in (Reason.FEW, Reason.OPEN)
    assert decide(rules, evidence) == decision


@given(evidences)
def test_no_trial_outlives_its_time(evidence: Evidence) -> None:
    late = replace(evidence, elapsed_s=RULES.time_max_s)
    assert decide(RULES, late).action is not Action.GO_ON


def test_each_ending() -> None:
    control = Arm(calls=9_000, misses=9, answered=9_000, log_mean=5.0, log_var=1.0)
    good = Arm(calls=3_000, misses=1, answered=3_000, log_mean=4.5, log_var=1.0)
    ends = {
        Reason.BETTER: good,
        Reason.MISSES: replace(good, misses=40),
        Reason.SLOWER: replace(good, log_mean=5.5),
        Reason.OPEN: replace(good, log_mean=5.0),
        Reason.FEW: replace(good, calls=100, answered=100, misses=0),
    }
    for reason, canary in ends.items():
        assert decide(RULES, Evidence(control, canary, 10.0)).reason is reason
    poor = replace(RULES, budget_calls=400.0)
    spent = decide(poor, Evidence(control, replace(ends[Reason.OPEN], misses=6), 10.0))
    assert spent.reason is Reason.BUDGET
    # The same misses are what the policy in force has too: nothing is spent by them.
    alike = replace(control, misses=18)
    assert decide(poor, Evidence(alike, replace(good, misses=6), 10.0)).reason is not Reason.BUDGET


def measured(ratio: float) -> Arm:
    """So many calls that their geometric mean is known to a fraction of a percent."""
    return Arm(10**6, 0, 10**6, 5.0 + math.log(ratio), 0.25)


@pytest.mark.parametrize("aim", list(Aim))
@pytest.mark.parametrize("ratio", [1.01, 1.1, 1.4, 3.0])
def test_slower_for_sure_is_rolled_back_however_little_it_is(ratio: float, aim: Aim) -> None:
    rules = replace(RULES, aim=aim)
    decision = decide(rules, Evidence(measured(1.0), measured(ratio), 10.0))
    assert (decision.action, decision.reason) == (Action.ROLL_BACK, Reason.SLOWER)
    assert 1 < decision.reading.ratio_low <= ratio <= decision.reading.ratio_high


@pytest.mark.parametrize(
    ("aim", "ratio", "answered", "action"),
    [
        (Aim.LATENCY, 0.99, 10**6, Action.PROMOTE),
        (Aim.LATENCY, 1.0, 10**6, Action.GO_ON),
        (Aim.NOT_WORSE, 1.0, 10**6, Action.PROMOTE),
        # Three percent slower by the look of it; it may be seven, which is more than is allowed.
        (Aim.NOT_WORSE, 1.03, 4_000, Action.GO_ON),
        (Aim.NOT_WORSE, 1.0, 400, Action.GO_ON),
    ],
)
def test_a_promotion_has_shown_what_it_aims_at(
    aim: Aim, ratio: float, answered: int, action: Action
) -> None:
    arms = [replace(measured(r), calls=answered, answered=answered) for r in (1.0, ratio)]
    rules = replace(RULES, aim=aim, error_budget=0.5)
    assert decide(rules, Evidence(*arms, 10.0)).action is action


@pytest.mark.parametrize("misses", [0, 1, 9_999_999, 10_000_000])
def test_the_bounds_of_a_rate_hold_at_its_ends(misses: int) -> None:
    low, high = rate_bounds(misses, 10_000_000, 0.025)
    assert 0.0 <= low <= misses / 10_000_000 <= high <= 1.0
