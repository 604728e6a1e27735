"""A benchmark as a file: JSON, CSV, or TensorBoard's event files."""

import csv
import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from django.http import HttpResponse

from marketplace.benchmarks.models import Benchmark, Point

FORMATS = ("json", "csv", "tensorboard")
LATENCIES = ("total_ms", "ttft_ms", "tpot_ms", "queue_ms", "router_ms")
STATISTICS = ("mean", "p50", "p90", "p99")
FIELDS = (
    "load",
    "samples",
    "errors",
    "duration_s",
    "throughput_hz",
    "goodput_hz",
    "tokens_per_s",
    "valid",
    "invalid_because",
    "is_knee",
)


def response(benchmark: Benchmark, kind: str) -> HttpResponse:
    """A download of one of :data:`FORMATS`."""
    if kind == "csv":
        content, media, ending = as_csv(benchmark).encode(), "text/csv; charset=utf-8", "csv"
    elif kind == "tensorboard":
        content, media, ending = tensorboard_zip(benchmark), "application/zip", "zip"
    else:
        content = json.dumps(as_dict(benchmark), indent=2).encode()
        media, ending = "application/json", "json"
    name = f"benchmark-{benchmark.pk}.{ending}"
    return HttpResponse(
        content,
        content_type=media,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def as_dict(benchmark: Benchmark) -> dict[str, Any]:
    """All that is known of it, as JSON can carry it."""
    return {
        "id": benchmark.pk,
        "model": benchmark.model.name,
        "target": benchmark.target,
        "deployment": str(benchmark.deployment or ""),
        "worker": str(benchmark.worker or ""),
        "scenario": benchmark.scenario,
        "emulated": benchmark.emulated,
        "state": benchmark.state,
        "error": benchmark.error,
        "trigger": benchmark.trigger,
        "reason": benchmark.reason,
        "created_at": benchmark.created_at.isoformat(),
        "started_at": benchmark.started_at and benchmark.started_at.isoformat(),
        "ended_at": benchmark.ended_at and benchmark.ended_at.isoformat(),
        "settings": benchmark.settings,
        "fingerprint": benchmark.fingerprint,
        "points": [
            {**{name: getattr(point, name) for name in FIELDS}, "latency": point.latency}
            for point in benchmark.points.all()
        ],
    }


def as_csv(benchmark: Benchmark) -> str:
    """A line a point; each latency with its 95 % interval."""
    file = io.StringIO()
    writer = csv.writer(file)
    names = [
        f"{latency}_{statistic}{end}"
        for latency in LATENCIES
        for statistic in STATISTICS
        for end in ("", "_low", "_high")
    ]
    writer.writerow(["benchmark", "model", "scenario", "emulated", *FIELDS, *names])
    for point in benchmark.points.all():
        writer.writerow(
            [
                benchmark.pk,
                benchmark.model.name,
                benchmark.scenario,
                benchmark.emulated,
                *(getattr(point, name) for name in FIELDS),
                *(value for latency in LATENCIES for value in _cells(point, latency)),
            ]
        )
    return file.getvalue()


def tensorboard_write(benchmark: Benchmark, folder: Path) -> None:
    """TensorBoard's event files: a scalar for each figure. Steps are whole numbers.

    They are the loads where those are whole, as concurrencies are; else, of rates, the points'
    places. The scalar ``load`` says it either way.
    """
    # A third of a second of every process's start, for a download now and then.
    from tensorboardX import SummaryWriter  # noqa: PLC0415

    at_s = (benchmark.ended_at or benchmark.created_at).timestamp()
    with SummaryWriter(logdir=str(folder)) as writer:
        kind = " (emulated)" if benchmark.emulated else ""
        writer.add_text("benchmark", f"{benchmark}{kind}", 0, walltime=at_s)
        points = list(benchmark.points.all())
        are_whole = all(point.load % 1 == 0 for point in points)
        for place, point in enumerate(points, 1):
            step = int(point.load) if are_whole else place
            for name in ("load", "throughput_hz", "goodput_hz", "tokens_per_s", "errors"):
                writer.add_scalar(name, getattr(point, name), step, walltime=at_s)
            for latency, found in point.latency.items():
                for statistic, interval in found.items():
                    tag = f"{latency}/{statistic}"
                    writer.add_scalar(tag, interval[0], step, walltime=at_s)


def tensorboard_zip(benchmark: Benchmark) -> bytes:
    """The event files in a zip, below ``benchmark-<id>/``."""
    archive = io.BytesIO()
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / f"benchmark-{benchmark.pk}"
        tensorboard_write(benchmark, folder)
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for path in sorted(folder.rglob("*")):
                file.write(path, path.relative_to(home))
    return archive.getvalue()


def _cells(point: Point, latency: str) -> list[Any]:
    found = point.latency.get(latency, {})
    return [value for name in STATISTICS for value in found.get(name, ["", "", ""])]
