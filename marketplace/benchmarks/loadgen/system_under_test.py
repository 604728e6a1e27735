"""One point of a load curve, measured by MLPerf's LoadGen. No Django.

LoadGen (https://github.com/mlcommons/inference/tree/master/loadgen) decides when a query is sent
and whether the test was valid. To LoadGen the system under test is our client, which calls a worker
or the router. A process has one LoadGen, which calls from its own threads: see :mod:`.__main__`.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlperf_loadgen as lg

from marketplace.benchmarks.loadgen.callers import Caller
from marketplace.benchmarks.loadgen.messages import Measured, Progress
from marketplace.benchmarks.loadgen.plan import IN_FLIGHT_MAX, Plan
from marketplace.benchmarks.loadgen.samples import Sample, samples_write

SUMMARY = "mlperf_log_summary.txt"
NANO = 1_000_000_000
TOO_SOON = "Min duration not satisfied"
OFFLINE_MARGIN = 1.3
"""An offline test is one query of expected rate × duration requests. If they are answered sooner
than that duration, the test is not valid: so a little more than the warm-up's rate is expected."""
WARM_UP_WIDTH_MAX = 64
ATTEMPTS_MAX = 3
"""Tries of an offline test whose workers are faster than they were in the warm-up."""
SCENARIO_OF = {
    "single_stream": lg.TestScenario.SingleStream,
    "multi_stream": lg.TestScenario.MultiStream,
    "server": lg.TestScenario.Server,
    "offline": lg.TestScenario.Offline,
}


class SystemUnderTest:
    """What LoadGen sends queries to: an asyncio client in its own thread."""

    def __init__(self, plan: Plan, load: float, caller: Caller) -> None:
        self._plan = plan
        self._caller = caller
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        # An offline test issues everything at once: this many are sent, and the others wait here.
        self._limit = int(load) if plan.scenario == "offline" else IN_FLIGHT_MAX
        self._waiting: deque[tuple[Any, float]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun_s = 0.0
        self.samples: list[Sample] = []
        self.cut = 0
        self.in_flight = 0

    def __enter__(self) -> SystemUnderTest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._caller.close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def warm_up(self) -> float:
        """Send the plan's warm-up at the point's concurrency; returns requests a second.

        Raises ``RuntimeError`` with the first error when not one succeeded.
        """
        return asyncio.run_coroutine_threadsafe(self._warm_up(), self._loop).result()

    def begin(self) -> None:
        """Start the test's clock, with no samples yet."""
        self.samples, self.cut = [], 0
        self._begun_s = time.monotonic()

    @property
    def library_size(self) -> int:
        """How many different requests there are."""
        return self._caller.size

    def issue(self, queries: Sequence[Any]) -> None:
        """LoadGen's callback, on a thread of LoadGen."""
        issued_s = time.monotonic()
        found = [(query.id, query.index, issued_s) for query in queries]
        self._loop.call_soon_threadsafe(self._take, found)

    def progress(self) -> Progress:
        """Read from any thread."""
        done = len(self.samples)
        errors = sum(1 for sample in list(self.samples) if sample.error)
        return Progress(done, errors, self.in_flight, time.monotonic() - self._begun_s)

    async def _warm_up(self) -> float:
        width = min(self._limit, WARM_UP_WIDTH_MAX)
        if self._plan.scenario != "offline":
            width = min(width, self._plan.warm_up)
        left = iter(range(max(self._plan.warm_up, 2 * width)))
        errors: list[str] = []
        served = 0

        async def lane() -> None:
            nonlocal served
            for index in left:
                sample = await self._caller.call(index, lambda: None)
                served += not sample.error
                if sample.error:
                    errors.append(sample.error)

        begun = time.monotonic()
        await asyncio.gather(*(lane() for _ in range(width)))
        if not served:
            raise RuntimeError(f"no warm-up request was answered: {errors[0]}")
        return served / max(time.monotonic() - begun, 1e-6)

    def _take(self, found: list[tuple[int, int, float]]) -> None:
        self._waiting.extend(((query, index), issued_s) for query, index, issued_s in found)
        self._send()

    def _send(self) -> None:
        overdue = time.monotonic() - self._begun_s > self._plan.seconds_max
        while self._waiting and (overdue or self.in_flight < self._limit):
            (query, index), issued_s = self._waiting.popleft()
            if overdue:
                # LoadGen ends an offline test only when every sample is answered.
                self.cut += 1
                self._complete(query, 1)
                continue
            self.in_flight += 1
            task = self._loop.create_task(self._one(query, index, issued_s))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _one(self, query: int, index: int, issued_s: float) -> None:
        first = _once(lambda: self._first(query))
        sample = await self._caller.call(index, first)
        if self._plan.scenario == "server":
            # A Poisson arrival's wait for a free connection here is part of its latency.
            waited_ms = max(0.0, sample.started_s - issued_s) * 1e3
            sample.total_ms += waited_ms
            sample.ttft_ms += waited_ms if sample.ttft_ms else 0.0
        sample.started_s -= self._begun_s
        self.samples.append(sample)
        first()
        self.in_flight -= 1
        self._complete(query, max(1, sample.tokens))
        self._send()

    def _first(self, query: int) -> None:
        if self._plan.task == "chat":
            lg.FirstTokenComplete([lg.QuerySampleResponse(query, 0, 0)])

    def _complete(self, query: int, tokens: int) -> None:
        if self._plan.task == "chat":
            lg.QuerySamplesComplete([lg.QuerySampleResponse(query, 0, 0, tokens)])
        else:
            lg.QuerySamplesComplete([lg.QuerySampleResponse(query, 0, 0)])


def run_point(
    plan: Plan, load: float, caller: Caller, out: Path, report: Callable[[Progress], None]
) -> Measured:
    """Run LoadGen once; blocks. Its logs and every sample are left in ``out``."""
    with SystemUnderTest(plan, load, caller) as system:
        rate_hz = system.warm_up()
        for _attempt in range(ATTEMPTS_MAX):
            system.begin()
            duration_s = _test(system, _settings(plan, load, rate_hz), out, report)
            valid, reasons = verdict((out / SUMMARY).read_text())
            # LoadGen's clock decides: ours also counts how it starts and ends.
            if plan.scenario != "offline" or TOO_SOON not in reasons:
                break
            rate_hz = len(system.samples) / duration_s
        samples_write(out, system.samples)
    return Measured(valid, reasons, system.cut)


def _test(
    system: SystemUnderTest, settings: Any, out: Path, report: Callable[[Progress], None]
) -> float:
    """One test of LoadGen's; returns how long it took, in seconds."""
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(system, over, report), daemon=True)
    sut = lg.ConstructSUT(system.issue, lambda: None)
    size = system.library_size
    library = lg.ConstructQSL(size, size, lambda indices: None, lambda indices: None)
    watcher.start()
    begun = time.monotonic()
    try:
        lg.StartTestWithLogSettings(sut, library, settings, _log_settings(out), "no-audit")
    finally:
        duration_s = time.monotonic() - begun
        over.set()
        lg.DestroyQSL(library)
        lg.DestroySUT(sut)
    report(system.progress())
    return duration_s


def verdict(summary: str) -> tuple[bool, list[str]]:
    """Read LoadGen's summary: whether the test is valid, and which of its rules were not met."""
    found = re.search(r"^Result is : (\w+)", summary, re.MULTILINE)
    if found is None:
        return False, ["LoadGen wrote no result"]
    unmet = re.findall(r"^\s+(.+?) satisfied ?: NO", summary, re.MULTILINE)
    needed = re.findall(r"^ \* (Need to process at least \d+ queries)", summary, re.MULTILINE)
    return found[1] == "VALID", [*(f"{rule} not satisfied" for rule in unmet), *needed[:1]]


def _settings(plan: Plan, load: float, rate_hz: float) -> Any:
    settings = lg.TestSettings()
    settings.scenario = SCENARIO_OF[plan.scenario]
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_duration_ms = round(plan.seconds_min * 1e3)
    settings.max_duration_ms = round(plan.seconds_max * 1e3)
    # A query of the multi-stream scenario has ``load`` samples.
    per_query = load if plan.scenario == "multi_stream" else 1
    settings.min_query_count = max(1, round(plan.samples_at(load) / per_query))
    settings.qsl_rng_seed = settings.sample_index_rng_seed = plan.seed
    settings.schedule_rng_seed = plan.seed
    settings.single_stream_target_latency_percentile = plan.percentile
    settings.multi_stream_target_latency_percentile = plan.percentile
    settings.server_target_latency_percentile = plan.percentile
    settings.multi_stream_samples_per_query = max(1, int(load))
    settings.server_target_latency_ns = round(plan.slo_ms / 1e3 * NANO)
    settings.server_target_qps = load
    settings.offline_expected_qps = rate_hz * OFFLINE_MARGIN
    if plan.task == "chat":
        settings.use_token_latencies = True
        settings.ttft_latency = round((plan.ttft_slo_ms or plan.slo_ms) / 1e3 * NANO)
        settings.tpot_latency = round((plan.tpot_slo_ms or plan.slo_ms) / 1e3 * NANO)
    return settings


def _log_settings(out: Path) -> Any:
    output = lg.LogOutputSettings()
    output.outdir = str(out)
    output.copy_summary_to_stdout = False
    settings = lg.LogSettings()
    settings.log_output = output
    settings.enable_trace = False
    return settings


def _watch(
    system: SystemUnderTest, over: threading.Event, report: Callable[[Progress], None]
) -> None:
    while not over.wait(0.5):
        report(system.progress())


def _once(action: Callable[[], None]) -> Callable[[], None]:
    done = False

    def run() -> None:
        nonlocal done
        if not done:
            done = True
            action()

    return run
