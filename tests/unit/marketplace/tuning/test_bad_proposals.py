"""The real scheduler with two arms: what is bad is stopped early, what is good is let through."""

from random import Random

import pytest

from marketplace.tuning.stragglers.slowness import ratios
from router.simulator.slots.machine import Job
from router.simulator.slots.scenarios import capacity_hz, fleet, troubled
from router.simulator.slots.simulation import Setup, Simulation
from router.simulator.trouble import Event, Trouble
from router.simulator.workload import merged, poisson
from tests.bench.canary import PROPOSALS, trial

BAD = ("round robin", "weights inverted", "better of two at random")
BUDGET_SHARE = 0.01


@pytest.mark.parametrize("load", [0.05, pytest.param(0.7, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_proposal_is_rolled_back_before_one_percent_of_the_budget(
    name: str, load: float
) -> None:
    run = trial(name, load=load, seed=3)
    assert run.action == "roll_back"
    assert run.reason in ("misses", "slower", "budget")
    assert run.canary_calls > 0
    assert run.budget_spent < BUDGET_SHARE


@pytest.mark.parametrize("load", [0.05, pytest.param(0.3, marks=pytest.mark.nightly)])
def test_one_that_changes_nothing_is_not_promoted(load: float) -> None:
    unchanged = trial("nothing changed", load=load, minutes_max=3.0)
    assert (unchanged.action, unchanged.reason) == ("roll_back", "time")


def test_a_better_one_is_promoted() -> None:
    better = trial("late binding, over least outstanding")
    assert (better.action, better.reason) == ("promote", "better")
    assert set(BAD) < set(PROPOSALS)


class Watched(Simulation):
    """Writes down which worker took how long over which call, and when that ended."""

    def __init__(self, setup: Setup, seed: int) -> None:
        super().__init__(setup, seed)
        self.services: list[tuple[float, str, float]] = []

    def _done(self, job: Job) -> None:
        attempt = job.attempt
        if not job.over and job.ends_s is not None and not attempt.is_probe:
            service_ms = (self._now_s - attempt.run.started_s) * 1e3
            self.services.append((self._now_s, attempt.endpoint.worker.id, service_ms))
        super()._done(job)


def test_a_worker_that_turns_slow_is_named_within_a_minute_and_has_less_to_do_before() -> None:
    slow_from_s, load = 60.0, 0.5
    machines = troubled(fleet(), "B1", Event(Trouble.SLOW, slow_from_s, 400.0, 4.0))
    watched = Watched(Setup(machines), seed=1)
    rate_hz = load * capacity_hz(machines)
    arrivals = merged([poisson(rate_hz)], Random("arrivals-1"))
    watched.run(arrivals, int(rate_hz * 130))

    def of_class(begin_s: float, end_s: float) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {"B0": [], "B1": [], "B2": []}
        for at_s, worker, service_ms in reversed(watched.services):
            if begin_s <= at_s < end_s and worker in found:
                found[worker].append(service_ms)
        return found

    def share(begin_s: float, end_s: float) -> float:
        by_worker = of_class(begin_s, end_s)
        return len(by_worker["B1"]) / sum(map(len, by_worker.values()))

    looks = [slow_from_s + step for step in range(10, 61, 10)]
    named_s = next(look for look in looks if ratios(of_class(look - 60, look))["B1"].strays)
    assert named_s <= slow_from_s + 60
    assert share(named_s - 10, named_s) < share(0, slow_from_s) / 2
    before = ratios(of_class(0, slow_from_s))
    assert not any(ratio.strays for ratio in before.values())
    others = ratios(of_class(named_s - 60, named_s))
    assert not others["B0"].strays
    assert not others["B2"].strays
