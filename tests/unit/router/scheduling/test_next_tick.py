"""When the scheduler wants to be woken."""

from router.scheduling.attempts.endings import ANSWERED, FAILED
from router.scheduling.attempts.prober import SWEEP_S
from router.scheduling.attempts.sending import PROBE_TIMEOUT_S
from router.scheduling.decisions import Cancel, Hedge
from router.scheduling.fleet.probing import TRAFFIC_S
from router.scheduling.scheduler import TICK_S, Scheduler
from tests.unit.router.scheduling.fleets import endpoint, place, probes, scheduler, ticket


def due(made: Scheduler, now_s: float) -> float:
    due_s = made.next_tick_s(now_s)
    assert due_s is not None
    assert due_s >= now_s
    return due_s


def test_no_tick_is_due_before_the_first_call() -> None:
    assert scheduler(endpoint("a")).next_tick_s(5.0) is None


def test_ticks_for_probes_are_due_while_there_is_traffic() -> None:
    made = scheduler(endpoint("a", service_ms=60_000))
    made.ended(place(made, "t", "a"), ANSWERED, 0.0)
    made.tick(0.0)
    assert due(made, 0.0) == SWEEP_S
    assert made.next_tick_s(TRAFFIC_S) is None


def test_a_tick_is_due_soon_while_tickets_wait() -> None:
    made = scheduler(endpoint("a"))
    for name in "xyz":
        made.arrive(ticket(name, "a"), 0.0)
    made.tick(0.0)
    assert due(made, 0.0) == TICK_S


def test_ticks_at_the_due_times_find_a_late_attempt() -> None:
    made = scheduler(
        endpoint("late", slots=2, service_ms=100), endpoint("free", slots=2, service_ms=120)
    )
    place(made, "t", "late", "free")
    now_s, hedges, ticks = 0.0, list[Hedge](), 0
    while not hedges:
        now_s = due(made, now_s)
        hedges = [d for d in made.tick(now_s) if isinstance(d, Hedge)]
        ticks += 1
        assert ticks < 20, "it is woken for nothing"
    assert 0.3 <= now_s < 0.31


def test_a_hanging_probe_is_stopped_even_when_traffic_ends() -> None:
    made = scheduler(endpoint("bad"))
    for name in "ab":
        made.ended(place(made, name, "bad"), FAILED, 0.0)
    (probe,) = probes(made.tick(TRAFFIC_S - 0.1))
    now_s = TRAFFIC_S
    assert due(made, now_s) == TRAFFIC_S - 0.1 + PROBE_TIMEOUT_S
    assert Cancel(probe) in made.tick(due(made, now_s))
    assert made.next_tick_s(now_s + PROBE_TIMEOUT_S) is None


def test_no_tick_is_due_for_an_attempt_that_has_ended() -> None:
    made = scheduler(endpoint("a", service_ms=100))
    made.ended(place(made, "t", "a"), ANSWERED, 0.1)
    made.tick(TRAFFIC_S)
    assert made.next_tick_s(TRAFFIC_S) is None
