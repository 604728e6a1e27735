"""Measuring: one point of the load curve after another, in whatever slots live traffic leaves."""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from django.db import transaction

from marketplace.benchmarks.loadgen.messages import Failed, Measured
from marketplace.benchmarks.loadgen.plan import Plan
from marketplace.benchmarks.loadgen.process import LoadGenProcess
from marketplace.benchmarks.loadgen.samples import samples_read
from marketplace.benchmarks.models import LOAD_PER_CORE, Benchmark, Stage, Target
from marketplace.benchmarks.profiles.load_curve import PointFigures, point_of
from marketplace.benchmarks.runs.fingerprint import load_per_core
from marketplace.benchmarks.runs.idle_slots import Traffic, must_yield
from marketplace.benchmarks.runs.outcome import (
    benchmark_conclude,
    point_folder,
    point_keep,
    raw_folder,
)
from marketplace.benchmarks.runs.queue import turn_is_free, turn_take
from marketplace.benchmarks.runs.reserved_slot import (
    RESERVED_S_MAX,
    reservable,
    reserve_after_s,
    slot_reserved,
)
from marketplace.benchmarks.runs.target import (
    loadgen_request,
    own_requests_max,
    target_fingerprint,
)
from marketplace.benchmarks.selectors import profiles_in_force, workers_of
from marketplace.catalog.models import Worker
from marketplace.shared.jobs.services import JobFailed, JobStopped, Run

CHECK_EVERY_S = 0.5
"""How often a run reads the live traffic, reports its progress and sees that it is cancelled."""
WAIT_S_MAX = 1_800.0
"""A run that waited this long for idle slots, in total, gives up."""
INTERRUPTIONS_MAX = 50
"""A run that gave way to live traffic this often fails."""

Watch = Callable[[Benchmark], None]
"""Receives each progress."""
ReadTraffic = Callable[[Sequence[str], int], Traffic]
"""Of workers, by their ids, and of how many requests in the router are the benchmark's own."""


class NoIdleSlots(JobFailed):
    """Live traffic left no idle slots for too long."""


class _GaveWay(Exception):
    """Live traffic needs the slots that a point uses."""


@dataclass(slots=True)
class Measurement:
    """One run of a benchmark, from its first point to its last."""

    run: Run
    watch: Watch
    read_traffic: ReadTraffic
    waited_s: float = 0.0
    """For idle slots, in total."""
    interruptions: int = 0
    """How often a point gave way to live traffic."""
    reserve_at_s: float = field(default_factory=reserve_after_s)
    """Of ``waited_s``: then a slot is reserved."""
    reserved: Worker | None = None
    reserved_until_s: float = 0.0
    benchmark: Benchmark = field(init=False)
    plan: Plan = field(init=False)
    workers: list[Worker] = field(init=False)

    def __post_init__(self) -> None:
        self.benchmark = benchmark = self.run.job
        self.plan = benchmark.plan
        self.workers = workers_of(
            benchmark.model, deployment=benchmark.deployment, worker=benchmark.worker
        )
        if not self.workers:
            raise JobFailed("no worker is ready any more")

    def points(self) -> str:
        """Measure every point, then conclude; returns why points are missing, or ""."""
        benchmark, plan = self.benchmark, self.plan
        benchmark.raw_dir = f"benchmarks/{benchmark.pk}"
        benchmark.fingerprint = target_fingerprint(benchmark, self.workers)
        benchmark.emulated = any(worker.pool.emulated for worker in self.workers)
        columns = ("raw_dir", "fingerprint", "emulated")
        self.run.progress(0.0, **{name: getattr(benchmark, name) for name in columns})
        # Those of an earlier attempt, which lost its process.
        benchmark.points.all().delete()
        folder = raw_folder(benchmark)
        folder.mkdir(parents=True, exist_ok=True)
        about = {"plan": plan.as_dict(), "fingerprint": benchmark.fingerprint}
        (folder / "benchmark.json").write_text(json.dumps(about, indent=2) + "\n")
        found: list[PointFigures] = []
        note, busiest = "", 0.0
        for index, load in enumerate(plan.loads):
            try:
                point = self._point(index, load)
            except NoIdleSlots as error:
                # A few points are a better prior than none.
                if not found or profiles_in_force().filter(deployment=benchmark.deployment):
                    raise
                note = f"not measured from load {load:g} on: {error}"
                break
            found.append(point)
            point_keep(benchmark, point)
            busiest = max(busiest, load_per_core())
        with transaction.atomic():
            if self.run.is_stopped():
                raise JobStopped
            benchmark.fingerprint |= {LOAD_PER_CORE: busiest}
            benchmark.save(update_fields=["fingerprint"])
            benchmark_conclude(benchmark, found, self.workers)
        return note

    def _point(self, index: int, load: float) -> PointFigures:
        """One point, measured again each time that it gave way to live traffic."""
        out = point_folder(self.benchmark, load)
        while True:
            with ExitStack() as held:
                used = self._wait_for_turn(load, held)
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir(parents=True)
                try:
                    measured = self._loadgen(index, load, used, out)
                except _GaveWay:
                    self.interruptions += 1
                    if self.interruptions > INTERRUPTIONS_MAX:
                        raise JobFailed(f"live traffic came {INTERRUPTIONS_MAX} times") from None
                    continue
            return point_of(self.plan, load, samples_read(out), measured)

    def _wait_for_slots(self, load: float, held: ExitStack) -> list[Worker]:
        """Wait for idle slots; returns the workers to measure. ``held`` keeps a reserved slot."""
        while self._is_in_the_way(load, self.workers):
            self._report(Stage.WAITING.at(load))
            time.sleep(CHECK_EVERY_S)
            self.waited_s += CHECK_EVERY_S
            if self.waited_s > WAIT_S_MAX:
                raise NoIdleSlots(f"live traffic left no idle slots for {WAIT_S_MAX:g} s")
            if self.waited_s >= self.reserve_at_s and turn_is_free(self.benchmark):
                self.reserve_at_s = self.waited_s + reserve_after_s()
                worker = reservable(self.benchmark, self.plan, load, self.workers)
                if worker is not None and self._reserve(worker, load, held):
                    return [worker]
        return self.workers

    def _reserve(self, worker: Worker, load: float, held: ExitStack) -> bool:
        """Have a slot of this worker kept free; False when it was not free in time."""
        if not held.enter_context(slot_reserved(worker)):
            held.close()
            return False
        held.callback(self._reservation_over)
        self.reserved, self.reserved_until_s = worker, time.monotonic() + RESERVED_S_MAX
        while self.read_traffic([worker.worker_id], 0).in_flight >= worker.slots:
            self._report(Stage.RESERVED.at(load))
            time.sleep(CHECK_EVERY_S)
            if time.monotonic() > self.reserved_until_s:
                held.close()
                return False
        return True

    def _reservation_over(self) -> None:
        self.reserved = None

    def _wait_for_turn(self, load: float, held: ExitStack) -> list[Worker]:
        """Wait for idle slots and for a turn; returns the workers to measure."""
        used = self._wait_for_slots(load, held)
        while not turn_take(self.benchmark, load):
            held.close()
            self._report(Stage.TURN.at(load))
            time.sleep(CHECK_EVERY_S)
            used = self._wait_for_slots(load, held)
        return used

    def _is_in_the_way(self, load: float, workers: list[Worker], own: int = 0) -> bool:
        """Whether live traffic needs the slots, apart from ``own`` requests in the router."""
        if self.reserved is not None:
            # Waiting calls are no reason: they waited before. Calls in the reserved slot are one.
            is_late = time.monotonic() > self.reserved_until_s
            traffic = self.read_traffic([self.reserved.worker_id], 0)
            return is_late or traffic.in_flight >= self.reserved.slots
        slots = sum(worker.slots for worker in workers)
        wanted = slots if self.plan.scenario == "server" else int(load)
        traffic = self.read_traffic([worker.worker_id for worker in workers], own)
        return must_yield(traffic, wanted=wanted, slots=slots)

    def _loadgen(self, index: int, load: float, workers: list[Worker], out: Path) -> Measured:
        plan = self.plan
        limit_s = 2 * plan.seconds_max + 60 + plan.warm_up * plan.slo_ms / 1e3
        request = loadgen_request(self.benchmark, load, workers, self.interruptions, limit_s)
        own = own_requests_max(plan, load) if self.benchmark.target == Target.ROUTE else 0
        begun = time.monotonic()
        with LoadGenProcess(request, out) as process:
            while (answer := process.wait(CHECK_EVERY_S)) is None:
                progress = process.progress
                done = progress.done
                share = min(progress.elapsed_s / plan.seconds_min, 0.99)
                self._report(
                    (Stage.MEASURING if done else Stage.WARMING).at(load, done),
                    (index + share) / len(plan.loads),
                )
                if self._is_in_the_way(load, workers, own):
                    raise _GaveWay
                if time.monotonic() - begun > limit_s:
                    raise JobFailed(f"load {load:g} did not end within {limit_s:.0f} s")
        if isinstance(answer, Failed):
            raise JobFailed(f"load {load:g}: {answer.error}")
        return answer

    def _report(self, stage: str, progress: float = 0.0) -> None:
        """Keep the progress, and tell the watcher. Raises where the run must end."""
        benchmark = self.benchmark
        benchmark.stage = stage
        benchmark.progress = max(benchmark.progress, round(progress, 4))
        self.run.progress(benchmark.progress, stage=stage)
        self.watch(benchmark)
