"""What a replay says, whether it is believed, and what may begin by it."""

import numpy as np
import pytest

from marketplace.planning.whatif.answer import calibration_of
from marketplace.planning.whatif.replay.runs import Run, side_of
from marketplace.routing.trials.aim import Aim
from marketplace.tuning.proofs.proof import Figure, Proof, Says, Trust, may_begin, says_of


def figure(name: str, now: float, then: float, low: float, high: float) -> Figure:
    return Figure(name, now, now, then, low, high)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (figure("mean_ms", 100.0, 90.0, -12.0, -8.0), Says.BETTER),
        (figure("mean_ms", 100.0, 110.0, 8.0, 12.0), Says.WORSE),
        (figure("p99_ms", 100.0, 110.0, -1.0, 20.0), Says.UNCLEAR),
        (figure("p99_ms", 100.0, 101.0, 0.5, 1.5), Says.UNCLEAR),
        (figure("good", 0.90, 0.95, 0.04, 0.06), Says.BETTER),
        (figure("good", 0.95, 0.90, -0.06, -0.04), Says.WORSE),
        (figure("good", 0.950, 0.953, 0.002, 0.004), Says.UNCLEAR),
    ],
)
def test_a_figure_says_what_is_sure_and_worth_it(found: Figure, says: Says) -> None:
    assert found.says is says


def test_what_one_figure_loses_the_others_do_not_make_up_for() -> None:
    gains = figure("mean_ms", 100.0, 90.0, -12.0, -8.0)
    loses = figure("p99_ms", 100.0, 130.0, 20.0, 40.0)
    nothing = figure("good", 0.9, 0.9, 0.0, 0.0)
    assert says_of((gains, nothing)) is Says.BETTER
    assert says_of((gains, nothing, loses)) is Says.WORSE
    assert says_of((nothing,)) is Says.UNCLEAR


@pytest.mark.parametrize(
    ("trust", "says", "aim", "begins"),
    [
        (Trust.TRUSTED, Says.BETTER, Aim.NOT_WORSE, True),
        (Trust.TRUSTED, Says.UNCLEAR, Aim.LATENCY, True),
        (Trust.TRUSTED, Says.WORSE, Aim.LATENCY, False),
        (Trust.UNTRUSTED, Says.BETTER, Aim.LATENCY, False),
        (Trust.UNTRUSTED, Says.WORSE, Aim.LATENCY, False),
        (Trust.UNTRUSTED, Says.UNCLEAR, Aim.LATENCY, True),
        (Trust.UNTRUSTED, Says.UNCLEAR, Aim.NOT_WORSE, False),
        (Trust.UNKNOWN, Says.UNCLEAR, Aim.LATENCY, False),
    ],
)
def test_what_may_begin_with_nobody_asked(trust: Trust, says: Says, aim: Aim, begins: bool) -> None:
    assert may_begin(Proof(trust, says, 500, 500, 200, "2026-11-30"), aim) is begins


def run(pools: list[str], latency_s: float = 0.1) -> Run:
    count = len(pools)
    return Run(
        np.arange(count, dtype=float),
        np.full(count, latency_s),
        np.zeros(count),
        np.zeros(count),
        np.array(pools),
    )


def test_a_replay_that_sends_calls_elsewhere_is_not_trusted_however_fast_they_are() -> None:
    really = side_of(run(["fast", "slow"] * 100), 500.0)
    alike = calibration_of(really, side_of(run(["slow", "fast"] * 100), 500.0))
    assert alike.trusted
    assert alike.shares == pytest.approx(0.0, abs=0.01)
    elsewhere = calibration_of(really, side_of(run(["fast"] * 200), 500.0))
    assert (elsewhere.mean, elsewhere.p99, elsewhere.good) == (0.0, 0.0, 0.0)
    assert elsewhere.shares == pytest.approx(0.5)
    assert not elsewhere.trusted


def test_a_replay_that_is_slower_than_what_happened_is_not_trusted() -> None:
    pools = ["fast"] * 200
    found = calibration_of(side_of(run(pools), 500.0), side_of(run(pools, 0.2), 500.0))
    assert found.mean == pytest.approx(1.0)
    assert not found.trusted
