"""Probes: for workers that nothing is heard of, and for those that were ejected."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from router.domain.catalog import OWN
from router.scheduling.attempts.endings import ALIVE, ANSWERED, FAILED, Ending
from router.scheduling.attempts.sending import PROBE_TIMEOUT_S
from router.scheduling.decisions import Cancel, Dispatch, Eject, Probe
from router.scheduling.fleet.ejection import PAUSE_MAX_S, PAUSE_S
from router.scheduling.fleet.probing import (
    INTERVAL_MAX_S,
    INTERVAL_S,
    STRAGGLER_INTERVAL_MAX_S,
    ProbeClock,
)
from router.scheduling.scheduler import Scheduler
from tests.examples import examples
from tests.unit.router.scheduling.fleets import (
    dispatched,
    endpoint,
    place,
    probes,
    scheduler,
    ticket,
)


def ejected() -> Scheduler:
    made = scheduler(endpoint("bad", slots=4, service_ms=10), endpoint("good", service_ms=500))
    for name in "ab":
        made.ended(place(made, name, "bad", "good"), FAILED, 0.0)
    return made


def test_an_ejected_worker_gets_a_probe_when_its_pause_is_over_and_nothing_else() -> None:
    made = ejected()
    assert probes(made.tick(0.5 * PAUSE_S)) == []
    (probe,) = probes(made.tick(1.1 * PAUSE_S))
    assert probe.endpoint.worker.id == "bad"
    assert dispatched(made.arrive(ticket("c", "bad", "good"), 1.2 * PAUSE_S)) == ["good"]
    assert probes(made.tick(2 * PAUSE_S)) == [], "one at a time"


def test_a_good_probe_lets_the_worker_back_in_step_by_step() -> None:
    made = ejected()
    (probe,) = probes(made.tick(1.1))
    made.ended(probe, ANSWERED, 1.11)
    first = place(made, "c", "bad", "good", now_s=1.2)
    assert first.endpoint.worker.id == "bad"
    assert made.arrive(ticket("d", "bad"), 1.2) == [], "one at first"
    (second,) = made.ended(first, ANSWERED, 1.21)
    assert isinstance(second, Dispatch)
    third = place(made, "e", "bad", now_s=1.22)
    assert made.arrive(ticket("f", "bad"), 1.22) == [], "then two"
    assert len(dispatched(made.ended(third, ANSWERED, 1.23))) == 1
    assert made.fleet.workers["bad"].limit == 3


def test_a_worker_that_is_let_back_in_gets_more_as_soon_as_answers_begin() -> None:
    """An answer may take long: what has begun shows that prompts are computed."""
    made = ejected()
    (probe,) = probes(made.tick(1.1))
    made.ended(probe, ANSWERED, 1.11)
    first = place(made, "c", "bad", now_s=1.2)
    assert made.arrive(ticket("d", "bad"), 1.2) == [], "one at first"
    (second,) = made.first_byte(first, 1.21)
    assert isinstance(second, Dispatch)
    assert made.fleet.workers["bad"].limit == 2


def test_what_was_under_way_when_a_worker_failed_does_not_keep_it_away() -> None:
    made = scheduler(endpoint("bad", slots=9, service_ms=10), endpoint("good", service_ms=500))
    caught = [place(made, f"t{number}", "bad") for number in range(9)]
    for attempt in caught:
        made.ended(attempt, FAILED, 0.5)
    made.arrive(ticket("c", "good"), 0.5)
    assert len(probes(made.tick(0.5 + 1.1 * PAUSE_S))) == 1


def test_pauses_are_a_share_of_the_outage_while_probes_fail() -> None:
    made = ejected()
    pauses = []
    for now_s in (1.0, 8.0, 80.0, 800.0):
        made.arrive(ticket(f"t{now_s}", "good"), now_s)
        (probe,) = probes(made.tick(now_s))
        (eject,) = [d for d in made.ended(probe, FAILED, now_s) if isinstance(d, Eject)]
        pauses.append(eject.until_s - now_s)
    assert pauses == pytest.approx([PAUSE_S, 1.0, 10.0, PAUSE_MAX_S])


@settings(max_examples=examples(20))
@given(st.floats(0, 1))
def test_a_worker_that_was_gone_for_two_seconds_is_soon_back(gone_s: float) -> None:
    made = scheduler(endpoint("bad", slots=4, service_ms=10), endpoint("good", slots=4))
    back_s = gone_s + 2.0
    ejects = []
    for number in range(round(100 * (back_s + 0.5))):
        now_s = number / 100
        decisions = made.arrive(ticket(str(number), "bad", "good", now_s=now_s), now_s)
        for decision in decisions + made.tick(now_s):
            if isinstance(decision, Dispatch | Probe):
                is_gone = decision.attempt.endpoint.id == "bad" and gone_s <= now_s < back_s
                ending = FAILED if is_gone else ANSWERED
                ended = made.ended(decision.attempt, ending, now_s + 0.005)
                ejects += [d for d in ended if isinstance(d, Eject)]
    assert ejects
    assert not made.fleet.workers["bad"].ejection.is_ejected


def test_a_probe_that_hangs_is_stopped_and_counts_as_a_failure() -> None:
    made = ejected()
    (probe,) = probes(made.tick(1.1))
    decisions = made.tick(1.1 + PROBE_TIMEOUT_S)
    assert decisions[0] == Cancel(probe)
    assert [d.worker_id for d in decisions if isinstance(d, Eject)] == ["bad"]


def test_a_slow_worker_is_not_ejected_for_its_slow_probe() -> None:
    made = scheduler(endpoint("slow", service_ms=5_000))
    made.ended(place(made, "t", "slow"), ANSWERED, 5.0)
    (probe,) = probes(made.tick(6.1))
    assert made.tick(6.1 + 5.0) == []
    assert Cancel(probe) in made.tick(6.1 + 3.1 * 5.0), "but it may hang"


def test_an_engine_is_expected_to_answer_a_probe_soon_however_long_its_answers_are() -> None:
    made = scheduler(endpoint("engine", slots=2, service_ms=20_000))
    for name in "ab":
        chat = place(made, name, "engine", streams=True, prompt_tokens=50.0, answer_tokens=900.0)
        made.ended(chat, FAILED, 0.0)
    (probe,) = probes(made.tick(1.1))
    assert Cancel(probe) in made.tick(1.1 + PROBE_TIMEOUT_S)


@pytest.mark.parametrize("ending", [ANSWERED, ALIVE])
def test_an_idle_worker_is_probed_less_and_less_often_while_the_news_is_old(
    ending: Ending,
) -> None:
    made = scheduler(endpoint("busy", slots=9, service_ms=10), endpoint("idle", service_ms=900))
    made.ended(place(made, "x", "idle"), ANSWERED, 0.9)
    now_s, at = 1.0, []
    while now_s < 20:
        made.ended(place(made, f"t{now_s}", "busy", now_s=now_s), ANSWERED, now_s + 0.01)
        for decision in made.tick(now_s + 0.02):
            if isinstance(decision, Probe) and decision.attempt.endpoint.id == "idle":
                at.append(now_s)
                made.ended(decision.attempt, ending, now_s + 0.1)
        now_s += 0.1
    gaps = [later - earlier for earlier, later in pairwise(at)]
    assert gaps == pytest.approx([2, 4, 8], abs=0.4)


def test_an_organisations_own_endpoint_is_not_probed_because_it_is_idle() -> None:
    mine = endpoint("idle", service_ms=900)
    mine = structs.replace(mine, deployment=structs.replace(mine.deployment, provider=OWN))
    made = scheduler(endpoint("busy", slots=9, service_ms=10), mine)
    made.ended(place(made, "x", "idle"), ANSWERED, 0.9)
    for second in range(1, 20):
        made.ended(place(made, f"t{second}", "busy", now_s=second), ANSWERED, second + 0.01)
        assert probes(made.tick(second + 0.02)) == []


def test_a_probe_tells_that_a_slow_worker_has_recovered() -> None:
    made = scheduler(
        endpoint("a", slots=9, service_ms=0, deployment=1),
        endpoint("b", service_ms=0, deployment=1),
    )
    now_s = 0.0

    def probe_b(took_s: float) -> None:
        nonlocal now_s
        for _ in range(40):
            now_s += 0.5
            made.ended(place(made, f"t{now_s}", "a", now_s=now_s), ANSWERED, now_s + 0.1)
            for decision in made.tick(now_s + 0.2):
                if isinstance(decision, Probe):
                    is_b = decision.attempt.endpoint.id == "b"
                    made.ended(decision.attempt, ANSWERED, now_s + 0.2 + (took_s if is_b else 0.01))

    made.ended(place(made, "x", "b"), ANSWERED, 0.1)
    probe_b(0.01)
    for n in range(30):
        now_s += 2.0
        made.ended(place(made, f"slow{n}", "b", now_s=now_s), ANSWERED, now_s + 1.0)
    slow = made.fleet.endpoints["b"].estimate.seconds
    assert slow > 0.5
    probe_b(0.01)
    assert made.fleet.endpoints["b"].estimate.seconds < slow / 2


@pytest.mark.parametrize(("ending", "took_s"), [(ANSWERED, 0.06), (ALIVE, 0.001)])
def test_a_tiny_probe_does_not_make_a_worker_look_fast(ending: Ending, took_s: float) -> None:
    made = scheduler(endpoint("busy", slots=9, service_ms=10), endpoint("idle", service_ms=3_000))
    made.ended(place(made, "x", "idle"), ANSWERED, 3.0)
    probed = 0
    for second in range(4, 40):
        made.ended(place(made, f"t{second}", "busy", now_s=second), ANSWERED, second + 0.01)
        for probe in probes(made.tick(second + 0.02)):
            is_idle = probe.endpoint.id == "idle"
            probed += is_idle
            ended_s = second + 0.02 + (took_s if is_idle else 0.01)
            made.ended(probe, ending if is_idle else ANSWERED, ended_s)
    assert probed > 3
    assert made.fleet.endpoints["idle"].estimate.seconds == pytest.approx(3.0, rel=0.1)


def test_nobody_is_probed_while_nobody_calls() -> None:
    made = ejected()
    assert probes(made.tick(11.0)) == []
    assert made.next_tick_s(11.0) is None


def test_a_worker_that_nobody_ever_used_is_not_probed() -> None:
    made = scheduler(endpoint("used", slots=9), endpoint("unused"))
    for number in range(30):
        made.ended(place(made, str(number), "used", now_s=float(number)), ANSWERED, number + 0.1)
        assert not [p for p in probes(made.tick(number + 0.2)) if p.endpoint.id == "unused"]


def test_a_worker_that_runs_something_is_not_probed() -> None:
    made = scheduler(endpoint("a", slots=2, service_ms=60_000))
    made.ended(place(made, "t", "a"), ANSWERED, 1.0)
    place(made, "long", "a", now_s=1.0)
    assert probes(made.tick(9.0)) == []


def test_news_from_a_client_makes_a_probe_unnecessary_for_a_while() -> None:
    made = scheduler(endpoint("a"))
    made.ended(place(made, "t", "a"), ANSWERED, 0.1)
    assert probes(made.tick(1.05)) == []
    made.ended(place(made, "u", "a", now_s=1.05), ANSWERED, 1.15)
    assert probes(made.tick(2.0)) == []
    assert len(probes(made.tick(2.2))) == 1


def test_a_probe_that_surprises_is_followed_soon_by_another() -> None:
    clock = ProbeClock()
    for number in range(4):
        clock.probed(float(number), 1.0)
    assert clock.due_s() == 3.0 + 16 * INTERVAL_S
    clock.probed(10.0, 3.0)
    assert clock.due_s() == 10.0 + INTERVAL_S
    clock.probed(11.0, 1.0)
    clock.probed(12.0, 0.5)
    assert clock.due_s() == 12.0 + INTERVAL_S


def test_intervals_do_not_grow_without_bound() -> None:
    clock = ProbeClock()
    for _ in range(100):
        clock.probed(0.0, 1.0)
    assert clock.due_s() == INTERVAL_MAX_S


def test_a_worker_that_is_slower_than_its_like_is_asked_every_few_seconds() -> None:
    """Others are asked ever more rarely. This one is missed, and nobody calls it."""
    like = [endpoint(name, service_ms=100, deployment=7) for name in ("slow", "b", "c")]
    made = scheduler(*like)
    now_s = 0.0
    for number in range(60):
        for name, took_s in (("slow", 0.4), ("b", 0.1), ("c", 0.1)):
            attempt = place(made, f"{name}{number}", name, now_s=now_s)
            now_s += took_s
            made.ended(attempt, ANSWERED, now_s)
    asked = {name: list[float]() for name in ("slow", "b", "c")}
    for step in range(1_200):
        at_s = now_s + step / 10
        if not step % 50:
            # Traffic goes on elsewhere: without any, nobody is asked.
            made.arrive(ticket(f"t{step}", "elsewhere"), at_s)
        for probe in probes(made.tick(at_s)):
            asked[probe.endpoint.worker.id].append(at_s)
            made.ended(
                probe, ANSWERED, at_s + (0.04 if probe.endpoint.worker.id == "slow" else 0.01)
            )
    last = {name: times[-1] - times[-2] for name, times in asked.items()}
    assert last["slow"] == pytest.approx(STRAGGLER_INTERVAL_MAX_S, abs=0.2)
    assert last["b"] > 4 * STRAGGLER_INTERVAL_MAX_S


def test_what_waits_does_not_go_to_a_worker_whose_probe_has_just_failed() -> None:
    made = scheduler(endpoint("fast", service_ms=100), endpoint("slow", service_ms=500))
    made.ended(place(made, "known", "slow"), ANSWERED, 0.5)
    made.ended(place(made, "failed", "slow", now_s=0.5), FAILED, 0.6)
    for name in ("long", "behind"):
        place(made, name, "fast", now_s=1.7)
    (probe,) = probes(made.tick(1.75))
    assert probe.endpoint.worker.id == "slow"
    assert made.arrive(ticket("waits", "fast", "slow", now_s=1.76), 1.76) == []
    decisions = made.tick(1.75 + PROBE_TIMEOUT_S)
    assert made.fleet.workers["slow"].ejection.is_ejected
    assert dispatched(decisions) == []


def test_a_client_that_is_served_by_an_ejected_worker_lets_it_back_in() -> None:
    made = scheduler(endpoint("only", slots=4))
    running = [place(made, name, "only") for name in "abc"]
    for attempt in running[:2]:
        made.ended(attempt, FAILED, 0.0)
    assert made.fleet.workers["only"].ejection.is_ejected
    made.ended(running[2], ANSWERED, 0.1)
    assert not made.fleet.workers["only"].ejection.is_ejected
    assert made.fleet.workers["only"].limit == 1


def test_a_probe_that_fails_late_is_told_once() -> None:
    made = ejected()
    (probe,) = probes(made.tick(1.1))
    made.tick(1.1 + PROBE_TIMEOUT_S)
    failures = made.fleet.workers["bad"].ejection.consecutive_failures
    assert made.ended(probe, FAILED, 4.0) == []
    assert made.fleet.workers["bad"].ejection.consecutive_failures == failures
