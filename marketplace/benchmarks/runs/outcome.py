"""What a run leaves: files of each point, rows of points, and a profile in force."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from django.conf import settings

from marketplace.benchmarks.loadgen.plan import Plan
from marketplace.benchmarks.loadgen.samples import samples_read
from marketplace.benchmarks.models import Benchmark, Origin, Point, Profile
from marketplace.benchmarks.profiles.engine_fit import engine_fit
from marketplace.benchmarks.profiles.load_curve import (
    PointFigures,
    knee_of,
    profile_of,
    within_slots,
)
from marketplace.benchmarks.services import profile_publish
from marketplace.catalog.models import Worker


def raw_folder(benchmark: Benchmark) -> Path:
    """Where the logs and samples of a benchmark are."""
    return Path(settings.WAYPOST_HOME) / "benchmarks" / str(benchmark.pk)


def point_folder(benchmark: Benchmark, load: float) -> Path:
    """Where those of one point are."""
    return raw_folder(benchmark) / f"load-{load:g}"


def point_keep(benchmark: Benchmark, point: PointFigures) -> None:
    """Keep a point, in the place of what an earlier attempt measured at its load."""
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


def benchmark_conclude(
    benchmark: Benchmark,
    plan: Plan,
    points: list[PointFigures],
    workers: list[Worker],
) -> None:
    """Mark the knee, and put what was measured in force as the deployment's profile."""
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
        folders = [point_folder(benchmark, point.load) for point in streamed]
        engine = engine_fit([samples_read(folder) for folder in folders])
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
