"""Running a benchmark: point after point, in whatever slots live traffic leaves."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from marketplace.benchmarks.accounts import bearer_issue
from marketplace.benchmarks.callers import Server
from marketplace.benchmarks.engine_fit import engine_fit
from marketplace.benchmarks.figures import (
    PointFigures,
    knee_of,
    point_of,
    profile_of,
    samples_read,
    within_slots,
)
from marketplace.benchmarks.fingerprint import fingerprint
from marketplace.benchmarks.loadgen_process import LoadGenProcess
from marketplace.benchmarks.models import (
    Benchmark,
    Origin,
    Point,
    Profile,
    Stage,
    Target,
)
from marketplace.benchmarks.plan import IN_FLIGHT_MAX, Plan
from marketplace.benchmarks.queue import (
    RUNS_MAX,
    next_on_free_pools,
    next_to_run,
    turn_is_free,
    turn_take,
)
from marketplace.benchmarks.reserving import (
    RESERVED_S_MAX,
    reservable,
    reserve_after_s,
    slot_reserved,
)
from marketplace.benchmarks.selectors import profiles_in_force, workers_of
from marketplace.benchmarks.services import profile_publish
from marketplace.benchmarks.traffic import traffic_on
from marketplace.benchmarks.yielding import Traffic, must_yield
from marketplace.catalog.addresses import AddressRefused, address_of, address_policy
from marketplace.catalog.models import Deployment, Worker
from marketplace.shared.jobs.kinds import JobKind
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import JobFailed, JobStopped, Run, job_claim, job_run
from marketplace.shared.signals import benchmark_ran
from router.domain.protocols import protocols_of

LOOK_EVERY_S = 0.5
"""How often a run looks for live traffic, for a wish to cancel, and how far it is."""
YIELD_S_MAX = 1_800.0
"""A benchmark that found no idle slots for this long in all gives up."""
YIELDS_MAX = 50
RUN_S_MAX = 86_400.0
"""A run that takes longer than a day is taken for stuck."""
SAMPLES = "samples.jsonl"

Watch = Callable[[Benchmark], None]
Look = Callable[[Sequence[str], int], Traffic]
"""Of workers, and how many of the requests in the router are the benchmark's own at most."""


class NoIdleSlots(JobFailed):
    """Live traffic left none for too long."""


class _Yielded(Exception):
    """Live traffic needs the slots that a point uses."""


def benchmark_run(
    benchmark: Benchmark, *, watch: Watch | None = None, look: Look | None = None
) -> Benchmark:
    """Run a benchmark that waits or is claimed to its end, here; blocks.

    ``watch`` sees each progress. It stays as it is where it may not run, or runs already.
    """
    benchmark_claim(benchmark)
    if benchmark.state == JobState.RUNNING:
        work = partial(_measure, watch=watch or _unwatched, look=look or _look)
        job_run(replace(KIND, work=work), benchmark)
    return benchmark


def benchmark_claim(benchmark: Benchmark) -> None:
    """Claim it for this process, however many measure now: it waits for its turn."""
    job_claim(replace(KIND, choose=next_on_free_pools), benchmark.pk)
    benchmark.refresh_from_db()


def raw_folder(benchmark: Benchmark) -> Path:
    """Where the logs and samples of a benchmark are."""
    return Path(settings.WAYPOST_HOME) / "benchmarks" / str(benchmark.pk)


def _folder_of(folder: Path, load: float) -> Path:
    return folder / f"load-{load:g}"


def _over(benchmark: Benchmark) -> None:
    Benchmark.objects.filter(pk=benchmark.pk).update(stage="")
    transaction.on_commit(partial(benchmark_ran.send_robust, None))


def _unwatched(benchmark: Benchmark) -> None:
    pass


def _look(worker_ids: Sequence[str], own: int) -> Traffic:
    return traffic_on(worker_ids, own=own)


def _measure(run: Run, *, watch: Watch = _unwatched, look: Look = _look) -> dict[str, Any]:
    return {"error": _Run(run, watch, look).points()}


KIND = JobKind(
    Benchmark,
    _measure,
    over=_over,
    time_limit_s=RUN_S_MAX,
    at_once=RUNS_MAX,
    choose=next_to_run,
    command=("benchmark", "execute"),
)


@dataclass(slots=True)
class _Run:
    """One run. ``look`` is asked for the live traffic, ``watch`` is told of each progress."""

    run: Run
    watch: Watch
    look: Look
    yielded_s: float = 0.0
    yields: int = 0
    reserve_at_s: float = field(default_factory=reserve_after_s)
    """Of ``yielded_s``: then a slot is reserved."""
    reserved: Worker | None = None
    reserved_until_s: float = 0.0

    @property
    def benchmark(self) -> Benchmark:
        return self.run.job

    def points(self) -> str:
        """Every point, then the knee and the profile. Returns why points are missing, else ""."""
        benchmark = self.benchmark
        plan = benchmark.plan
        workers = workers_of(
            benchmark.model, deployment=benchmark.deployment, worker=benchmark.worker
        )
        if not workers:
            raise JobFailed("no worker is ready any more")
        benchmark.raw_dir = f"benchmarks/{benchmark.pk}"
        benchmark.fingerprint = _fingerprint(benchmark, workers)
        benchmark.emulated = any(worker.pool.emulated for worker in workers)
        columns = ("raw_dir", "fingerprint", "emulated")
        self.run.progress(0.0, **{name: getattr(benchmark, name) for name in columns})
        folder = raw_folder(benchmark)
        folder.mkdir(parents=True, exist_ok=True)
        about = {"plan": plan.as_dict(), "fingerprint": benchmark.fingerprint}
        (folder / "benchmark.json").write_text(json.dumps(about, indent=2) + "\n")
        found: list[PointFigures] = []
        note = ""
        for index, load in enumerate(plan.loads):
            try:
                point = self._point(plan, load, workers, index, folder)
            except NoIdleSlots as error:
                # A few points are a better prior than none.
                if not found or profiles_in_force().filter(deployment=benchmark.deployment):
                    raise
                note = f"not measured from load {load:g} on: {error}"
                break
            found.append(point)
            _store(benchmark, point)
        with transaction.atomic():
            if self.run.is_stopped():
                raise JobStopped
            _conclude(benchmark, plan, found, workers, folder)
        return note

    def _point(
        self, plan: Plan, load: float, workers: list[Worker], index: int, folder: Path
    ) -> PointFigures:
        """One point; again from its start each time that live traffic took its slots."""
        out = _folder_of(folder, load)
        while True:
            with ExitStack() as held:
                used = self._wait_for_turn(plan, load, workers, held)
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir(parents=True)
                try:
                    result = self._loadgen(plan, load, used, index, out)
                except _Yielded:
                    self.yields += 1
                    if self.yields > YIELDS_MAX:
                        raise JobFailed(f"live traffic came {YIELDS_MAX} times") from None
                    continue
            return point_of(plan, load, samples_read(out / SAMPLES), result)

    def _wait_for_slots(
        self, plan: Plan, load: float, workers: list[Worker], held: ExitStack
    ) -> list[Worker]:
        """The workers whose slots are idle; one alone where its slot is reserved, by ``held``."""
        while self._busy(plan, load, workers, own=0):
            self._say(Stage.WAITING.at(load))
            time.sleep(LOOK_EVERY_S)
            self.yielded_s += LOOK_EVERY_S
            if self.yielded_s > YIELD_S_MAX:
                raise NoIdleSlots(f"live traffic left no idle slots for {YIELD_S_MAX:g} s")
            if self.yielded_s >= self.reserve_at_s and turn_is_free(self.benchmark):
                self.reserve_at_s = self.yielded_s + reserve_after_s()
                worker = reservable(self.benchmark, plan, load, workers)
                if worker is not None and self._reserve(worker, load, held):
                    return [worker]
        return workers

    def _reserve(self, worker: Worker, load: float, held: ExitStack) -> bool:
        """Have a slot of this worker kept free; False when it was not free in time."""
        if not held.enter_context(slot_reserved(worker)):
            held.close()
            return False
        held.callback(self._reservation_over)
        self.reserved, self.reserved_until_s = worker, time.monotonic() + RESERVED_S_MAX
        while self.look([worker.worker_id], 0).in_flight >= worker.slots:
            self._say(Stage.RESERVED.at(load))
            time.sleep(LOOK_EVERY_S)
            if time.monotonic() > self.reserved_until_s:
                held.close()
                return False
        return True

    def _reservation_over(self) -> None:
        self.reserved = None

    def _wait_for_turn(
        self, plan: Plan, load: float, workers: list[Worker], held: ExitStack
    ) -> list[Worker]:
        """Until slots are idle and not too many others measure; the workers to measure."""
        used = self._wait_for_slots(plan, load, workers, held)
        while not turn_take(self.benchmark, load):
            held.close()
            self._say(Stage.TURN.at(load))
            time.sleep(LOOK_EVERY_S)
            used = self._wait_for_slots(plan, load, workers, held)
        return used

    def _busy(self, plan: Plan, load: float, workers: list[Worker], *, own: int) -> bool:
        if self.reserved is not None:
            # Calls wait, as they did; with one of its slots used for them too, it is in the way.
            is_late = time.monotonic() > self.reserved_until_s
            traffic = self.look([self.reserved.worker_id], 0)
            return is_late or traffic.in_flight >= self.reserved.slots
        slots = sum(worker.slots for worker in workers)
        wanted = slots if plan.scenario == "server" else int(load)
        traffic = self.look([worker.worker_id for worker in workers], own)
        return must_yield(traffic, wanted=wanted, slots=slots)

    def _loadgen(
        self, plan: Plan, load: float, workers: list[Worker], index: int, out: Path
    ) -> dict[str, Any]:
        limit_s = 2 * plan.seconds_max + 60 + plan.warm_up * plan.slo_ms / 1e3
        request = _request(self.benchmark, plan, load, workers, self.yields, limit_s)
        own = _own_max(plan, load) if self.benchmark.target == Target.ROUTE else 0
        begun = time.monotonic()
        with LoadGenProcess(request, out) as process:
            while (said := process.wait(LOOK_EVERY_S)) is None:
                progress = process.progress
                done = progress.get("done", 0)
                share = min(progress.get("elapsed_s", 0.0) / plan.seconds_min, 0.99)
                self._say(
                    (Stage.MEASURING if done else Stage.WARMING).at(load, done),
                    (index + share) / len(plan.loads),
                )
                if self._busy(plan, load, workers, own=own):
                    raise _Yielded
                if time.monotonic() - begun > limit_s:
                    raise JobFailed(f"load {load:g} did not end within {limit_s:.0f} s")
        if "error" in said:
            raise JobFailed(f"load {load:g}: {said['error']}")
        return dict(said["result"])

    def _say(self, stage: str, progress: float = 0.0) -> None:
        """Keep how far it is, and tell whoever watches. Raises where the run must end."""
        benchmark = self.benchmark
        benchmark.stage = stage
        benchmark.progress = max(benchmark.progress, round(progress, 4))
        self.run.progress(benchmark.progress, stage=stage)
        self.watch(benchmark)


def _own_max(plan: Plan, load: float) -> int:
    """Most requests of a route's benchmark in the router at once; each may be hedged once."""
    return 2 * (IN_FLIGHT_MAX if plan.scenario == "server" else int(load))


def _request(
    benchmark: Benchmark,
    plan: Plan,
    load: float,
    workers: Sequence[Worker],
    again: int,
    ttl_s: float,
) -> dict[str, Any]:
    """What the LoadGen process is told. Only a route's has a bearer, made anew for each try."""
    headers: list[tuple[str, str]] = []
    if benchmark.target == Target.ROUTE:
        protocol = protocols_of(benchmark.model.task)[0]
        url, name = settings.WAYPOST_ROUTER_URL.rstrip("/"), benchmark.model.name
        servers = [Server(url, protocol, name, is_router=True)]
        bearer = bearer_issue(reference=f"{benchmark.pk}:{load:g}:{again}", ttl_s=ttl_s)
        headers = [("authorization", f"Bearer {bearer}")]
    else:
        name = _upstream(benchmark.deployment)
        servers = [_server(worker, name) for worker in workers]
    return {
        "plan": plan.as_dict(),
        "load": load,
        "inputs": benchmark.model.tensors.get("inputs", []),
        "headers": headers,
        "servers": [asdict(server) for server in servers],
    }


def _server(worker: Worker, model: str) -> Server:
    """A worker at the address that may be called now. Raises :class:`JobFailed`."""
    try:
        address = asyncio.run(address_of(worker.url, address_policy()))
    except AddressRefused as error:
        raise JobFailed(f"{worker.worker_id}: {error}") from error
    return Server(worker.url.rstrip("/"), worker.protocol, model, address=address)


def _upstream(deployment: Deployment | None) -> str:
    if deployment is None:
        raise JobFailed("its deployment is gone")
    return deployment.upstream_model


def _fingerprint(benchmark: Benchmark, workers: Sequence[Worker]) -> dict[str, Any]:
    if benchmark.deployment is not None:
        return fingerprint(benchmark.deployment, workers)
    return {
        "model": benchmark.model.name,
        "router": settings.WAYPOST_ROUTER_URL,
        "workers": [worker.worker_id for worker in workers],
    }


def _store(benchmark: Benchmark, point: PointFigures) -> None:
    Point.objects.update_or_create(
        benchmark=benchmark,
        load=point.load,
        defaults={
            name: getattr(point, name)
            for name in (
                "samples",
                "errors",
                "duration_s",
                "throughput_hz",
                "goodput_hz",
                "tokens_per_s",
                "latency",
                "valid",
                "invalid_because",
            )
        },
    )


def _conclude(
    benchmark: Benchmark,
    plan: Plan,
    points: list[PointFigures],
    workers: list[Worker],
    folder: Path,
) -> None:
    if (index := knee_of(points)) is not None:
        benchmark.points.filter(load=points[index].load).update(is_knee=True)
    if benchmark.deployment is None:
        return
    slots = min(worker.slots for worker in workers)
    found = profile_of(plan, points, workers=len(workers), slots=slots)
    if found is None:
        return
    engine = None
    if plan.task == "chat":
        streamed = within_slots(points, workers=len(workers), slots=slots)
        folders = [_folder_of(folder, point.load) for point in streamed]
        engine = engine_fit([samples_read(one / SAMPLES) for one in folders])
    profile = Profile.objects.create(
        deployment=benchmark.deployment,
        service_ms=found.service_ms,
        batch_curve=found.batch_curve,
        engine=asdict(engine) if engine else {},
        slots=found.slots,
        capacity_hz=found.capacity_hz,
        slo_ms=plan.slo_ms,
        throughput_hz=found.throughput_hz,
        tokens_per_s=found.tokens_per_s,
        origin=Origin.BENCHMARK,
        benchmark=benchmark,
        samples=found.samples,
        fingerprint=benchmark.fingerprint,
        source=f"LoadGen, {benchmark.scenario}, benchmark #{benchmark.pk}",
        emulated=benchmark.emulated,
    )
    profile_publish(profile)
