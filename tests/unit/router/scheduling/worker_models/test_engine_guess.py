"""What is expected of engines that nobody has called yet."""

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router.domain.catalog import Endpoint
from router.scheduling.attempts.endings import ANSWERED
from router.scheduling.scheduler import Scheduler
from router.scheduling.ticket import Used
from router.scheduling.worker_models.engine_guess import ALONE_S, guess_of
from router.scheduling.worker_models.engine_speed import FIRST_GUESS, STEP_GUESS
from tests.unit.router.scheduling.fleets import endpoint, place, scheduler

CHAT: Mapping[str, float | bool] = {
    "streams": True,
    "prompt_bytes": 2_000,
    "prompt_tokens": 500.0,
    "answer_tokens": 100.0,
}


def engine(name: str, hardware: str = "", *, service_ms: float = 0.0) -> Endpoint:
    one = endpoint(name, slots=64, service_ms=service_ms)
    return replace(one, pool=replace(one.pool, hardware=hardware))


def expected_s(made: Scheduler, name: str) -> float:
    """Of a generation, once it is known that streams go there."""
    return place(made, f"to {name}", name, **CHAT).run.expected_s


def test_an_unknown_engine_is_expected_to_be_average() -> None:
    assert guess_of(engine("a", "something").deployment, "something") == (FIRST_GUESS, STEP_GUESS)
    assert guess_of(engine("a").deployment, "NVIDIA A100 80GB") == (FIRST_GUESS, STEP_GUESS)


def test_engines_are_told_apart_by_their_hardware_before_any_call() -> None:
    names = ("2 × NVIDIA H100 (emulated)", "A100", "NVIDIA L40S", "CPU, 2 threads")
    made = scheduler(*(engine(name, name) for name in names))
    took = [expected_s(made, name) for name in names]
    assert all(quicker < slower / 1.5 for quicker, slower in pairwise(took))


def test_what_was_benchmarked_says_more_than_the_hardware() -> None:
    made = scheduler(
        engine("quick", "CPU", service_ms=500.0), engine("slow", "H100", service_ms=5_000.0)
    )
    assert expected_s(made, "slow") == pytest.approx(10 * expected_s(made, "quick"), rel=0.01)


def test_the_first_generations_go_to_the_pool_that_was_measured_to_be_quicker() -> None:
    made = scheduler(engine("slow", service_ms=3_000.0), engine("quick", service_ms=1_000.0))
    went = [place(made, str(n), "slow", "quick", **CHAT).endpoint.id for n in range(4)]
    assert went == 4 * ["quick"]


def test_a_step_grows_with_its_batch_as_the_benchmarks_curve_does() -> None:
    deployment = replace(engine("a").deployment, service_prior_ms=1e3 * ALONE_S)
    curved = replace(deployment, batch_curve=((4, 1.3), (16, 2.5)))
    assert guess_of(deployment, "")[1] == pytest.approx(STEP_GUESS)
    assert guess_of(curved, "")[1][1] == pytest.approx(STEP_GUESS[0] * 1.5 / 15)


@given(st.floats(1e-3, 1e9), st.lists(st.tuples(st.integers(1, 99), st.floats(0.01, 99))))
def test_every_weight_is_above_zero_whatever_was_measured(
    service_ms: float, curve: list[tuple[int, float]]
) -> None:
    deployment = replace(
        engine("a").deployment, service_prior_ms=service_ms, batch_curve=tuple(curve)
    )
    first, step = guess_of(deployment, "CPU")
    assert (len(first), len(step)) == (3, 4)
    assert all(weight > 0 for weight in (*first, *step))


def test_a_later_benchmark_counts_as_long_as_no_answer_has_taught_anything() -> None:
    before, after = engine("a", service_ms=1_000.0), engine("a", service_ms=4_000.0)
    made = scheduler(before)
    made.apply([after], 1.0)
    unknown_s = expected_s(made, "a")
    assert unknown_s == pytest.approx(expected_s(scheduler(after), "a"))
    made = scheduler(before)
    attempt = place(made, "first", "a", **CHAT)
    made.first_byte(attempt, 0.1)
    made.ended(attempt, ANSWERED, 1.0, Used(500, 0, 100))
    made.apply([after], 2.0)
    assert expected_s(made, "a") < unknown_s / 2
