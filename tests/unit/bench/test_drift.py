"""The drift experiment in short: who learns recovers, who does not does not."""

import numpy as np
import pytest

from router.simulator.trouble import Trouble
from tests.bench.drift.figures import Samples, recovered_s, recovery, windows
from tests.bench.drift.live import fleet_file
from tests.bench.drift.simulated import (
    BEFORE_S,
    DRIFTS,
    Arm,
    machines,
    run,
    true_ms,
)

AFTER_S = 25.0
LOAD = 0.5
WIDTH_S = 5.0


@pytest.fixture(scope="module")
def arms() -> dict[Arm, Samples]:
    return {
        arm: run(arm, 1, load=LOAD, after_s=AFTER_S).samples
        for arm in (Arm.OURS, Arm.KNEW, Arm.FROZEN)
    }


def test_ours_is_as_good_as_one_that_knew_within_the_minute(arms: dict[Arm, Samples]) -> None:
    found = recovery([arms[Arm.OURS]], [arms[Arm.KNEW]], to_s=AFTER_S, width_s=WIDTH_S, resamples=0)
    assert found.after_s is not None
    assert found.after_s <= 60


def test_estimates_that_stay_what_the_benchmarks_said_never_are(arms: dict[Arm, Samples]) -> None:
    found = recovery(
        [arms[Arm.FROZEN]], [arms[Arm.KNEW]], to_s=AFTER_S, width_s=WIDTH_S, resamples=0
    )
    assert found.after_s is None


def test_weights_of_the_benchmarks_alone_lose_the_slo() -> None:
    found = run(Arm.BENCHMARKS, 1, load=LOAD, after_s=5.0).samples
    before, after = (
        float((found.latency_ms[inside] <= 500).mean())
        for inside in (found.at_s < 0, found.at_s >= 0)
    )
    assert before > 0.95
    assert after < 0.85


def test_the_drift_is_no_part_of_the_past(arms: dict[Arm, Samples]) -> None:
    past = [(arm.at_s[arm.at_s < -1], arm.latency_ms[arm.at_s < -1]) for arm in arms.values()]
    assert len(past[0][0]) > 1_000
    assert (past[0][0] == past[1][0]).all(), "the arms have unlike arrivals"
    # Calls that end before the drift cannot depend on the arm.
    short = past[0][1] < 500
    assert (past[0][1][short] == past[1][1][short]).all()


def test_a_jump_stays_and_goes_both_ways() -> None:
    events = {machine.kind: machine.events[0] for machine in machines()}
    assert all(event.trouble is Trouble.DRIFT for event in events.values())
    assert {kind: events[kind].factor for kind in DRIFTS} == DRIFTS
    assert true_ms() == {"A": 160.0, "B": 60.0, "C": 60.0, "D": 400.0}
    assert events["A"].from_s == events["A"].to_s == BEFORE_S


def samples(latencies_ms: list[float]) -> Samples:
    """Ten calls a second, each second with its own latency."""
    at_s = np.arange(len(latencies_ms) * 10) / 10
    return Samples(at_s, np.repeat(np.array(latencies_ms), 10))


def test_recovery_is_the_end_of_the_first_window_from_which_all_are_near() -> None:
    knew = samples([100.0] * 10)
    ours = samples([300.0, 300.0, 100.0, 100.0, 300.0, 100.0, 105.0, 109.0, 100.0, 100.0])
    found = recovery([ours], [knew], to_s=10, width_s=1.0, resamples=20)
    assert found.after_s == 6.0
    assert found.high_s == 6.0


def test_a_tail_alone_is_no_recovery() -> None:
    knew, ours = samples([100.0] * 4), samples([100.0] * 4)
    ours.latency_ms[::10] = 150.0  # Mean within 10 %, p99 not.
    kept = {"from_s": 0, "to_s": 4, "width_s": 1.0, "step_s": 1.0, "slo_ms": 120.0}
    made = windows([ours], **kept)
    assert made[0].mean_ms == pytest.approx(105)
    assert made[0].good == 0.9
    assert recovered_s(made, windows([knew], **kept)) is None


def test_runs_come_in_pairs_and_windows_hold_calls() -> None:
    one = samples([1.0])
    with pytest.raises(ValueError, match="in pairs"):
        recovery([one], [one, one], to_s=1, width_s=1)
    with pytest.raises(ValueError, match="no call arrived"):
        windows([one], from_s=5, to_s=6, width_s=1, step_s=1, slo_ms=1)


def test_a_router_that_knew_is_told_the_drifted_times() -> None:
    received, knew = fleet_file("http://e", {}), fleet_file("http://e", {"emulated-h100": 4.0})
    assert len(received) == 6
    for before, after in zip(received, knew, strict=True):
        factor = 4.0 if before["class"] == "emulated-h100" else 1.0
        assert after["service_ms"] == factor * before["service_ms"]


def test_figures_go_between_their_markers(tmp_path) -> None:
    from tests.bench.drift.__main__ import write_between

    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n")
    write_between(page, "x", "new")
    assert page.read_text() == "a\n<!-- x: begin -->\nnew\n<!-- x: end -->\nb\n"
    with pytest.raises(ValueError, match="has no"):
        write_between(page, "y", "new")
