"""The day, the mix and the objectives."""

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load import calls, slo
from tests.load.day import BURST_FACTOR, BURST_HOURS, HOURS, Day


@given(st.floats(0, HOURS - 1e-6), st.integers(1, 500), st.integers(0, 50))
def test_somebody_is_always_there_and_never_more_than_a_burst_at_the_peak(
    hour: float, peak: int, seed: int
) -> None:
    assert 1 <= Day(10, peak, seed).users(hour) <= round(BURST_FACTOR * peak)


def test_a_day_has_a_quiet_night_two_peaks_bursts_and_an_end() -> None:
    day = Day(minutes=24, peak_users=100, seed=3)
    assert day.users(3.0) == 5
    quiet = [h / 10 for h in range(240) if not any(0 <= h / 10 - b < 1 for b in day.bursts())]
    by_hour = {hour: day.users(hour) for hour in quiet}
    assert max(by_hour, key=lambda hour: by_hour[hour]) == pytest.approx(10.5, abs=1.5)
    assert max(v for h, v in by_hour.items() if h > 17) > max(
        v for h, v in by_hour.items() if 14.5 < h < 15.5
    )
    begun = day.bursts()[0]
    assert day.users(begun + BURST_HOURS / 2) > day.users(begun - 0.01)
    assert day.bursts() == Day(5, 1, 3).bursts() != Day(5, 1, 4).bursts()
    assert day.at(24 * 60 - 1) == day.users(HOURS - 1 / 60) < 20
    assert day.at(24 * 60) is None


def test_a_day_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="up to 1440 minutes"):
        Day(0, 1)
    with pytest.raises(ValueError, match="0 users"):
        Day(1, 0)


def test_a_mix_is_checked_and_meets_what_is_on_offer() -> None:
    mix = calls.parse_mix("chat=3, vision=0.5")
    assert mix == {"chat": 3.0, "vision": 0.5}
    for wrong, why in (
        ("chess=1", "no kind 'chess'"),
        ("chat=many", "a number"),
        ("chat=-1", "not negative"),
        ("chat=nan", "not negative"),
        ("chat=0", "above 0"),
    ):
        with pytest.raises(ValueError, match=why):
            calls.parse_mix(wrong)
    offered = [{"id": "a/b", "task": "chat"}, {"id": "a/c", "task": "tabular"}]
    assert calls.models_for(mix, offered) == {"chat": ["a/b"], "vision": []}


@pytest.mark.parametrize("kind", calls.TASK_OF)
def test_each_kind_makes_a_body_that_says_how_large_it_is(kind: str) -> None:
    call = calls.make(kind, "lab/model", Random(1))
    assert call == calls.make(kind, "lab/model", Random(1))
    length = int(call.headers.get(calls.HEADER_LENGTH, len(call.body)))
    body = json.loads(call.body[:length])
    if kind in ("chat", "streamed"):
        assert 2 <= body["max_tokens"] <= 64
        assert body.get("stream", False) is (kind == "streamed")
    elif kind == "embeddings":
        assert 1 <= len(body["input"]) <= 8
    else:
        (tensor,) = body["inputs"]
        values = len(tensor["data"]) if kind == "tabular" else (len(call.body) - length) // 4
        size = 1
        for dimension in tensor["shape"]:
            size *= dimension
        assert values == size


def test_an_error_is_a_miss_and_no_calls_are_no_success() -> None:
    attained = slo.fresh({("chat", "total"): 100.0, ("vision", "total"): 1.0})
    assert not slo.met(attained.values(), 0.5)
    one = attained["chat", "total"]
    for latency_ms in (50.0, 100.0, 101.0):
        one.add(latency_ms, failed=False)
    one.add(1.0, failed=True)
    assert (one.share, one.errors, one.percentile_ms(0.5)) == (0.5, 1, 100.0)
    table, met = slo.report(attained, 0.5)
    assert met
    assert "50.00%" in table
    assert "vision" not in table
    table, met = slo.report(attained, 0.51)
    assert not met
    assert "MISSED" in table


def test_objectives_are_given_over_the_defaults() -> None:
    slos = slo.parse_slos("embeddings=300, streamed/first byte=800")
    assert slos["embeddings", "total"] == 300
    assert slos["streamed", slo.FIRST_BYTE] == 800
    assert slos["chat", "total"] == slo.DEFAULT_SLOS_MS["chat", "total"]
    with pytest.raises(ValueError, match="no objective 'chat/first byte'"):
        slo.parse_slos("chat/first byte=3")
    with pytest.raises(ValueError, match="are a number"):
        slo.parse_slos("chat=soon")
