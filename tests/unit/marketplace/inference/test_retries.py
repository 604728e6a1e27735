"""When a call to the router is sent again, and when its answer is the answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.inference.retries import AGAIN, PAUSE_S_MAX, PAUSE_S_MIN, RENEW_S, Retries


def asked(retries: Retries, status: int, retry_after: str | None = "1") -> float | None:
    return retries.after_answer(status, retry_after, now_s=0.0, jitter=0.0)


def until(until_s: float, *, repeatable: bool = True) -> Retries:
    return Retries(until_s, repeatable)


@pytest.mark.parametrize("status", sorted(AGAIN))
def test_what_the_router_puts_off_is_sent_again_when_it_says(status: int) -> None:
    assert asked(until(60.0), status, "7") == 7.0


@pytest.mark.parametrize("status", sorted(AGAIN))
@pytest.mark.parametrize("retry_after", [None, "", "soon", "-1", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_what_has_no_time_to_come_again_is_final(status: int, retry_after: str | None) -> None:
    assert asked(until(60.0), status, retry_after) is None


@pytest.mark.parametrize("status", [200, 400, 402, 403, 404, 408, 413, 422, 500])
def test_what_another_try_would_not_change_is_final(status: int) -> None:
    assert asked(until(60.0), status) is None


def test_a_token_is_renewed_once() -> None:
    retries = until(60.0)
    assert [asked(retries, 401, None) for _ in range(2)] == [RENEW_S, None]


def test_pauses_grow_where_the_router_asks_for_short_ones() -> None:
    retries = until(1e9)
    pauses = [asked(retries, 503, "0") for _ in range(12)]
    assert pauses[:3] == [PAUSE_S_MIN, 2 * PAUSE_S_MIN, 4 * PAUSE_S_MIN]
    assert pauses[-1] == PAUSE_S_MAX


@pytest.mark.parametrize(("was_sent", "repeatable"), [(True, True), (False, False)])
def test_a_broken_call_is_sent_again_where_it_cannot_run_twice(
    was_sent: bool, repeatable: bool
) -> None:
    retries = until(60.0, repeatable=repeatable)
    assert retries.after_break(was_sent=was_sent, now_s=0.0, jitter=0.0) == PAUSE_S_MIN


def test_a_broken_call_that_may_have_run_fails() -> None:
    retries = until(60.0, repeatable=False)
    assert retries.after_break(was_sent=True, now_s=0.0, jitter=0.0) is None


@given(
    now_s=st.floats(0, 100),
    retry_after=st.integers(0, 100),
    jitter=st.floats(0, 1),
    status=st.sampled_from(sorted(AGAIN)),
)
def test_no_try_begins_after_the_deadline(
    now_s: float, retry_after: int, jitter: float, status: int
) -> None:
    pause_s = until(50.0).after_answer(status, str(retry_after), now_s=now_s, jitter=jitter)
    assert pause_s is None or retry_after <= pause_s < 50.0 - now_s
