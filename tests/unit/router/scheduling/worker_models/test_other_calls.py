"""What generates nothing, on a worker that is an engine: embeddings beside a chat model."""

import pytest
from msgspec import structs

from router.scheduling.attempts.endings import ANSWERED
from router.scheduling.decisions import Dispatch, Reject
from router.scheduling.scheduler import Scheduler
from tests.unit.router.scheduling.fleets import endpoint, place, scheduler, ticket

TOOK_S = 0.004


@pytest.fixture
def made() -> Scheduler:
    """A worker that was seen to be an engine, and how long embeddings take there."""
    made = scheduler(structs.replace(endpoint("a", service_ms=0), task="embeddings"))
    made.fleet.endpoints["a"].become_engine()
    for n in range(20):
        made.ended(place(made, str(n), "a", now_s=float(n)), ANSWERED, n + TOOK_S)
    return made


def test_a_decision_tells_the_time_that_it_was_made_by(made: Scheduler) -> None:
    (decision,) = made.arrive(ticket("t", "a"), 30.0)
    assert isinstance(decision, Dispatch)
    (considered,) = decision.considered
    assert considered.score == pytest.approx(TOOK_S, rel=0.1)
    assert considered.service_s == pytest.approx(considered.score)


def test_a_deadline_that_can_be_kept_is_no_reason_to_refuse(made: Scheduler) -> None:
    worker = made.fleet.workers["a"]
    at_s, n = 30.0, 0
    while worker.has_room:
        place(made, f"running {n}", "a", now_s=at_s)
        made.look(at_s)
        n += 1
    deadline_s = at_s + 5 * TOOK_S
    decisions = made.arrive(ticket("t", "a", now_s=at_s, deadline_s=deadline_s), at_s)
    assert not any(isinstance(decision, Reject) for decision in decisions)
