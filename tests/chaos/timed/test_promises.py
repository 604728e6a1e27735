"""Promises of the data plane about time, against real processes with a log kept on both sides.

The short forms run with every test run; ``make chaos`` runs longer and larger ones. Where the
machine's noise would decide, the figure is a ratio of two measurements taken in turn in one run.
"""

import asyncio
import time
from pathlib import Path

import pytest

from router.settings import Limits
from tests.chaos.harness import SCALE, Worker, ask_and_leave, routing, working
from tests.chaos.load import Flow, load, percentile
from tests.patience import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.chaos]


GOODPUT_MIN = 0.95
REFUSED_WITHIN_S = 0.05
PEAK_S = OVERLOAD_S = 2.5
FILLING_S = 0.7
"""Of either, before it counts: the queue fills or empties."""


async def test_9_three_times_too_much_is_refused_early_and_the_rest_is_served(
    tmp_path: Path,
) -> None:
    rounds = max(round(2 * SCALE), 2)
    # Slow enough for the slots to be what is short, on any machine, and not its processors.
    workers = [Worker(service_s=0.2, spread=0.15, slots=8) for _ in range(2)]
    slots = sum(worker.slots for worker in workers)
    turn_s = PEAK_S + OVERLOAD_S
    peaks = [(n * turn_s, n * turn_s + PEAK_S) for n in range(rounds)]
    overloads = [(end, end + OVERLOAD_S) for _, end in peaks]
    busy = Flow(peaks, at_once=slots + len(workers) + 2)
    too_much = Flow(overloads, per_s=3.2 * slots / workers[0].service_s)
    async with working(*workers):
        with routing(tmp_path, *workers, queue_max=40) as router:
            await load(router.port, [Flow([(0.0, 0.5)], at_once=slots)])
            ((*calls,),) = await load(router.port, [busy, too_much], lag_max_s=REFUSED_WITHIN_S / 2)

    def per_s(windows: list[tuple[float, float]], moments_s: list[float]) -> float:
        counted = [(start + FILLING_S, end) for start, end in windows]
        inside = sum(start <= at_s < end for at_s in moments_s for start, end in counted)
        return inside / sum(end - start for start, end in counted)

    served = [call.ended_s for call in calls if call.status == 200]
    peak, goodput = per_s(peaks, served), per_s(overloads, served)
    offered = per_s(overloads, [call.due_s for call in calls if call.flow == 1])
    refused = [call for call in calls if call.status != 200]
    late_s = percentile([call.seconds for call in refused], 0.99)
    print(
        f"{goodput:.1f}/s of {offered:.0f}/s served, {goodput / peak:.1%} of the peak; p99 of "
        f"{len(refused)} refusals {late_s * 1e3:.1f} ms"
    )
    assert offered >= 3 * peak
    assert goodput >= GOODPUT_MIN * peak
    assert {call.status for call in refused} <= {429, 503}
    assert all(call.retry_after_s >= 1 for call in refused)
    assert late_s < REFUSED_WITHIN_S


SLOW = 1_000
SLOWER_MAX = 1.5
HEADER_TIMEOUT_S = Limits().header_timeout_s if SCALE > 1 else 3.0
COMING_S = 1.0
NOTICED_S = 2.0
QUIET_S = HEADER_TIMEOUT_S
SLOW_S = COMING_S + HEADER_TIMEOUT_S + NOTICED_S
HONEST_PER_S = 100.0


async def test_12_slow_headers_hold_nobody_up_and_are_ended(tmp_path: Path) -> None:
    assert Limits().header_timeout_s == 10
    rounds = max(round(SCALE / 2), 2)
    turn_s = QUIET_S + SLOW_S
    workers = [Worker(service_s=0.05, spread=0.5, slots=16) for _ in range(2)]
    slow = Flow([(n * turn_s + QUIET_S, (n + 1) * turn_s) for n in range(rounds)], slow=SLOW)
    async with working(*workers):
        limits = {} if SCALE > 1 else {"header_timeout_s": HEADER_TIMEOUT_S}
        with routing(tmp_path, *workers, **limits) as router:
            await load(router.port, [Flow([(0.0, 1.0)], per_s=HONEST_PER_S)])
            honest, ends = await load(
                router.port, [Flow([(0.0, rounds * turn_s)], per_s=HONEST_PER_S)], [slow]
            )
    last_s = max(call.ended_s - call.due_s for call in ends)
    received = {
        is_slow: [call.seconds for call in honest if (call.due_s % turn_s >= QUIET_S) is is_slow]
        for is_slow in (False, True)
    }
    before_s, beside_s = (percentile(received[is_slow], 0.99) for is_slow in (False, True))
    print(
        f"p99 {before_s * 1e3:.1f} ms alone, {beside_s * 1e3:.1f} ms beside {SLOW} slow sockets: "
        f"{beside_s / before_s:.2f} times; they were ended after {last_s:.1f} s at most"
    )
    assert {call.status for call in honest} == {200}
    assert beside_s <= SLOWER_MAX * before_s
    assert len(ends) == rounds * SLOW
    assert {call.status for call in ends} == {408}
    assert min(call.seconds for call in ends) >= HEADER_TIMEOUT_S - 0.1
    assert max(call.seconds for call in ends) <= HEADER_TIMEOUT_S + NOTICED_S


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_14_clients_that_leave_stop_their_workers_within_a_second(
    stream: bool, tmp_path: Path
) -> None:
    took_s: list[float] = []
    async with working(Worker(events=1, idles=True)) as (worker,):
        with routing(tmp_path, worker) as router:
            for number in range(1, max(int(5 * SCALE), 5) + 1):
                await ask_and_leave(router.port, worker, stream=stream)
                left_s = time.perf_counter()
                async with asyncio.timeout(PATIENCE_S):
                    while worker.cancelled < number:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                took_s.append(time.perf_counter() - left_s)
    print(f"stopped after {max(took_s) * 1e3:.0f} ms at most")
    assert max(took_s) < 1.0
