"""Each row of the table of endings, as a worker and the other attempt of a hedge see it."""

import pytest

from router.domain.outcome import BILLED
from router.scheduling.attempts import endings
from router.scheduling.attempts.endings import ANSWERED, BUSY, Ending
from router.scheduling.decisions import Cancel, Eject, Hedge
from router.scheduling.fleet.worker import Attempt
from router.scheduling.scheduler import Scheduler
from tests.unit.router.scheduling.fleets import endpoint, place, scheduler

ALL = {name: row for name, row in vars(endings).items() if isinstance(row, Ending)}


@pytest.mark.parametrize("name", ALL)
def test_however_an_attempt_ends_its_place_is_free_at_once(name: str) -> None:
    made = scheduler(endpoint("a", slots=1))
    attempt = place(made, "t", "a")
    made.ended(attempt, ALL[name], 0.1)
    assert not made.fleet.workers["a"].inflight
    assert made.ended(attempt, ALL[name], 0.2) == [], "and it ends once"


@pytest.mark.parametrize("name", ALL)
def test_only_an_answer_says_how_fast_a_worker_is(name: str) -> None:
    made = scheduler(endpoint("a", service_ms=100))
    before = made.fleet.endpoints["a"].estimate.samples
    made.ended(place(made, "t", "a"), ALL[name], 0.3)
    known = made.fleet.endpoints["a"].estimate
    assert known.samples - before == (name == "ANSWERED")
    if name == "OUTRUN":
        assert known.seconds == pytest.approx(0.3), "it takes at least this long"


@pytest.mark.parametrize("name", ALL)
def test_a_worker_is_ejected_for_its_own_failures_only(name: str) -> None:
    made = scheduler(endpoint("a", slots=2))
    first, second = place(made, "1", "a"), place(made, "2", "a")
    decisions = made.ended(first, ALL[name], 0.4) + made.ended(second, ALL[name], 0.4)
    is_ejected = any(isinstance(decision, Eject) for decision in decisions)
    assert is_ejected == (name in {"FAILED", "TRUNCATED", "OUTRUN"})
    assert made.fleet.workers["a"].ejection.is_doubted == (name == "ANSWERED_WRONGLY")


@pytest.mark.parametrize("name", ALL)
def test_the_attempt_beside_it_goes_on_only_where_it_is_still_wanted(name: str) -> None:
    made, first, second = hedged()
    decisions = made.ended(second, ALL[name], 0.5)
    is_stopped = Cancel(first) in decisions
    assert is_stopped == (name in {"ANSWERED", "REFUSED", "GIVEN_UP"})
    assert bool(made.fleet.workers["slow"].inflight) is not is_stopped


def test_a_late_attempt_that_is_outrun_in_silence_is_a_failure_of_its_worker() -> None:
    made, _, second = hedged()
    made.ended(second, ANSWERED, 0.5)
    assert made.fleet.workers["slow"].ejection.consecutive_failures == 1


def test_a_second_attempt_that_loses_says_nothing_against_its_worker() -> None:
    made, first, _ = hedged()
    made.ended(first, ANSWERED, 0.5)
    assert made.fleet.workers["fast"].ejection.consecutive_failures == 0


def test_a_busy_worker_is_left_alone_for_as_long_as_it_asks() -> None:
    made = scheduler(endpoint("a"))
    made.ended(place(made, "t", "a"), BUSY, 0.1, rest_s=5.0)
    made.look(5.0)
    assert not made.fleet.workers["a"].has_room
    made.look(5.2)
    assert made.fleet.workers["a"].has_room


def test_another_worker_is_tried_only_while_the_client_has_got_nothing() -> None:
    assert {name for name, row in ALL.items() if row.is_retried} == {
        "FAILED",
        "ANSWERED_WRONGLY",
        "BUSY",
    }


def test_nothing_is_billed_that_a_worker_may_be_asked_for_again() -> None:
    assert not {row.outcome for row in ALL.values() if row.is_retried} & BILLED


def hedged() -> tuple[Scheduler, Attempt, Attempt]:
    """A late attempt on ``slow``, and the second one on ``fast``."""
    made = scheduler(endpoint("slow", service_ms=100), endpoint("fast", service_ms=100))
    first = place(made, "t", "slow", "fast")
    hedges = [decision for decision in made.tick(0.4) if isinstance(decision, Hedge)]
    assert first.endpoint.id == "slow"
    return made, first, hedges[0].attempt
