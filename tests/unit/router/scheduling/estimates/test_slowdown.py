"""A worker that becomes slow is told from large requests and from a hang."""

import pytest

from router.scheduling.attempts.endings import ANSWERED
from router.scheduling.estimates.slowdown import LONGER, Slowdown
from router.scheduling.scheduler import Scheduler
from tests.unit.router.scheduling.fleets import endpoint, place, scheduler

SERVICE_S = 0.1
SLOW_S = 10 * SERVICE_S


@pytest.fixture
def made() -> Scheduler:
    """A worker whose speed is well known."""
    made = scheduler(endpoint("a", slots=3, service_ms=1e3 * SERVICE_S))
    for number in range(50):
        at_s = float(number)
        made.ended(place(made, f"{number}", "a", now_s=at_s), ANSWERED, at_s + SERVICE_S)
    return made


def seconds(made: Scheduler) -> float:
    return made.fleet.endpoints["a"].estimate.seconds


def test_a_slow_worker_is_known_after_a_few_answers_in_turn(made: Scheduler) -> None:
    assert seconds(made) == pytest.approx(SERVICE_S)
    for number in range(5):
        at_s = 100.0 + number
        made.ended(place(made, f"s{number}", "a", now_s=at_s), ANSWERED, at_s + SLOW_S)
    assert seconds(made) > 0.5 * SLOW_S


def test_what_one_hang_held_up_is_one_long_answer(made: Scheduler) -> None:
    held = [place(made, name, "a", now_s=100.0) for name in "xyz"]
    for attempt in held:
        made.ended(attempt, ANSWERED, 100.0 + SLOW_S)
    assert seconds(made) < 2 * SERVICE_S


def test_a_large_request_now_and_then_is_none(made: Scheduler) -> None:
    for number in range(20):
        at_s, took_s = 100.0 + 2 * number, SLOW_S if number % 5 == 4 else SERVICE_S
        made.ended(place(made, f"s{number}", "a", now_s=at_s), ANSWERED, at_s + took_s)
    assert seconds(made) < 3 * SERVICE_S


def test_it_takes_two_long_ones_of_which_one_began_after_the_other() -> None:
    slowdown = Slowdown()
    assert not slowdown.shows(LONGER, 0.0, 1.0)
    assert not slowdown.shows(LONGER, 0.5, 1.5), "they ran side by side"
    assert slowdown.shows(LONGER, 1.0, 2.0)
    assert slowdown.shows(LONGER, 1.0, 2.0), "once it is slow, each long one counts"
    assert not slowdown.shows(1.0, 2.0, 3.0)
    assert not slowdown.shows(LONGER, 3.0, 4.0)
