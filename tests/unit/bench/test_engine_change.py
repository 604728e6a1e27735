"""The experiment in which engines come back as another version, in short."""

import numpy as np
import pytest

from tests.bench.engine_change import (
    APART_S,
    CASES,
    CHANGE_S,
    RESTART_S,
    WINDOWS,
    Arm,
    Part,
    benchmarked,
    part,
    ratio,
    run,
)

AVOIDED = CASES[-1]


def test_engines_of_the_class_restart_one_after_another() -> None:
    case = CASES[0]
    events = [engine.events for engine in case.played().engines if engine.kind == case.kind]
    begun = [event.from_s for (event,) in events]
    assert begun == [CHANGE_S + place * APART_S for place in range(len(events))]
    assert {event.to_s - event.from_s for (event,) in events} == {RESTART_S}
    assert not any(engine.events for engine in case.played().engines if engine.kind != case.kind)


def test_a_benchmark_of_the_next_version_sees_that_it_reads_faster() -> None:
    case = CASES[0]
    old = next(engine for engine in case.played().engines if engine.kind == case.kind)
    new = case.changed(old)
    assert new.kv_tokens == pytest.approx(old.kv_tokens / 3, rel=0.01)
    before, after = benchmarked(old), benchmarked(new)
    assert after.first[2] < 0.6 * before.first[2]
    assert after.step[0] == pytest.approx(before.step[0], rel=0.2)


def test_what_traffic_does_not_touch_the_loop_finds() -> None:
    """Nothing was sent to these engines, so nothing shows that they are the fastest by now."""
    by_arm = {arm: run(AVOIDED, arm, 1) for arm in (Arm.ALONE, Arm.LOOP)}
    played = AVOIDED.played()

    def of(arm: Arm, place: int) -> Part:
        span = (CHANGE_S + WINDOWS[place][0], CHANGE_S + WINDOWS[place][1])
        return part(by_arm[arm], played, AVOIDED.kind, span)

    assert of(Arm.ALONE, 0) == of(Arm.LOOP, 0)
    assert of(Arm.ALONE, 0).share < 0.05
    assert of(Arm.LOOP, 2).share > of(Arm.ALONE, 2).share
    assert of(Arm.LOOP, 2).mean_ms < 0.95 * of(Arm.ALONE, 2).mean_ms


def test_a_ratio_is_paired_and_says_when_nothing_differs() -> None:
    slow = [Part((100.0 * n, 300.0 * n), 0.5) for n in (1, 2, 3)]
    half = [Part((50.0 * n, 150.0 * n), 0.5) for n in (1, 2, 3)]
    assert ratio(slow, slow) == "the same"
    assert ratio(half, slow) == "0.50 (0.50 to 0.50)"
    assert np.isclose(slow[1].mean_ms, 400.0)
