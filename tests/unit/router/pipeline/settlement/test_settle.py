"""What a call that is priced by the second holds, and what it is charged for."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.outcome import Outcome
from router.domain.pricing import Price, Usage
from router.domain.request import Kind
from router.metering.lease import Hold
from router.pipeline.plans.plan import Plan, make_plan
from router.pipeline.plans.routing_table import Grant, build_table
from router.pipeline.settlement.settle import Settlement, settle
from router.pipeline.settlement.trace import Abandoned, Trace
from tests.unit.router.ingress.reading import parse_call
from tests.unit.router.pipeline.line import NOTHING_LEARNED, USED, snapshot

SECOND_NANO = 2_000_000
HARDWARE_MAX_S = 60.0


def planned(price: Price, deadline_ms: int = 0) -> Plan:
    """A call of a model whose every deployment has this price."""
    catalog = snapshot()
    deployments = tuple(
        msgspec.structs.replace(deployment, price=price) for deployment in catalog.deployments
    )
    body = {
        "model": "a/m",
        "messages": [{"role": "u"}],
        "max_tokens": 8,
        "provider": {"deadline_ms": deadline_ms},
    }
    request = parse_call(
        Kind.CHAT,
        json.dumps(body).encode(),
        request_id="0193-test",
        explain=False,
        arrived_s=0.0,
        created_at_ms=0,
    )
    table = build_table(msgspec.structs.replace(catalog, deployments=deployments))
    return make_plan(
        table, Grant(1, 7), request, holding=NOTHING_LEARNED, hardware_max_s=HARDWARE_MAX_S
    )


def settled(plan: Plan, took_s: float, used: Usage = USED) -> Settlement:
    trace = Trace(plan.request)
    trace.endpoint = plan.endpoints[0]
    trace.placed_s = 100.0
    trace.usage = used
    hold = Hold("", 7, plan.hold_nano)
    return settle(plan, hold, trace, Outcome.COMPLETED, trace.placed_s + took_s)


def test_the_workers_time_is_charged_in_whole_milliseconds() -> None:
    done = settled(planned(Price(1, second_nano=SECOND_NANO)), took_s=1.2345)
    assert done.usage.hardware_ms == 1_234
    assert done.charge_nano == 2_468_000


TOKENS = Price(1, prompt_nano_per_million=10**9, completion_nano_per_million=2 * 10**9)


def left(plan: Plan, after_s: float, *, is_guess: bool = False) -> Settlement:
    """A client that left before it heard anything of an answer of 4 tokens in 2 s."""
    trace = Trace(plan.request)
    trace.endpoint = plan.endpoints[0]
    trace.placed_s = 100.0
    trace.abandoned = Abandoned(expected_s=2.0, answer_tokens=4.0, is_guess=is_guess)
    hold = Hold("", 7, plan.hold_nano)
    return settle(plan, hold, trace, Outcome.CLIENT_GONE, trace.placed_s + after_s)


@pytest.mark.parametrize(
    ("after_s", "prompt", "answer"),
    [(0.0, 0, 0), (1.0, 1, 2), (2.0, 3, 4), (3.0, 3, 6), (60.0, 3, 8)],
)
def test_leaving_a_plain_call_costs_by_the_time_that_its_worker_had(
    after_s: float, prompt: int, answer: int
) -> None:
    gone = left(planned(TOKENS), after_s)
    assert gone.usage == Usage(prompt_tokens=prompt, completion_tokens=answer)
    assert gone.charge_nano == prompt * 1_000 + answer * 2_000


def test_of_a_time_that_nobody_measured_no_more_than_the_expected_answer_follows() -> None:
    assert left(planned(TOKENS), 60.0, is_guess=True).usage.completion_tokens == 4


def test_leaving_costs_the_seconds_that_a_worker_was_taken_for() -> None:
    gone = left(planned(Price(1, second_nano=SECOND_NANO)), 0.25)
    assert (gone.usage.hardware_ms, gone.charge_nano) == (250, SECOND_NANO // 4)


@given(st.floats(0, 10_000), st.booleans())
def test_leaving_never_costs_more_than_was_held(after_s: float, is_guess: bool) -> None:
    plan = planned(msgspec.structs.replace(TOKENS, second_nano=SECOND_NANO, request_nano=5))
    assert 0 <= left(plan, after_s, is_guess=is_guess).charge_nano <= plan.hold_nano


@pytest.mark.parametrize(("deadline_ms", "longest_ms"), [(0, 60_000), (900, 900), (90_000, 60_000)])
def test_no_longer_time_than_was_held_for_is_charged(deadline_ms: int, longest_ms: int) -> None:
    plan = planned(Price(1, second_nano=SECOND_NANO), deadline_ms)
    assert plan.hold_nano == longest_ms * SECOND_NANO // 1_000
    done = settled(plan, took_s=3_600.0)
    assert (done.usage.hardware_ms, done.charge_nano) == (longest_ms, plan.hold_nano)


def test_a_price_without_seconds_holds_for_none() -> None:
    done = settled(planned(Price(1, request_nano=7)), took_s=5.0)
    assert (done.usage.hardware_ms, done.charge_nano) == (0, 7)


@given(
    st.builds(Price, st.just(1), *[st.integers(0, 10**10)] * 4, st.integers(0, 10**9)),
    st.integers(1, 10**10),
    st.floats(0, 1_000),
    st.integers(0, 200_000),
)
def test_a_charge_stays_within_the_hold(
    price: Price, second_nano: int, took_s: float, deadline_ms: int
) -> None:
    plan = planned(msgspec.structs.replace(price, second_nano=second_nano), deadline_ms)
    unbounded = Hold("", 7, 10**30)
    trace = Trace(plan.request)
    trace.endpoint, trace.placed_s, trace.usage = plan.endpoints[0], 100.0, USED
    done = settle(plan, unbounded, trace, Outcome.COMPLETED, trace.placed_s + took_s)
    assert done.charge_nano <= plan.hold_nano
