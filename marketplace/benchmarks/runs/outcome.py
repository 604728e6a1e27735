"""What a run leaves: files of each point, rows of points, and a profile in force."""

from dataclasses import asdict
from pathlib import Path

from django.conf import settings

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
    """Keep a point."""
    columns = asdict(point)
    del columns["within"]
    Point.objects.create(benchmark=benchmark, **columns)


def benchmark_conclude(
    benchmark: Benchmark,
    points: list[PointFigures],
    workers: list[Worker],
) -> None:
    """Mark the knee, and put what was measured in force as the deployment's profile."""
    plan = benchmark.plan
    if (knee := knee_of(points)) is not None:
        benchmark.points.filter(load=knee.load).update(is_knee=True)
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
        **asdict(found),
        engine=asdict(engine) if engine else {},
        slo_ms=plan.slo_ms,
        origin=Origin.BENCHMARK,
        benchmark=benchmark,
        fingerprint=benchmark.fingerprint,
        source=f"LoadGen, {benchmark.scenario}, benchmark #{benchmark.pk}",
        emulated=benchmark.emulated,
    )
    profile_publish(profile)
