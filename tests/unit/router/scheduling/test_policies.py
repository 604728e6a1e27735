"""The baselines do what their names say, so that a comparison with them is fair."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from router.domain.catalog import Policy
from router.scheduling.attempts.endings import ANSWERED, FAILED, GIVEN_UP
from router.scheduling.policies import POLICIES
from router.scheduling.policies.baseline import two_of
from router.scheduling.scheduler import Scheduler
from tests.unit.router.scheduling.fleets import dispatched, endpoint, place, scheduler, ticket

BASELINES = sorted(set(POLICIES) - {"late_binding"})


def went(made: Scheduler, policy: str, count: int, *names: str) -> list[str]:
    return [
        dispatched(made.arrive(ticket(f"{policy}{n}", *names, policy=policy), 0.0))[0]
        for n in range(count)
    ]


@pytest.mark.parametrize("policy", BASELINES)
def test_a_baseline_sends_at_once_and_leaves_the_waiting_to_the_worker(policy: str) -> None:
    made = scheduler(endpoint("a"), endpoint("b", service_ms=200), endpoint("c"))
    assert len(went(made, policy, 30, "a", "b", "c")) == 30
    assert made.waiting == 0


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_places_and_learns(policy: str) -> None:
    made = scheduler(endpoint("a", slots=4), endpoint("b", slots=4))
    for number in range(20):
        attempt = place(made, str(number), "a", "b", now_s=float(number), policy=policy)
        made.ended(attempt, ANSWERED, number + 0.1)
    assert (
        made.fleet.endpoints["a"].estimate.samples + (made.fleet.endpoints["b"].estimate.samples)
        == 20
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_no_policy_sends_to_a_worker_without_leased_slots_while_another_has_some(
    policy: str,
) -> None:
    made = scheduler(endpoint("a", slots=9, service_ms=1), endpoint("b", slots=9))
    made.lease({"a": 0, "b": 9}, 0.0)
    assert went(made, policy, 9, "a", "b") == ["b"] * 9


@pytest.mark.parametrize("policy", BASELINES)
def test_a_baseline_sends_at_once_even_where_no_slot_is_leased(policy: str) -> None:
    made = scheduler(endpoint("a"), endpoint("b"))
    made.lease({"a": 0, "b": 0}, 0.0)
    attempts = [place(made, str(n), "a", "b", policy=policy) for n in range(4)]
    for attempt in attempts:
        made.ended(attempt, ANSWERED, 0.1)
    assert not any(worker.inflight for worker in made.fleet.workers.values())


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_can_serve_a_single_endpoint(policy: str) -> None:
    assert went(scheduler(endpoint("a")), policy, 1, "a") == ["a"]


def test_a_name_that_is_not_known_gets_the_default() -> None:
    made = scheduler(endpoint("a", service_ms=900), endpoint("b", service_ms=9))
    assert went(made, "of-a-later-release", 1, "a", "b") == ["b"]


def test_round_robin_takes_turns_whatever_the_speed() -> None:
    made = scheduler(endpoint("a", service_ms=1), endpoint("b", service_ms=900), endpoint("c"))
    assert went(made, "round_robin", 6, "a", "b", "c") == ["a", "b", "c"] * 2


def test_weighted_takes_turns_by_capacity() -> None:
    made = scheduler(endpoint("a", service_ms=100), endpoint("b", service_ms=300))
    assert Counter(went(made, "weighted", 40, "a", "b")) == {"a": 30, "b": 10}


def test_least_outstanding_evens_out_what_is_in_flight() -> None:
    made = scheduler(endpoint("a", service_ms=1), endpoint("b", service_ms=900))
    went(made, "least_outstanding", 6, "a", "b")
    assert {w.id: len(w.inflight) for w in made.fleet.workers.values()} == {"a": 3, "b": 3}


def test_weighted_least_outstanding_evens_out_by_capacity() -> None:
    made = scheduler(endpoint("a", service_ms=100), endpoint("b", service_ms=300))
    assert Counter(went(made, "weighted_least_outstanding", 12, "a", "b")) == {"a": 9, "b": 3}


def test_power_of_two_never_takes_the_worst_of_all() -> None:
    made = scheduler(*(endpoint(name) for name in "abc"))
    for _ in range(30):
        place(made, f"x{_}", "c", policy="least_outstanding")
    assert "c" not in went(made, "power_of_two", 20, "a", "b", "c")


def test_peak_ewma_leaves_a_worker_at_its_first_peak() -> None:
    made = scheduler(endpoint("a", slots=9), endpoint("b", slots=9))
    for number, name in enumerate("ab" * 5):
        attempt = place(made, f"w{number}", name, now_s=float(number), policy="peak_ewma")
        made.ended(attempt, ANSWERED, number + 0.1)
    made.ended(place(made, "peak", "a", now_s=10.0, policy="peak_ewma"), ANSWERED, 15.0)
    chosen = {
        place(made, f"t{n}", "a", "b", now_s=15.0, policy="peak_ewma").endpoint.id for n in range(8)
    }
    assert chosen == {"b"}


def test_prequal_takes_the_quickest_of_those_that_are_not_hot() -> None:
    made = scheduler(*(endpoint(name, slots=2) for name in "abcd"))
    for number, name in enumerate("abcd" * 6):
        attempt = place(made, f"w{number}", name, now_s=float(number), policy="prequal")
        made.ended(attempt, ANSWERED, number + (0.1 if name == "b" else 0.4))
    assert went(made, "prequal", 2, "a", "b", "c", "d")[0] == "b"


def test_c3_does_not_flock_to_the_fast_one() -> None:
    made = scheduler(endpoint("fast", service_ms=50), endpoint("slow", service_ms=150))
    chosen = Counter(went(made, "c3", 10, "fast", "slow"))
    assert chosen["fast"] > chosen["slow"] >= 3


def test_least_latency_spreads_over_the_nearly_best_and_shuns_the_others() -> None:
    made = scheduler(*(endpoint(name, slots=9) for name in "abc"))
    for number, name in enumerate("abc" * 10):
        attempt = place(made, f"w{number}", name, now_s=float(number), policy="least_latency")
        made.ended(attempt, ANSWERED, number + {"a": 0.1, "b": 0.12, "c": 0.5}[name])
    assert set(went(made, "least_latency", 30, "a", "b", "c")) == {"a", "b"}


def test_a_policy_is_a_function_of_its_seed() -> None:
    def run(seed: int) -> list[str]:
        made = scheduler(*(endpoint(name) for name in "abcdef"), seed=seed)
        return went(made, "power_of_two", 30, *"abcdef")

    assert run(1) == run(1) != run(2)
    assert POLICIES["power_of_two"](Policy(1, 1, "m"), Random(1).random).queues is False


def test_weighted_counts_slots_as_well_as_speed() -> None:
    made = scheduler(endpoint("a", slots=3), endpoint("b", slots=1))
    assert Counter(went(made, "weighted", 40, "a", "b")) == {"a": 30, "b": 10}


def test_weighted_spreads_turns_smoothly() -> None:
    made = scheduler(endpoint("a", slots=3), endpoint("b", slots=1))
    turns = "".join(went(made, "weighted", 16, "a", "b"))
    assert "aaaa" not in turns
    assert "bb" not in turns


def test_power_of_two_compares_two_and_no_more() -> None:
    draws = iter([0.0, 0.0] * 10)
    made = Scheduler(queue_max=1, random=lambda: next(draws))
    made.apply([endpoint(name) for name in "abc"], 0.0)
    assert Counter(went(made, "power_of_two", 10, "a", "b", "c")) == {"a": 5, "b": 5}


@given(st.integers(2, 9), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_the_two_that_are_compared_are_never_the_same(count: int, one: float, two: float) -> None:
    draws = iter([one, two])
    first, second = two_of([None] * count, lambda: next(draws))  # type: ignore[list-item]
    assert first != second
    assert {first, second} <= set(range(count))


def test_peak_ewma_forgives_with_time() -> None:
    made = scheduler(endpoint("a", slots=99), endpoint("b", slots=99))
    made.ended(place(made, "peak", "a", policy="peak_ewma"), ANSWERED, 5.0)
    for now_s, chosen in ((5.0, "b"), (50.0, "a")):
        latest = place(made, f"b{now_s}", "b", now_s=now_s, policy="peak_ewma")
        made.ended(latest, ANSWERED, now_s + 0.4)
        attempt = place(made, f"t{now_s}", "a", "b", now_s=now_s + 0.4, policy="peak_ewma")
        assert attempt.endpoint.id == chosen
        made.ended(attempt, GIVEN_UP, now_s + 0.4)


def test_prequal_passes_over_the_hot_while_a_cold_one_is_there() -> None:
    made = scheduler(*(endpoint(name, slots=9) for name in "abcdefgh"))
    for number, name in enumerate("abcdefgh" * 2):
        attempt = place(made, f"w{number}", name, now_s=float(number), policy="prequal")
        made.ended(attempt, ANSWERED, number + (0.1 if name == "h" else 0.4))
    for number in range(7):
        place(made, f"x{number}", "h", now_s=20.0, policy="prequal")
    chosen = {
        place(made, f"t{n}", *"abcdefgh", now_s=20.0, policy="prequal").endpoint.id
        for n in range(6)
    }
    assert "h" not in chosen


def test_c3_leaves_a_worker_whose_answers_were_late() -> None:
    made = scheduler(endpoint("a", slots=9), endpoint("b", slots=9))
    for number, name in enumerate("ab" * 10):
        attempt = place(made, f"w{number}", name, now_s=float(number), policy="c3")
        made.ended(attempt, ANSWERED, number + (0.9 if name == "a" else 0.1))
    assert place(made, "t", "a", "b", now_s=30.0, policy="c3").endpoint.id == "b"


def test_least_latency_is_blind_to_what_is_in_flight() -> None:
    made = scheduler(endpoint("a"), endpoint("b"))
    for number, name in enumerate("ab" * 10):
        attempt = place(made, f"w{number}", name, now_s=float(number), policy="least_latency")
        made.ended(attempt, ANSWERED, number + (0.1 if name == "a" else 0.9))
    assert set(went(made, "least_latency", 30, "a", "b")) == {"a"}


def test_least_latency_only_remembers_the_last_few() -> None:
    made = scheduler(endpoint("a"), endpoint("b"))
    for number, name in enumerate("ab" * 25):
        latency_s = (0.9 if name == "a" else 0.1) if number < 30 else 0.1 if name == "a" else 0.9
        attempt = place(made, f"w{number}", name, now_s=float(number), policy="least_latency")
        made.ended(attempt, ANSWERED, number + latency_s)
    assert set(went(made, "least_latency", 30, "a", "b")) == {"a"}


@pytest.mark.parametrize("policy", BASELINES)
def test_a_baseline_leaves_the_ejected_alone_as_well(policy: str) -> None:
    made = scheduler(*(endpoint(name) for name in "abc"))
    for number in range(2):
        made.ended(place(made, f"f{number}", "b", policy=policy), FAILED, 0.0)
    assert "b" not in went(made, policy, 30, "a", "b", "c")


@pytest.mark.parametrize("policy", ["late_binding", "weighted", "weighted_least_outstanding"])
def test_weights_say_how_much_faster_one_is_than_it_looks(policy: str) -> None:
    def firsts(**weights: float) -> str:
        made = scheduler(endpoint("a"), endpoint("b", service_ms=110.0))
        by_id = {sum(name.encode()): weight for name, weight in weights.items()}
        asked = structs.replace(
            ticket("one", "a", "b"), policy=Policy(1, 1, "m", kind=policy, weights=by_id)
        )
        return dispatched(made.arrive(asked, 0.0))[0]

    assert firsts() == "a"
    assert firsts(b=1.2) == "b"
    assert firsts(a=0.8) == "b"
    assert firsts(a=0.8, b=0.8) == "a"


def test_two_policies_of_one_model_are_in_use_at_once() -> None:
    """Round robin goes on where it was, though another one is on trial between its turns."""
    made = scheduler(endpoint("a", slots=9), endpoint("b", slots=9), endpoint("c", slots=9))
    steady, tried = (Policy(n, n, "m", kind=kind) for n, kind in ((1, "round_robin"), (2, "c3")))
    went_to = []
    for number in range(6):
        for policy in (steady, tried):
            asked = structs.replace(ticket(f"{policy.id}-{number}", "a", "b", "c"), policy=policy)
            (place_,) = dispatched(made.arrive(asked, 0.0))
            if policy is steady:
                went_to.append(place_)
    assert Counter(went_to) == {"a": 2, "b": 2, "c": 2}
