"""Which answers are learned from."""

from random import Random

import pytest

from router.scheduling.attempts.endings import ANSWERED, OUTRUN
from router.scheduling.fleet.worker import LESSON_SPACING_S, LESSONS_MIN
from router.scheduling.scheduler import Scheduler
from tests.unit.router.scheduling.fleets import endpoint, place, scheduler

SERVICE_S = 0.1


def known(made: Scheduler) -> tuple[int, float]:
    """Samples and seconds."""
    estimate = made.fleet.endpoints["a"].estimate
    return estimate.samples, estimate.seconds


@pytest.fixture
def made() -> Scheduler:
    """A worker whose first answers came all at once."""
    made = scheduler(endpoint("a", slots=1_000, service_ms=SERVICE_S * 1e3))
    for attempt in [place(made, str(n), "a") for n in range(LESSONS_MIN)]:
        made.ended(attempt, ANSWERED, SERVICE_S)
    return made


def test_the_first_answers_all_teach(made: Scheduler) -> None:
    assert known(made) == (LESSONS_MIN, pytest.approx(SERVICE_S))


def test_of_calls_that_begin_in_one_moment_the_first_teaches_and_not_the_quickest(
    made: Scheduler,
) -> None:
    slow = place(made, "slow", "a", now_s=1.0)
    quick = [place(made, f"quick {n}", "a", now_s=1.0 + n * 1e-4) for n in range(50)]
    for attempt in quick:
        made.ended(attempt, ANSWERED, 1.006)
    assert known(made)[0] == LESSONS_MIN
    made.ended(slow, ANSWERED, 1.0 + SERVICE_S)
    assert known(made) == (LESSONS_MIN + 1, pytest.approx(SERVICE_S))


def test_calls_that_begin_apart_all_teach(made: Scheduler) -> None:
    for n in range(20):
        now_s = 1.0 + n * 1.01 * LESSON_SPACING_S
        made.ended(place(made, f"later {n}", "a", now_s=now_s), ANSWERED, now_s + SERVICE_S)
    assert known(made)[0] == LESSONS_MIN + 20


def test_calls_that_are_outrun_teach_no_more_often_than_others(made: Scheduler) -> None:
    """One call in twenty would have taken four times as long."""
    draw = Random(1)
    for n in range(3_000):
        now_s = 1.0 + n * 1e-3
        attempt = place(made, f"later {n}", "a", now_s=now_s)
        if draw.random() < 0.05:
            made.ended(attempt, OUTRUN, now_s + 3 * SERVICE_S)
        else:
            made.ended(attempt, ANSWERED, now_s + SERVICE_S)
    mean_s = (0.95 + 0.05 * 4) * SERVICE_S
    assert known(made)[1] < 1.3 * mean_s
